package command

import (
	"fmt"
	"io"
	"log/slog"
	"net"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/config"
)

func (a *app) runCommand() *cobra.Command {
	return &cobra.Command{
		Use: "run", Short: "Run the controller",
		Long: `Run the controller until it is told to stop.

Without any configuration it keeps a SQLite database and a certificate authority
of its own in --dir. Its first start prints a token, once: with it
'headgate fleet login' opens the API.`,
		Example: "  headgate-controller run --dir ./controller",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			c, err := controller.New(cmd.Context(), cfg, newLogger(cfg.Log, a.err))
			if err != nil {
				return err
			}
			secret, err := c.First(cmd.Context())
			if err != nil {
				return fmt.Errorf("%w (close: %w)", err, c.Close())
			}
			if secret != "" {
				_, port, _ := net.SplitHostPort(cfg.HTTP.Listen) // Validate has seen it
				fmt.Fprintf(a.out, "This is a new controller. Its operator's token, shown this once:\n\n  %s\n\nWherever you work from: headgate fleet login https://HOST:%s TOKEN\n"+
					"Gateways know only the controller that they enrolled at. If this one is to stand for one that was lost, stop it,\nand restore the backup into an empty folder: headgate-controller restore --dir FOLDER BACKUP\n\n", secret, port)
			}
			return c.Run(cmd.Context())
		},
	}
}

func newLogger(l config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(l.Level)) // Validate has seen it
	o := &slog.HandlerOptions{Level: level}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

func (a *app) operatorCommand() *cobra.Command {
	c := &cobra.Command{Use: "operator", Short: "Care for who runs the controller"}
	c.AddCommand(&cobra.Command{
		Use: "recover", Short: "Print another operator's token, which lives for a day",
		Long: `Print another token of who runs the controller, for when the first was lost.
It lives for a day: log in with it, and make a lasting one with
'headgate fleet user token create operator NAME'. Whoever may read the
controller's folder and database may do this.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.beside(cmd.Context(), func(b *controller.Base) error {
				secret, err := b.Recover(cmd.Context())
				if err == nil {
					fmt.Fprintln(a.out, secret)
				}
				return err
			})
		},
	})
	return c
}
