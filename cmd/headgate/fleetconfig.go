package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
)

func (a *app) fleetConfigCommand() *cobra.Command {
	c := &cobra.Command{Use: "config", Short: "Configure functions on all gateways, on some or on one", Long: `Configure functions without a new version of them. What counts on a gateway for a key of a
function's config is, each over the one before: its manifest, what is set for all, what is set for
labels that the gateway has (the one set last), and what is set for the gateway itself.`}
	c.AddCommand(a.fleetConfigSetCommand(), a.fleetConfigShowCommand(), a.fleetConfigHistoryCommand(), &cobra.Command{
		Use: "revert CHANGE", Short: "Take a change back, as 'config history' names it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPost, "/v1/config/"+url.PathEscape(args[0])+"/revert", nil, func(l *controllerapi.ConfigLayer) { a.printLayer(l, nil) })
		},
	})
	return c
}

func (a *app) fleetConfigSetCommand() *cobra.Command {
	var change controllerapi.ConfigChange
	c := &cobra.Command{
		Use: "set FUNCTION KEY=VALUE|KEY-...", Short: "Set configuration, or take back what ends with a hyphen", Args: cobra.MinimumNArgs(2),
		Long: "Set configuration of a function, for all gateways unless --to or --gateway says for which. A VALUE is JSON where it can\n" +
			"be read as such, and text otherwise. KEY- takes back what was set at that place.",
		Example: "  headgate fleet config set irrigate target=28 --to site=north\n  headgate fleet config set irrigate target- --gateway gw-17",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			change.Function = args[0]
			if change.Values, err = settings(args[1:]); err != nil {
				return usageError{err}
			}
			if setsSome(change.Values) {
				if err := a.noteSetting(cmd.Context(), args[0], change.Selector); err != nil {
					return err
				}
			}
			return fleetDo(a, cmd, http.MethodPost, "/v1/config", change, func(l *controllerapi.ConfigLayer) {
				a.printLayer(l, map[string]string{l.Gateway: change.Gateway})
			})
		},
	}
	c.Flags().StringVar(&change.Selector, "to", "", "on the gateways with these labels, as site=north,!retired")
	c.Flags().StringVar(&change.Gateway, "gateway", "", "on this gateway, by name or ID")
	c.MarkFlagsMutuallyExclusive("to", "gateway")
	return c
}

// settings reads key=value and key-.
func settings(args []string) (map[string]any, error) {
	out := map[string]any{}
	for _, x := range args {
		key, value, ok := strings.Cut(x, "=")
		if name, remove := strings.CutSuffix(x, "-"); !ok && remove && name != "" {
			out[name] = nil
			continue
		}
		if !ok || key == "" {
			return nil, fmt.Errorf("%s: want key=value to set it, key- to take it back", x)
		}
		var v any
		if err := json.Unmarshal([]byte(value), &v); err != nil {
			v = value
		} else if v == nil {
			return nil, fmt.Errorf("%s: null is no value: %s- takes it back", x, key)
		} else {
			v = json.RawMessage(value) // as it was written: a long number stays one
		}
		out[key] = v
	}
	return out, nil
}

// setsSome reports whether a change does more than take back.
func setsSome(values map[string]any) bool {
	for _, v := range values {
		if v != nil {
			return true
		}
	}
	return false
}

func (a *app) printLayer(l *controllerapi.ConfigLayer, names map[string]string) {
	fmt.Fprintf(a.out, "%s on %s: %s\n", l.Function, place(l.Selector, l.Gateway, names), dash(valuesText(l.Values)))
}

// place says for which gateways something is set.
func place(selector, gateway string, names map[string]string) string {
	switch {
	case gateway != "" && names[gateway] != "":
		return names[gateway]
	case gateway != "":
		return gateway
	case selector != "":
		return selector
	}
	return "all gateways"
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

// gatewayNames are the names of gateways by their IDs, where any are needed.
func gatewayNames(ctx context.Context, c *controllerclient.Client, needed bool) (map[string]string, error) {
	names := map[string]string{}
	if !needed {
		return names, nil
	}
	list, err := controllerclient.All[controllerapi.Gateway](ctx, c, "/v1/gateways", nil)
	for i := range list {
		names[list[i].ID] = list[i].Name
	}
	return names, err
}

// ofFunction is the query for one function, or for all.
func ofFunction(args []string) url.Values {
	if len(args) == 0 {
		return url.Values{}
	}
	return url.Values{"function": {args[0]}}
}

func (a *app) fleetConfigShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show [FUNCTION]", Short: "Show what is set where", Args: cobra.MaximumNArgs(1),
		Long: "Show what is set where. What comes of it on one gateway: 'headgate fleet state GATEWAY'.",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFleet(func(c *controllerclient.Client) error {
				list, err := controllerclient.All[controllerapi.ConfigLayer](cmd.Context(), c, "/v1/config", ofFunction(args))
				if err != nil {
					return err
				}
				names, err := gatewayNames(cmd.Context(), c, slices.ContainsFunc(list, func(l controllerapi.ConfigLayer) bool { return l.Gateway != "" }))
				if err != nil {
					return err
				}
				const none = "Nothing is set: functions run with the config of their manifests."
				return printList(a, list, none, "FUNCTION ON VALUES CHANGED BY", func(l *controllerapi.ConfigLayer) []any {
					return []any{l.Function, place(l.Selector, l.Gateway, names), dash(valuesText(l.Values)), day(l.Changed), l.ChangedBy}
				})
			})
		},
	}
}

func (a *app) fleetConfigHistoryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "history [FUNCTION]", Short: "List the changes, newest first", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFleet(func(c *controllerclient.Client) error {
				list, err := controllerclient.All[controllerapi.ConfigEntry](cmd.Context(), c, "/v1/config/history", ofFunction(args))
				if err != nil {
					return err
				}
				names, err := gatewayNames(cmd.Context(), c, slices.ContainsFunc(list, func(e controllerapi.ConfigEntry) bool { return e.Gateway != "" }))
				if err != nil {
					return err
				}
				return printList(a, list, "Nothing was ever set.", "CHANGE FUNCTION ON BEFORE AFTER CHANGED BY", func(e *controllerapi.ConfigEntry) []any {
					return []any{e.ID, e.Function, place(e.Selector, e.Gateway, names), valuesText(e.Before), valuesText(e.After), day(e.Changed), e.ChangedBy}
				})
			})
		},
	}
}
