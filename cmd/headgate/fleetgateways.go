package main

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
)

func labelText(labels map[string]string) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		out = append(out, k+"="+labels[k])
	}
	return strings.Join(out, ",")
}

func (a *app) fleetGatewaysCommand() *cobra.Command {
	var selector string
	c := &cobra.Command{
		Use: "gateways", Short: "List the gateways",
		Example: "  headgate fleet gateways\n  headgate fleet gateways --to 'site=north,!retired'",
		RunE: func(cmd *cobra.Command, _ []string) error {
			none := "There is no gateway. Enrol one: headgate fleet token create, then headgate enroll on the gateway"
			query := url.Values{}
			if selector != "" {
				query.Set("selector", selector)
				none = "No gateway has such labels."
			}
			return fleetList(a, cmd, "/v1/gateways", query, none, "GATEWAY ID STATE SEEN VERSION CERTIFICATE LABELS", func(g *controllerapi.Gateway) []any {
				return []any{g.Name, g.ID, gatewayState(g), gatewaySeen(g), dash(g.Version), "until " + day(g.CertificateExpires), labelText(g.Labels)}
			})
		},
	}
	c.Flags().StringVar(&selector, "to", "", "those with these labels, as site=north,batch!=7,!retired")
	return c
}

func gatewayState(g *controllerapi.Gateway) string {
	if !g.Revoked.IsZero() {
		return "revoked"
	}
	return "enrolled"
}

// gatewaySeen is when a gateway spoke last.
func gatewaySeen(g *controllerapi.Gateway) string {
	if g.Status == nil {
		return "never"
	}
	return day(g.Status.Seen)
}

func (a *app) fleetGatewayCommand() *cobra.Command {
	c := &cobra.Command{Use: "gateway", Short: "Show, name, label, revoke or delete one gateway"}
	path := func(name string) string { return "/v1/gateways/" + url.PathEscape(name) }
	show := func(g *controllerapi.Gateway) {
		fmt.Fprintf(a.out, "gateway      %s\nid           %s\nstate        %s\nlabels       %s\nhardware     %s\nversion      %s %s\nenrolled     %s\ncertificate  until %s\nseen         %s\n",
			g.Name, g.ID, gatewayState(g), labelText(g.Labels), g.Hardware, g.Version, g.Arch, day(g.Enrolled), day(g.CertificateExpires), gatewaySeen(g))
	}
	c.AddCommand(&cobra.Command{
		Use: "show NAME", Short: "Show a gateway", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodGet, path(args[0]), nil, show)
		},
	}, &cobra.Command{
		Use: "rename NAME NEW", Short: "Give a gateway another name", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPatch, path(args[0]), controllerapi.GatewayChange{Name: args[1]}, show)
		},
	}, &cobra.Command{
		Use: "label NAME KEY=VALUE|KEY-...", Short: "Set labels, or remove those that end with a hyphen", Args: cobra.MinimumNArgs(2),
		Example: "  headgate fleet gateway label gw-17 site=north old-",
		RunE: func(cmd *cobra.Command, args []string) error {
			change := controllerapi.GatewayChange{Labels: map[string]*string{}}
			for _, l := range args[1:] {
				if key, value, ok := strings.Cut(l, "="); ok {
					change.Labels[key] = &value
				} else if key, ok := strings.CutSuffix(l, "-"); ok {
					change.Labels[key] = nil
				} else {
					return usageError{fmt.Errorf("%s: want key=value to set a label, key- to remove it", l)}
				}
			}
			return fleetDo(a, cmd, http.MethodPatch, path(args[0]), change, show)
		},
	}, &cobra.Command{
		Use: "revoke NAME", Short: "Keep a gateway out until it is replaced", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPost, path(args[0])+"/revoke", nil, func(g *controllerapi.Gateway) { fmt.Fprintln(a.out, "revoked", g.Name) })
		},
	}, &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a gateway with everything that is known of it", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodDelete, path(args[0]), nil, func(*struct{}) { fmt.Fprintln(a.out, "deleted", args[0]) })
		},
	})
	return c
}
