package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/configs"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/config"
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

func (f *runFlags) load() (config.Config, error) {
	path, named := f.config, f.config != ""
	if !named {
		path = config.DefaultPath
	}
	environ := os.Environ()
	if os.Getenv("HEADGATE_STATE_DIR") == "" && !named && os.Geteuid() != 0 {
		// The system's place is not this user's to write to.
		environ = append(environ, "HEADGATE_STATE_DIR="+defaultStateDir())
	}
	if f.stateDir != "" {
		environ = append(environ, "HEADGATE_STATE_DIR="+f.stateDir)
	}
	return config.Load(path, named, environ)
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
			cfg, err := f.load()
			if err != nil {
				return err
			}
			return runGateway(cmd.Context(), cfg, a.err)
		},
	}
	f.register(c)
	c.Flags().BoolVar(&printConfig, "print-config", false, "print an annotated configuration with every default, and end")
	return c
}

func runGateway(ctx context.Context, cfg config.Config, logs io.Writer) error {
	g, err := gateway.New(ctx, cfg, newLogger(cfg.Log, logs))
	if err != nil {
		return err
	}
	return g.Run(ctx)
}

func newLogger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	// Validate has seen the level.
	_ = level.UnmarshalText([]byte(c.Level))
	o := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
