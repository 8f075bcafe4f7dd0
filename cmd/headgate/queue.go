package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) queueCommand() *cobra.Command {
	c := &cobra.Command{Use: "queue", Short: "Put messages on the queues that functions take from"}
	c.AddCommand(a.queueSendCommand())
	return c
}

func (a *app) queueSendCommand() *cobra.Command {
	var delay function.Duration
	c := &cobra.Command{
		Use: "send QUEUE [PAYLOAD]", Short: "Put a message on a queue; PAYLOAD of - reads standard input",
		Args: cobra.RangeArgs(1, 2), Example: `  headgate queue send orders '{"id":7}' --delay 5m`,
		Long: "Put a message on a queue, as a function would. The call returns when the message is safe: it starts every\n" +
			"function that takes from the queue, when the delay is over. A queue that no function takes from is refused.",
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.argument(args, 1)
			if err != nil {
				return err
			}
			m := api.QueueMessage{Queue: args[0], Payload: data, Delay: time.Duration(delay)}
			if err := a.call(cmd, http.MethodPost, "/v1/queues", m, nil); err != nil || !a.json {
				return err
			}
			return a.printJSON(map[string]any{"queue": m.Queue, "bytes": len(m.Payload), "delay_ns": m.Delay})
		},
	}
	c.Flags().Var(durationFlag{&delay}, "delay", "let it wait so long first, as 90s, 5m or 2d")
	return c
}
