package command

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/backup"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE.tar", Short: "Copy the controller into a file while it runs", Args: cobra.ExactArgs(1),
		Long: `Copy the controller into a new file while it runs: its database, certificate
authority, online keys and all that is signed, with the SHA-256 of each.

The file lets whoever reads it be the controller: its owner alone may read it.
Not in it is the configuration, and a database on PostgreSQL. Copy that with
pg_dump, and before: what is signed later than the database knows is no harm,
but a deployment of what is not signed in the copy would be.`,
		Example: "  headgate-controller backup --dir ./controller /mnt/backups/controller-$(date +%F).tar",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			s, err := backup.Write(cmd.Context(), &cfg, args[0], controller.Version())
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s holds the controller as of %s: %s\n", args[0], s.Created.Format(time.DateTime+" MST"), holds(&s))
			if s.Schema == 0 {
				fmt.Fprintln(a.out, "The database is on PostgreSQL and not in it: keep it with the pg_dump that you ran before.\nOne made after may name what is not signed here: then back up again.")
			}
			return nil
		},
	}
}

func holds(s *backup.Summary) string {
	database := "no database"
	if s.Schema > 0 {
		database = fmt.Sprintf("the database (%.1f MB)", float64(s.Database)/1e6)
	}
	return fmt.Sprintf("%s, the certificate authority, the online keys and what is signed; %d files, %.1f MB in all", database, s.Files, float64(s.Bytes)/1e6)
}

func (a *app) restoreCommand() *cobra.Command {
	o := backup.Options{Log: slog.New(slog.DiscardHandler)}
	c := &cobra.Command{
		Use: "restore FILE.tar", Short: "Put a backup into an empty folder", Args: cobra.ExactArgs(1),
		Long: `Put a backup into the controller's empty folder. All of it is verified before
anything is put there, and no controller runs there until it is whole: after a
kill restore again.

A database on PostgreSQL is put back before, with pg_restore.

What happened after the backup the controller has forgotten. Gateways find back
by themselves; what was under way is paused, and usage that was acknowledged
since is shown as a gap. The documentation says what else to look at.`,
		Example: "  headgate-controller restore --dir ./controller /mnt/backups/controller-2026-11-01.tar",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load()
			if err != nil {
				return err
			}
			r, err := backup.Restore(cmd.Context(), &cfg, args[0], o)
			if err != nil {
				return err
			}
			fmt.Fprintf(a.out, "Restored to %s, as of %s: %s\n", cfg.Dir, r.Created.Format(time.DateTime+" MST"), holds(&r.Summary))
			if r.Paused > 0 {
				fmt.Fprintf(a.out, "Deployments that were under way are paused, %d in all: 'headgate fleet deployments' shows them.\n", r.Paused)
			}
			if len(r.Keyless) > 0 {
				fmt.Fprintf(a.out, "The online key of %s is not in the backup: gateways may hold what is newer, and take nothing until its owner has run 'headgate keys rotate online'.\n", strings.Join(r.Keyless, ", "))
			}
			fmt.Fprintf(a.out, "What happened since then is forgotten: revoke again what was revoked, publish again what was published (docs/controller.md).\n")
			return nil
		},
	}
	c.Flags().BoolVar(&o.ClockWasWrong, "clock-was-wrong", false, "restore a backup that was made later than now, by a clock that was wrong")
	return c
}
