package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

func (a *app) systemCommand() *cobra.Command {
	c := &cobra.Command{Use: "system", Short: "Look at a gateway's own binary, and update it"}
	c.AddCommand(a.systemStatusCommand(), a.systemUpdateCommand())
	return c
}

func (a *app) systemStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Say which binary runs, and what became of the newest update", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var s api.System
			if err := c.Do(cmd.Context(), http.MethodGet, "/v1/system", nil, &s); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			a.printSystem(&s)
			return nil
		},
	}
}

func (a *app) printSystem(s *api.System) {
	where := "slot " + s.Current
	switch {
	case !s.Managed:
		where = "brought by a package, or by hand"
	case s.Current == "base":
		where = "the image's own"
	}
	fmt.Fprintf(a.out, "running   %s, %s\n", s.Version, where)
	if s.SHA256 != "" {
		fmt.Fprintf(a.out, "sha256    %s\n", s.SHA256)
	}
	if t := s.Trial; t != nil {
		fmt.Fprintf(a.out, "trial     %s in slot %s, start %d of %d\n", t.SHA256, t.Slot, t.Starts, t.MaxStarts)
	}
	if f := s.Failure; f != nil {
		fmt.Fprintf(a.out, "failed    %s, %s: %s\n", f.Time.Format(time.DateTime), f.SHA256, f.Reason)
	}
}

// updateWithin is for how long update waits until it is known what became of
// it: as long as the launcher tries, and a little more.
const updateWithin = 10 * time.Minute

func (a *app) systemUpdateCommand() *cobra.Command {
	var file, sum string
	var wait bool
	var within time.Duration
	c := &cobra.Command{
		Use: "update --file BINARY", Short: "Replace the gateway's binary; one that does not work is taken back", Args: cobra.NoArgs,
		Long: "Replace the binary of a gateway that runs on the image. It is checked, waits until no actuator is on, and is then\n" +
			"tried: it has to become ready and to pass the doctor's checks that the old one passed. Otherwise the old one comes back.\n" +
			"Ends with 1 where it was taken back.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{errors.New("--file is missing: name the new 'headgate' binary")}
			}
			f, err := os.Open(file)
			if err != nil {
				return err
			}
			defer f.Close()
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			q := url.Values{"sha256": {sum}}
			if within > 0 {
				q.Set("within", within.String())
			}
			var b api.SystemBinary
			if err := c.Do(cmd.Context(), http.MethodPut, "/v1/system/binary?"+q.Encode(), f, &b); err != nil {
				return err
			}
			if !wait {
				return a.updated(&b, "It lies ready.")
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), updateWithin)
			defer cancel()
			if err := awaitUpdate(ctx, c, b.SHA256); err != nil {
				return err
			}
			return a.updated(&b, "It runs, and is confirmed.")
		},
	}
	c.Flags().StringVar(&file, "file", "", "the new binary, for the gateway's machine")
	c.Flags().StringVar(&sum, "sha256", "", "what it must have, in hex")
	c.Flags().DurationVar(&within, "within", 0, "how long it has to show that it works (default 2m)")
	c.Flags().BoolVar(&wait, "wait", true, "wait until it is confirmed or taken back")
	return c
}

func (a *app) updated(b *api.SystemBinary, what string) error {
	if a.json {
		return a.printJSON(b)
	}
	fmt.Fprintf(a.out, "%s %s (%s)\n", what, b.SHA256, size(b.Bytes))
	return nil
}

// awaitUpdate returns when the binary is confirmed, and with an error when it
// was taken back. Meanwhile there is at times no gateway to ask.
func awaitUpdate(ctx context.Context, c *client.Client, sum string) error {
	for {
		var s api.System
		err := c.Do(ctx, http.MethodGet, "/v1/system", nil, &s)
		switch {
		case err == nil && s.Trial == nil && s.SHA256 == sum:
			return nil
		case err == nil && s.Trial == nil && s.Failure != nil && s.Failure.SHA256 == sum:
			return fmt.Errorf("the update was taken back, the old binary runs again: %s", s.Failure.Reason)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it is not known what became of the update ('headgate system status' shows it): %w", errors.Join(ctx.Err(), err))
		case <-time.After(time.Second):
		}
	}
}
