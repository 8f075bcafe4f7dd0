package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
)

func (a *app) fleetAuditCommand() *cobra.Command {
	var changes bool
	c := &cobra.Command{
		Use: "audit", Short: "List who changed what, newest first",
		Long: "List who changed what, newest first. With --changes each is followed by what was before and after, field by field;\n" +
			"--json always has both. Secrets are in neither.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			const none, header = "Nothing was changed yet.", "AT WHO TOKEN FROM ACTION OBJECT"
			cells := func(c *controllerapi.Change) []any {
				return []any{day(c.At), c.Actor, c.Token, c.Address, c.Action, objectText(c)}
			}
			if !changes || a.json {
				return fleetList(a, cmd, "/v1/audit", nil, none, header, cells)
			}
			return a.withFleet(func(client *controllerclient.Client) error {
				list, err := controllerclient.All[controllerapi.Change](cmd.Context(), client, "/v1/audit", nil)
				if err != nil {
					return err
				}
				if len(list) == 0 {
					fmt.Fprintln(a.out, none)
				}
				for i := range list {
					fmt.Fprintln(a.out, strings.TrimRight(fmt.Sprintln(cells(&list[i])...), " \n"))
					for _, line := range differences(list[i].Before, list[i].After) {
						fmt.Fprintf(a.out, "    %s\n", line)
					}
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&changes, "changes", false, "show what was before and after, too")
	return c
}

// objectText is what a change is about, by its name too where an ID says nothing.
func objectText(c *controllerapi.Change) string {
	if c.Name == "" {
		return c.Object
	}
	return c.Object + " (" + c.Name + ")"
}

// differences are the fields that are not the same before and after, one a line.
func differences(before, after any) (out []string) {
	was, wasFields := before.(map[string]any)
	is, isFields := after.(map[string]any)
	if before != nil && !wasFields || after != nil && !isFields {
		if x, y := compact(before, before != nil), compact(after, after != nil); x != y {
			out = append(out, x+" -> "+y)
		}
		return out
	}
	fields := map[string]bool{}
	for name := range was {
		fields[name] = true
	}
	for name := range is {
		fields[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		x, hadX := was[name]
		y, hasY := is[name]
		if from, to := compact(x, hadX), compact(y, hasY); from != to {
			out = append(out, fmt.Sprintf("%s: %s -> %s", name, from, to))
		}
	}
	return out
}

// compact is a value in one line; - is none.
func compact(v any, there bool) string {
	if !there {
		return "-"
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}
