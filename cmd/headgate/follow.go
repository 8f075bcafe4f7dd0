package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// follower is a verb that prints the newest items of a stream, and with -f
// goes on.
type follower struct {
	use, short, path string
	follow           bool
	limit            int
	function         string
	version          string
}

func (f *follower) query() string {
	q := url.Values{"limit": {strconv.Itoa(f.limit)}}
	if f.follow {
		q.Set("follow", "true")
	}
	if f.function != "" {
		q.Set("function", f.function)
	}
	if f.version != "" {
		q.Set("version", f.version)
	}
	return f.path + "?" + q.Encode()
}

func followCommand[T any](a *app, f *follower, line func(T) string) *cobra.Command {
	c := &cobra.Command{
		Use: f.use + " [FUNCTION[@VERSION]]", Short: f.short, Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.function, f.version = qualified(args[0])
				if _, err := strconv.Atoi(f.version); err != nil && f.version != "" {
					return usageError{fmt.Errorf("%s: want a version's number behind the @", args[0])}
				}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			if f.function != "" {
				a.noteUnknown(cmd.Context(), c, f.function)
			}
			err = printStream(cmd.Context(), a, c, f.query(), line)
			if err == nil && f.follow && cmd.Context().Err() == nil {
				return errEnded
			}
			return err
		},
	}
	c.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on until interrupted")
	c.Flags().IntVarP(&f.limit, "limit", "n", 20, "how many of the newest to start with")
	return c
}

// errEnded is the end of a stream that was to go on: the gateway is gone.
var errEnded = fmt.Errorf("the gateway ended: %w any more", client.ErrUnreachable)

func printStream[T any](ctx context.Context, a *app, c *client.Client, path string, line func(T) string) error {
	for item, err := range client.Stream[T](ctx, c, path) {
		if err != nil {
			return err
		}
		if a.json {
			if err := a.printJSON(streamed{item}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintln(a.out, line(item))
	}
	return nil
}

func (a *app) invocationsCommand() *cobra.Command {
	f := &follower{use: "invocations", short: "Show the newest invocations", path: "/v1/invocations"}
	return followCommand(a, f, invocationLine)
}

func (a *app) logsCommand() *cobra.Command {
	f := &follower{use: "logs", short: "Show what functions logged", path: "/v1/logs"}
	return followCommand(a, f, logLine)
}

func logLine(l api.LogLine) string {
	return fmt.Sprintf("%s  %s@%d  %-5s  %s", clock(l.Time), shown(l.Function), l.Version, shown(l.Level), shown(l.Text))
}

func (a *app) eventsCommand() *cobra.Command {
	f := &follower{use: "events", short: "Show the newest messages, requests and lifecycle events that started functions, and which", path: "/v1/events"}
	return followCommand(a, f, func(e api.Event) string {
		return fmt.Sprintf("%s  %s  %s  qos %d  %d B  -> %s", clock(e.Time), e.Source, e.Subject, e.QoS, e.Bytes, strings.Join(e.Functions, ", "))
	})
}
