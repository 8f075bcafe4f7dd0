package main

import (
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
			q := url.Values{"since": {time.Now().Add(-since).UTC().Format(time.RFC3339)}}
			if minutes {
				q.Set("minutes", "true")
			}
			if len(args) == 1 {
				q.Set("function", args[0])
			}
			var list []api.Usage
			if err := a.call(cmd, http.MethodGet, "/v1/usage?"+q.Encode(), nil, &list); err != nil {
				return err
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
