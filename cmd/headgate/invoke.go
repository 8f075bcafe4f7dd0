package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// errInvocation is the exit of an invoke whose function failed: the line above
// has said why.
var errInvocation = errors.New("the invocation failed; see the line above and 'headgate logs'")

func (a *app) invokeCommand() *cobra.Command {
	req := api.Invoke{}
	var params []string
	c := &cobra.Command{
		Use: "invoke FUNCTION[@VERSION] [DATA]", Short: "Run a function now and print its output; DATA of - reads standard input",
		Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			data, err := a.argument(args, 1)
			if err != nil {
				return err
			}
			req.Data = data
			if req.Params, err = pairs(params); err != nil {
				return usageError{fmt.Errorf("--param %w", err)}
			}
			var r api.Invoked
			var name string
			name, req.Qualifier = qualified(args[0])
			if err := a.call(cmd, http.MethodPost, functionPath(name, "invoke"), req, &r); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(r)
			}
			fmt.Fprintln(a.err, invocationLine(r.Invocation))
			if r.Outcome != "ok" {
				return errInvocation
			}
			if len(r.Output) > 0 {
				fmt.Fprintln(a.out, payload(r.Output))
			}
			return nil
		},
	}
	c.Flags().StringVar(&req.ContentType, "content-type", "", "media type of DATA")
	c.Flags().StringVar(&req.Subject, "subject", "", "the event's subject, such as a topic; a trigger's captures are taken from it")
	c.Flags().StringArrayVar(&params, "param", nil, "a trigger's capture, name=value; may be repeated")
	return c
}

// argument returns args[n], or standard input where it is "-".
func (a *app) argument(args []string, n int) ([]byte, error) {
	if len(args) <= n {
		return nil, nil
	}
	if args[n] != "-" {
		return []byte(args[n]), nil
	}
	b, err := io.ReadAll(io.LimitReader(a.in, 64<<20))
	if err != nil {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	return b, nil
}

func pairs(list []string) (map[string]string, error) {
	m := make(map[string]string, len(list))
	for _, kv := range list {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("%q is not name=value", kv)
		}
		m[k] = v
	}
	return m, nil
}
