package main

import (
	"fmt"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) clockCommand() *cobra.Command {
	c := &cobra.Command{Use: "clock", Short: "See what time the gateway thinks it is, and confirm it"}
	c.AddCommand(
		&cobra.Command{
			Use: "show", Short: "Show the time and how far it can be relied on",
			RunE: func(cmd *cobra.Command, _ []string) error {
				var now api.Clock
				if err := a.call(cmd, http.MethodGet, "/v1/clock", nil, &now); err != nil {
					return err
				}
				return a.printClock(now)
			},
		},
		&cobra.Command{
			Use: "set TIME", Short: "Confirm the time where no time server does; TIME of now takes this machine's", Args: cobra.ExactArgs(1),
			Example: "  headgate clock set now\n  headgate clock set 2026-05-01T08:00:00+02:00",
			RunE: func(cmd *cobra.Command, args []string) error {
				at := time.Now()
				if args[0] != "now" {
					var err error
					if at, err = time.Parse(time.RFC3339, args[0]); err != nil {
						return usageError{fmt.Errorf("%q is no time: write now, or as 2026-05-01T08:00:00+02:00", args[0])}
					}
				}
				var now api.Clock
				if err := a.call(cmd, http.MethodPut, "/v1/clock", api.SetClock{Time: at}, &now); err != nil {
					return err
				}
				return a.printClock(now)
			},
		})
	return c
}

func (a *app) printClock(c api.Clock) error {
	if a.json {
		return a.printJSON(c)
	}
	fmt.Fprintf(a.out, "%s  %s\n", day(c.Time), c.Trust)
	if c.Correction != 0 {
		fmt.Fprintf(a.out, "the machine's clock is corrected by %v\n", c.Correction.Round(time.Second))
	}
	if c.JumpsForward+c.JumpsBack > 0 {
		fmt.Fprintf(a.out, "it jumped %d times forward and %d times back since the start, last by %v\n", c.JumpsForward, c.JumpsBack, c.LastJump.Round(time.Second))
	}
	if c.Trust != "synchronised" {
		fmt.Fprintln(a.out, "schedules wait for a time server, or for 'headgate clock set now' from a machine that knows the time")
	}
	return nil
}
