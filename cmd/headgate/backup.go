package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

func (a *app) backupCommand() *cobra.Command {
	return &cobra.Command{
		Use: "backup FILE", Short: "Copy a gateway's records while it runs", Args: cobra.ExactArgs(1),
		Long: "Copy a gateway's records (functions, devices, state, queue, usage) into FILE while it runs, as of one moment.\n" +
			"FILE is a SQLite database, and must not be there yet; - is standard output. It holds password hashes and\n" +
			"encrypted secrets: keep it where nobody else reads.\n\n" +
			"The bytes of objects are not in it, only their rows: copy the folder objects/blobs of the state folder beside it\n" +
			"(rsync does: its files never change), and put it back before or after a restore.",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if args[0] == "-" {
				return c.Download(cmd.Context(), "/v1/backup", a.out)
			}
			f, err := os.OpenFile(args[0], os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
			if err != nil {
				return err
			}
			defer func() {
				if err != nil {
					err = errors.Join(err, os.Remove(f.Name()))
				}
			}()
			err = c.Download(cmd.Context(), "/v1/backup", f)
			if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
				return err
			}
			info, err := os.Stat(args[0])
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"file": args[0], "bytes": info.Size()})
			}
			fmt.Fprintf(a.out, "Backed up to %s (%s).\n", filepath.Clean(args[0]), size(info.Size()))
			return nil
		},
	}
}

func (a *app) restoreCommand() *cobra.Command {
	return &cobra.Command{
		Use: "restore FILE", Short: "Put a backup in place of a gateway's records", Args: cobra.ExactArgs(1),
		Long: "Put a backup in place of a gateway's records. The gateway checks it, closes its connections for a moment and goes on\n" +
			"with it, in a new usage epoch. What it had is kept in the folder replaced of its state folder.",
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := os.Open(args[0])
			if err != nil {
				return err
			}
			defer f.Close()
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(cmd.Context(), restartWithin)
			defer cancel()
			var before api.About
			if err := c.Do(ctx, http.MethodGet, "/v1/about", nil, &before); err != nil {
				return err
			}
			if err := c.Do(ctx, http.MethodPut, "/v1/backup", f, nil); err != nil {
				return err
			}
			if err := waitRestart(ctx, c, before.Started); err != nil {
				return fmt.Errorf("the backup is in place, but the gateway does not come back: look at its log: %w", err)
			}
			if !a.json {
				fmt.Fprintln(a.out, "Restored: the gateway works with it.")
			}
			return nil
		},
	}
}

const restartWithin = 2 * time.Minute

// waitRestart waits until the gateway is ready that was started after the one
// before.
func waitRestart(ctx context.Context, c *client.Client, before time.Time) error {
	for {
		if err := c.WaitReady(ctx); err != nil {
			return err
		}
		var now api.About
		if err := c.Do(ctx, http.MethodGet, "/v1/about", nil, &now); err == nil && !now.Started.Equal(before) {
			return c.WaitReady(ctx)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}
