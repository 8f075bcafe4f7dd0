package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) usageCommand() *cobra.Command {
	var since time.Duration
	var minutes bool
	c := &cobra.Command{
		Use: "usage [FUNCTION]", Short: "Print what functions used", Args: cobra.MaximumNArgs(1),
		Long: "Print what functions used, per function version: in all, or with --minutes minute by minute.\n" +
			"The newest minute of events without durable effects is written every 60 s.",
		RunE: func(cmd *cobra.Command, args []string) error {
			if since <= 0 {
				return usageError{fmt.Errorf("--since %s: want a duration such as 90m or 24h", since)}
			}
			q := url.Values{"since": {time.Now().Add(-since).UTC().Format(time.RFC3339)}}
			if minutes {
				q.Set("minutes", "true")
			}
			if len(args) == 1 {
				q.Set("function", args[0])
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			var list []api.Usage
			if err := c.Do(cmd.Context(), http.MethodGet, "/v1/usage?"+q.Encode(), nil, &list); err != nil {
				return err
			}
			if len(args) == 1 && len(list) == 0 {
				a.noteUnknown(cmd.Context(), c, args[0])
			}
			if a.json {
				return a.printJSON(list)
			}
			return a.printUsage(list, minutes)
		},
	}
	c.Flags().DurationVar(&since, "since", 30*24*time.Hour, "how far back to look")
	c.Flags().BoolVar(&minutes, "minutes", false, "one line a minute")
	return c
}

func (a *app) printUsage(list []api.Usage, minutes bool) error {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "Nothing was used in that time.")
		return nil
	}
	header := "FUNCTION VERSION REQUESTS ERRORS COLD FUEL TIME GB-S IN OUT WRITTEN"
	if minutes {
		header = "MINUTE " + header
	}
	return table(a.out, header, func(row func(...any)) {
		for _, u := range list {
			cells := []any{
				u.Function, u.Version, u.Requests, sum(u.Errors), u.ColdStarts, u.Fuel, millis(u.Duration),
				formatGBSeconds(u.GBSeconds), size(int64(u.BytesIn)), size(int64(u.BytesOut)), size(int64(u.BytesWritten)),
			}
			if minutes {
				cells = append([]any{u.Minute.Local().Format("2006-01-02T15:04")}, cells...)
			}
			row(cells...)
		}
	})
}
