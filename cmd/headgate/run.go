package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/configs"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/store"
)

// runFlags are the flags that say how a gateway runs here.
type runFlags struct {
	config   string
	stateDir string
}

func (f *runFlags) register(c *cobra.Command) {
	c.Flags().StringVar(&f.config, "config", os.Getenv("HEADGATE_CONFIG"), "configuration file (default "+config.DefaultPath+", where it exists)")
	c.Flags().StringVar(&f.stateDir, "state-dir", "", "where state lives, over the configuration's state_dir")
}

// load reads the configuration. The state of a user's own gateway, which is
// any but the one that root runs, is at the user's own place where nothing
// else is said: the system's belongs to the service.
func (f *runFlags) load(own bool) (config.Config, error) {
	base := config.Default()
	path, named := f.config, f.config != ""
	if !named {
		path = config.DefaultPath
	}
	environ := os.Environ()
	if own || os.Geteuid() != 0 {
		base.StateDir = userStateDir()
		if !named && os.Getenv("HEADGATE_STATE_DIR") == "" {
			environ = append(environ, "HEADGATE_STATE_DIR="+base.StateDir)
		}
	}
	if f.stateDir != "" {
		environ = append(environ, "HEADGATE_STATE_DIR="+f.stateDir)
	}
	c, err := config.Load(base, path, named, environ)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: 'headgate run --print-config' prints one to start from", err)
	}
	return c, err
}

func (a *app) runCommand() *cobra.Command {
	var f runFlags
	var printConfig bool
	c := &cobra.Command{
		Use: "run", Short: "Run the gateway",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if printConfig {
				fmt.Fprint(a.out, configs.Gateway)
				return nil
			}
			cfg, err := f.load(false)
			if err != nil {
				return err
			}
			return runGateway(cmd.Context(), cfg, newLogger(cfg.Log.Format, logLevel(cfg.Log.Level), a.err))
		},
	}
	f.register(c)
	c.Flags().BoolVar(&printConfig, "print-config", false, "print an annotated configuration with every default, and end")
	return c
}

// runGateway runs a gateway until ctx ends. SIGHUP makes it read its
// certificates and its token file again.
func runGateway(ctx context.Context, cfg config.Config, log *slog.Logger) error {
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	defer signal.Stop(reload)
	for {
		opened := time.Now()
		g, err := gateway.New(ctx, cfg, log)
		if err != nil {
			return err
		}
		err = runOnce(ctx, g, reload, log)
		if errors.Is(err, gateway.ErrUpdate) {
			log.Info("ending", "reason", err)
			return nil
		}
		if !errors.Is(err, gateway.ErrReopen) || ctx.Err() != nil {
			return err
		}
		log.Warn("opening again", "reason", err)
		if errors.Is(err, store.ErrDamaged) && time.Since(opened) < reopenPause { // a disk that damages what is written to it
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(reopenPause):
			}
		}
	}
}

// runOnce runs one gateway and has it reload when it is told to.
func runOnce(ctx context.Context, g *gateway.Gateway, reload <-chan os.Signal, log *slog.Logger) error {
	ended := make(chan struct{})
	var reloading sync.WaitGroup
	reloading.Go(func() {
		for {
			select {
			case <-ended:
				return
			case <-reload:
				if err := g.Reload(); err != nil {
					log.Error("reload: what is not good stays as it was", "error", err)
				}
			}
		}
	})
	defer reloading.Wait()
	defer close(ended)
	return g.Run(ctx)
}

const reopenPause = 10 * time.Second

func logLevel(name string) (level slog.Level) {
	_ = level.UnmarshalText([]byte(name)) // Validate has seen it
	return level
}

func newLogger(format string, level slog.Leveler, w io.Writer) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
