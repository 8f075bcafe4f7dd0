package main

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func statePath(namespace string, key ...string) string {
	p := "/v1/state/" + url.PathEscape(namespace)
	if len(key) > 0 {
		p += "/" + url.PathEscape(key[0])
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
			all := []string{}
			for after, more := "", true; more; {
				var page api.StateList
				q := url.Values{"prefix": {prefix}, "after": {after}}
				if err := a.call(cmd, http.MethodGet, statePath(args[0])+"?"+q.Encode(), nil, &page); err != nil {
					return err
				}
				all = append(all, page.Keys...)
				more = page.More && len(page.Keys) > 0
				if more {
					after = page.Keys[len(page.Keys)-1]
				}
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
				return a.printJSON(e)
			}
			fmt.Fprintln(a.out, payload(e.Value))
			return nil
		},
	}
}

func (a *app) stateSetCommand() *cobra.Command {
	return &cobra.Command{
		Use: "set FUNCTION KEY VALUE", Short: "Set a key's value; VALUE of - reads standard input", Args: cobra.ExactArgs(3),
		RunE: func(cmd *cobra.Command, args []string) error {
			value, err := a.argument(args, 2)
			if err != nil {
				return err
			}
			return a.call(cmd, http.MethodPut, statePath(args[0], args[1]), api.StateEntry{Key: args[1], Value: value}, nil)
		},
	}
}

func (a *app) stateDeleteCommand() *cobra.Command {
	return &cobra.Command{
		Use: "delete FUNCTION KEY", Short: "Delete a key", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.call(cmd, http.MethodDelete, statePath(args[0], args[1]), nil, nil)
		},
	}
}
