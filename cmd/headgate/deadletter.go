package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) deadLetterCommand() *cobra.Command {
	c := &cobra.Command{Use: "dlq", Short: "Look at the events that were given up"}
	c.AddCommand(&cobra.Command{
		Use: "list [FUNCTION]", Short: "List the dead letters", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := "/v1/deadletters"
			if len(args) == 1 {
				path += "?" + url.Values{"function": args}.Encode()
			}
			var list []api.DeadLetter
			if err := a.call(cmd, http.MethodGet, path, nil, &list); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(a.out, "No event was given up.")
				return nil
			}
			return table(a.out, "ID TIME FUNCTION SUBJECT ATTEMPTS ERROR", func(row func(...any)) {
				for _, d := range list {
					row(d.ID, day(d.Time), d.Function, d.Subject, d.Attempts, d.Error)
				}
			})
		},
	})
	return c
}
