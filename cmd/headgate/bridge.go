package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) bridgeCommand() *cobra.Command {
	c := &cobra.Command{Use: "bridge", Short: "Look at the connections with other brokers"}
	c.AddCommand(a.bridgeListCommand())
	return c
}

func (a *app) bridgeListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the bridges: whether they are connected, what waits, and what is wrong", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Bridge
			if err := a.call(cmd, http.MethodGet, "/v1/bridges", nil, &list); err != nil {
				return err
			}
			const none = "There is no bridge. Name another broker under bridges: in the configuration; docs/bridges.md has examples."
			err := printList(a, list, none, "BRIDGE URL STATE SINCE WAITING BYTES DROPPED SENT RECEIVED", func(b *api.Bridge) []any {
				return []any{b.Name, b.URL, b.State, day(b.Since), b.Queued + b.InFlight, size(int64(b.QueuedBytes)), b.Dropped, b.Sent, b.Received}
			})
			if err != nil || a.json {
				return err
			}
			for i := range list {
				a.bridgeTroubles(&list[i])
			}
			return nil
		},
	}
}

// bridgeTroubles prints what a line of the table has no room for.
func (a *app) bridgeTroubles(b *api.Bridge) {
	if b.LastError != "" && b.State != "connected" {
		fmt.Fprintf(a.out, "%s: %s (%s)\n", b.Name, b.LastError, day(b.LastErrorAt))
	}
	for _, f := range b.Refused {
		fmt.Fprintf(a.out, "%s: the other broker refuses %s: see its access rules\n", b.Name, f)
	}
}
