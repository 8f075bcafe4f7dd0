package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) pubCommand() *cobra.Command {
	var m api.Message
	c := &cobra.Command{
		Use: "pub TOPIC [PAYLOAD]", Short: "Publish a message as a device would; PAYLOAD of - reads standard input",
		Args: cobra.RangeArgs(1, 2), Example: `  headgate pub farm/3/moisture '{"moisture":27}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.argument(args, 1)
			if err != nil {
				return err
			}
			m.Topic, m.Payload = args[0], data
			if err := a.call(cmd, http.MethodPost, "/v1/messages", m, nil); err != nil || !a.json {
				return err
			}
			return a.printJSON(map[string]any{"topic": m.Topic, "qos": m.QoS, "bytes": len(m.Payload)})
		},
	}
	c.Flags().IntVarP(&m.QoS, "qos", "q", 1, "quality of service: 0, 1 or 2; with 1 and 2 the call returns when the event is safe")
	c.Flags().BoolVarP(&m.Retain, "retain", "r", false, "keep it for later subscribers")
	return c
}

func (a *app) subCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{
		Use: "sub FILTER", Short: "Print the messages that match a topic filter, until interrupted", Args: cobra.ExactArgs(1),
		Example: "  headgate sub 'farm/+/valve'",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			q := url.Values{"filter": {args[0]}}
			if limit > 0 {
				q.Set("count", fmt.Sprint(limit))
			}
			seen := 0
			err = printStream(cmd.Context(), a, c, "/v1/messages?"+q.Encode(), func(m api.Message) string {
				seen++
				return m.Topic + " " + payload(m.Payload)
			})
			if err == nil && !a.json && (limit == 0 || seen < limit) && cmd.Context().Err() == nil {
				return errEnded
			}
			return err
		},
	}
	c.Flags().IntVarP(&limit, "count", "n", 0, "end after this many; 0 goes on")
	return c
}
