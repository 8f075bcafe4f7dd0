package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

func functionPath(name string, more ...string) string {
	p := "/v1/functions/" + url.PathEscape(name)
	for _, m := range more {
		p += "/" + url.PathEscape(m)
	}
	return p
}

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the deployed functions",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Function
			if err := a.call(cmd, http.MethodGet, "/v1/functions", nil, &list); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(list)
			}
			if len(list) == 0 {
				fmt.Fprintln(a.out, "No function is deployed. Make one: headgate new NAME --lang javascript")
				return nil
			}
			err := table(a.out, "FUNCTION VERSION LANGUAGE INVOCATIONS ERRORS QUEUED DEAD TRIGGERS", func(row func(...any)) {
				for _, f := range list {
					row(f.Name, f.Version, f.Language, f.Counters.Invocations, sum(f.Counters.Errors),
						f.Counters.Queued, f.Counters.DeadLetters, strings.Join(f.Triggers, " "))
				}
			})
			for _, f := range list {
				if f.Broken != "" {
					fmt.Fprintf(a.out, "%s@%d does not run, its events wait: %s\n", f.Name, f.Version, f.Broken)
				}
			}
			return err
		},
	}
}

func sum(m map[string]uint64) (n uint64) {
	for _, v := range m {
		n += v
	}
	return n
}

func (a *app) describeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "describe FUNCTION", Short: "Show a function, its versions and its counters", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var f api.FunctionDetail
			if err := a.call(cmd, http.MethodGet, functionPath(args[0]), nil, &f); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(f)
			}
			return a.describe(f)
		},
	}
}

func (a *app) describe(f api.FunctionDetail) error {
	c := f.Counters
	fmt.Fprintf(a.out, "%s@%d  %s  deployed %s\n", f.Name, f.Version, f.Language, day(f.Deployed))
	if f.Description != "" {
		fmt.Fprintln(a.out, f.Description)
	}
	if f.Broken != "" {
		fmt.Fprintf(a.out, "broken       it does not run, its events wait: %s\n", f.Broken)
	}
	fmt.Fprintf(a.out, "author       %s\ndigest       %s\n", f.Author, f.Digest)
	fmt.Fprintf(a.out, "triggers     %s\n", strings.Join(triggerLines(&f), "\n             "))
	fmt.Fprintf(a.out, "invocations  %d, %s, %s in %s\n", c.Invocations, counted(c.ColdStarts, "cold start"), counted(c.Instances, "instance"), size(c.MemoryBytes))
	fmt.Fprintf(a.out, "errors       %d%s\n", sum(c.Errors), kinds(c.Errors))
	fmt.Fprintf(a.out, "waiting      %d queued, %d of them for their next attempt, %s, %d expired, %d dropped, %s\n", c.Queued, c.Waiting,
		counted(c.DeadLetters, "dead letter"), c.Expired, c.Dropped, counted(c.Conflicts, "conflict"))
	if len(f.Configured) > 0 {
		fmt.Fprintf(a.out, "configured   by the controller: %s\n", strings.Join(f.Configured, ", "))
	}
	fmt.Fprintf(a.out, "breaker      %s\n\n", breakerLine(c))
	text, err := manifestText(&f.Spec)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.out, "%s\n", text)
	return table(a.out, "VERSION CREATED DIGEST AUTHOR", func(row func(...any)) {
		for _, v := range f.Versions {
			mark := ""
			for _, name := range v.Aliases {
				mark += " " + name
			}
			for i := range f.Aliases {
				if x := &f.Aliases[i]; x.Split == v.Version {
					mark += fmt.Sprintf(" (%v%% of %s)", x.Percent, x.Name)
				}
			}
			row(fmt.Sprint(v.Version, mark), day(v.Created), v.Digest[:12], v.Author[:12])
		}
	})
}

// triggerLines are the triggers in words, with when timers fire next.
func triggerLines(f *api.FunctionDetail) []string {
	next := make(map[string]string, len(f.Timers))
	for _, t := range f.Timers {
		next[t.Trigger] = ", next at " + day(t.Next)
		if t.Next.IsZero() {
			next[t.Trigger] = ", waits until the time is known ('headgate clock')"
		}
	}
	lines := make([]string, 0, len(f.Spec.Triggers))
	for i := range f.Spec.Triggers {
		t := &f.Spec.Triggers[i]
		lines = append(lines, t.Words()+next[t.String()])
	}
	return lines
}

// breakerLine says whether the function runs, and if not why and until when.
func breakerLine(c api.Counters) string {
	b := c.Breaker
	text := fmt.Sprintf("%s, %s so far", b.State, counted(c.Pauses, "pause"))
	switch b.State {
	case "open":
		text = fmt.Sprintf("open since %s: %s in a row, next trial at %s\n             the last: %s",
			day(b.Since), counted(b.Failures, "failure"), day(b.NextTrial), firstLine(b.Reason))
	case "trial":
		text = fmt.Sprintf("trial: open since %s after %s in a row, the next event decides\n             the last: %s",
			day(b.Since), counted(b.Failures, "failure"), firstLine(b.Reason))
	}
	return text
}

// manifestText is what a manifest would say to the same effect. It goes
// through JSON, which leaves out what is not set and has whole numbers.
func manifestText(s *function.Spec) ([]byte, error) {
	raw, err := json.Marshal(struct {
		Limits      function.Limits      `json:"limits"`
		Retry       function.Retry       `json:"retry"`
		OnFailure   function.OnFailure   `json:"on_failure,omitzero"`
		Permissions function.Permissions `json:"permissions,omitzero"`
		Secrets     []string             `json:"secrets,omitempty"`
		Config      map[string]any       `json:"config,omitempty"`
	}{s.Limits, s.Retry, s.OnFailure, s.Permissions, s.Secrets, s.Config})
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(raw)
}

func kinds(m map[string]uint64) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%d %s", m[k], strings.ReplaceAll(k, "_", " ")))
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

func (a *app) rollbackCommand() *cobra.Command {
	var version int
	c := &cobra.Command{
		Use: "rollback FUNCTION", Short: "Make an earlier version live again", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var d api.Deployed
			if err := a.call(cmd, http.MethodPost, functionPath(args[0], "rollback"), api.Rollback{Version: version}, &d); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(d)
			}
			fmt.Fprintf(a.out, "%s@%d is live\n", d.Name, d.Version)
			return nil
		},
	}
	c.Flags().IntVar(&version, "to", 0, "the version; 0 takes back a split, or makes the one before the live one live")
	return c
}

func (a *app) removeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "remove FUNCTION", Aliases: []string{"rm"}, Short: "Remove a function and its versions; its state and its waiting events stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodDelete, functionPath(args[0]), nil, nil); err != nil {
				return err
			}
			return a.printRemoved(args[0])
		},
	}
}

func (a *app) printRemoved(name string) error {
	if a.json {
		return a.printJSON(map[string]string{"removed": name})
	}
	fmt.Fprintf(a.out, "removed %s\n", name)
	return nil
}

// noteUnknown says so where a function that was named is not deployed: what it
// left behind may still be looked at, and a typing error wants to be seen.
func (a *app) noteUnknown(ctx context.Context, c *client.Client, name string) {
	var refused *client.Error
	err := c.Do(ctx, http.MethodGet, functionPath(name), nil, nil)
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		fmt.Fprintf(a.err, "headgate: note: no function %s is deployed; 'headgate list' shows what is\n", name)
	}
}

// noteUndeclared tells, where it can, that a function does not ask for a secret.
func (a *app) noteUndeclared(ctx context.Context, c *client.Client, name, secret string) {
	var d api.FunctionDetail
	if err := c.Do(ctx, http.MethodGet, functionPath(name), nil, &d); err == nil && !slices.Contains(d.Spec.Secrets, secret) {
		fmt.Fprintf(a.err, "note: %s@%d does not declare %s: add it to secrets in its manifest\n", name, d.Version, secret)
	}
}

// call is one request to the gateway.
func (a *app) call(cmd *cobra.Command, method, path string, body, out any) error {
	c, err := a.client()
	if err != nil {
		return err
	}
	defer c.Close()
	return c.Do(cmd.Context(), method, path, body, out)
}
