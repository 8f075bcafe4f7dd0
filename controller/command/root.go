// Package command is the command line of headgate-controller.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/config"
)

// Exit codes, documented in the root command's help.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

const rootHelp = `Headgate's controller enrols gateways, takes their usage and gives them signed
functions. One command is a whole one: headgate-controller run --dir ./controller

Exit codes: 0 done; 1 failed; 2 wrong use of the command line.`

// app is what every verb shares.
type app struct {
	out, err io.Writer
	config   string
	dir      string
}

// usageError is a fault of the command line itself.
type usageError struct{ error }

// Execute runs the command line, and returns the exit code.
func Execute(ctx context.Context, args []string, out, errw io.Writer) int {
	a := &app{out: out, err: errw}
	root := a.rootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errw)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil, errors.Is(err, context.Canceled) && ctx.Err() != nil:
		return exitOK
	case errors.As(err, &usage), strings.HasPrefix(err.Error(), "unknown command"):
		fmt.Fprintf(errw, "headgate-controller: %v\n", err)
		return exitUsage
	}
	fmt.Fprintf(errw, "headgate-controller: %v\n", err)
	return exitFailed
}

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use: "headgate-controller", Short: "The cloud side of a fleet of gateways", Long: rootHelp,
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w; see '%s --help'", err, c.CommandPath())}
	})
	flags := root.PersistentFlags()
	flags.StringVar(&a.config, "config", os.Getenv(config.FileVariable), "configuration file (default "+config.DefaultPath+", where it exists)")
	flags.StringVar(&a.dir, "dir", "", "the controller's folder, over the configuration's dir")
	for _, c := range []*cobra.Command{a.runCommand(), a.tokenCommand(), a.operatorCommand(), a.certificateCommand(), a.backupCommand(), a.restoreCommand(), a.simulateCommand(), a.versionCommand()} {
		checkArgs(c)
		root.AddCommand(c)
	}
	return root
}

// checkArgs makes a wrong number of arguments a usage error that names the right
// use.
func checkArgs(c *cobra.Command) {
	for _, sub := range c.Commands() {
		checkArgs(sub)
	}
	if c.HasSubCommands() {
		c.Args = cobra.ArbitraryArgs
		c.RunE = func(c *cobra.Command, args []string) error {
			if len(args) == 0 {
				return c.Help()
			}
			return usageError{fmt.Errorf("unknown command %q for %q; see '%s --help'", args[0], c.CommandPath(), c.CommandPath())}
		}
		return
	}
	inner := c.Args
	if inner == nil {
		inner = cobra.NoArgs
	}
	c.Args = func(c *cobra.Command, args []string) error {
		if err := inner(c, args); err != nil {
			return usageError{fmt.Errorf("wrong number of arguments, %d; use: %s", len(args), c.UseLine())}
		}
		return nil
	}
}

// load reads the configuration.
func (a *app) load() (config.Config, error) {
	path, named := a.config, a.config != ""
	if !named {
		path = config.DefaultPath
	}
	environ := os.Environ()
	if a.dir != "" {
		dir, err := filepath.Abs(a.dir)
		if err != nil {
			return config.Config{}, err
		}
		environ = append(environ, config.EnvPrefix+"DIR="+dir)
	}
	c, err := config.Load(config.Default(), path, named, environ)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w: leave --config out for the defaults", err)
	}
	return c, err
}

// beside opens what a controller stands on, for a command that needs one. It
// makes nothing: the authority of a mistyped folder would be nobody's.
func (a *app) beside(ctx context.Context, fn func(*controller.Base) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	if !ca.In(cfg.Dir) {
		return fmt.Errorf("there is no controller in %s: name its folder with --dir, or its configuration with --config; 'headgate-controller run' makes a new one", cfg.Dir)
	}
	return a.base(ctx, fn)
}

// base opens what a controller stands on, and makes what is not there yet.
func (a *app) base(ctx context.Context, fn func(*controller.Base) error) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}
	b, err := controller.Open(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return errors.Join(fn(b), b.Store.Close())
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version",
		RunE: func(*cobra.Command, []string) error {
			fmt.Fprintln(a.out, "headgate-controller", controller.Version())
			return nil
		},
	}
}
