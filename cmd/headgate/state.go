package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func statePath(namespace string, key ...string) string {
	p := "/v1/state/" + url.PathEscape(namespace)
	if len(key) > 0 {
		p += "/entry?key=" + url.QueryEscape(key[0])
	}
	return p
}

func (a *app) stateCommand() *cobra.Command {
	c := &cobra.Command{Use: "state", Short: "Read and write what functions keep"}
	c.AddCommand(a.stateListCommand(), a.stateGetCommand(), a.stateSetCommand(), a.stateDeleteCommand())
	return c
}

func (a *app) stateListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list FUNCTION [PREFIX]", Short: "List a function's keys", Args: cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			prefix := ""
			if len(args) == 2 {
				prefix = args[1]
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			all := []string{}
			for after, more := "", true; more; {
				var page api.StateList
				q := url.Values{"prefix": {prefix}, "after": {after}}
				if err := c.Do(cmd.Context(), http.MethodGet, statePath(args[0])+"?"+q.Encode(), nil, &page); err != nil {
					return err
				}
				all = append(all, page.Keys...)
				more = page.More && len(page.Keys) > 0
				if more {
					after = page.Keys[len(page.Keys)-1]
				}
			}
			if len(all) == 0 {
				a.noteUnknown(cmd.Context(), c, args[0])
			}
			if a.json {
				return a.printJSON(all)
			}
			for _, k := range all {
				fmt.Fprintln(a.out, k)
			}
			return nil
		},
	}
}

func (a *app) stateGetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "get FUNCTION KEY", Short: "Print a key's value", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var e api.StateEntry
			if err := a.call(cmd, http.MethodGet, statePath(args[0], args[1]), nil, &e); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(entryJSON(e))
			}
			fmt.Fprintln(a.out, payload(e.Value))
			return nil
		},
	}
}

// entryJSON shows a value that is JSON as it is and others in base64, as
// CloudEvents tells data from data_base64.
func entryJSON(e api.StateEntry) map[string]any {
	if json.Valid(e.Value) {
		return map[string]any{"key": e.Key, "value": json.RawMessage(e.Value)}
	}
	return map[string]any{"key": e.Key, "value_base64": e.Value}
}

func (a *app) stateSetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set FUNCTION KEY VALUE", Short: "Set a key's value; VALUE of - reads standard input", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.argument(args, 2)
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			a.noteUnknown(cmd.Context(), c, args[0])
			err = c.Do(cmd.Context(), http.MethodPut, statePath(args[0], args[1]), api.StateEntry{Key: args[1], Value: value}, nil)
			if err != nil || !a.json {
				return err
			}
			return a.printJSON(map[string]any{"key": args[1], "bytes": len(value)})
		},
	}
}

func (a *app) stateDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete FUNCTION KEY", Short: "Delete a key", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			err := a.call(cmd, http.MethodDelete, statePath(args[0], args[1]), nil, nil)
			if err != nil || !a.json {
				return err
			}
			return a.printJSON(map[string]string{"deleted": args[1]})
		},
	}
}
