package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
)

func (a *app) fleetStateCommand() *cobra.Command {
	var to string
	var drift bool
	c := &cobra.Command{
		Use: "state [GATEWAY]", Short: "Show what is wanted of gateways, and how they are", Args: cobra.MaximumNArgs(1),
		Example: "  headgate fleet state --drift\n  headgate fleet state gw-17",
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				if to != "" || drift {
					return usageError{fmt.Errorf("--to and --drift choose among all: they go without %s", args[0])}
				}
				return fleetDo(a, cmd, http.MethodGet, "/v1/gateways/"+url.PathEscape(args[0])+"/state", nil, func(s *controllerapi.GatewayState) { _ = a.printState(s) })
			}
			query := url.Values{}
			none := "There is no gateway. Enrol one: headgate fleet token create, then headgate enroll on the gateway"
			if to != "" {
				query.Set("selector", to)
				none = "No gateway has such labels."
			}
			if drift {
				query.Set("drift", "true")
				none = "Every gateway is as it shall be."
			}
			var first string // of those that are not as they shall be
			err := fleetList(a, cmd, "/v1/states", query, none, "GATEWAY REPORTED FOLLOWS FUNCTIONS DRIFT", func(s *controllerapi.GatewayState) []any {
				if first == "" && s.Drift {
					first = s.Name
				}
				return []any{s.Name, reported(s), followsText(s), functionsText(s), firstLine(driftText(s))}
			})
			if err == nil && first != "" {
				fmt.Fprintf(a.out, "\ntype  headgate fleet state %s\n", first)
			}
			return err
		},
	}
	c.Flags().StringVar(&to, "to", "", "those with these labels, as site=north,batch!=7,!retired")
	c.Flags().BoolVar(&drift, "drift", false, "only those that are not as they shall be")
	return c
}

func reported(s *controllerapi.GatewayState) string {
	if s.Reported.IsZero() {
		return "never"
	}
	return day(s.Reported)
}

// followsText says whether a gateway knows what is wanted of it.
func followsText(s *controllerapi.GatewayState) string {
	if s.Follows != s.Desired {
		return "behind"
	}
	return "yes"
}

// nextLook is what to type of a gateway that is not as it shall be: what says when
// it was there where it does not know of it, else what the deployment came to, or
// what asks the gateway itself.
func nextLook(s *controllerapi.GatewayState) string {
	if s.Reported.IsZero() || s.Follows != s.Desired {
		return "headgate fleet gateway show " + s.Name
	}
	for i := range s.Functions {
		if f := &s.Functions[i]; f.Drift != "" && f.Deployment != "" {
			return "headgate fleet deployment show " + f.Deployment
		}
	}
	return "headgate fleet doctor " + s.Name
}

// functionsText is what runs on a gateway, on one line.
func functionsText(s *controllerapi.GatewayState) string {
	var out []string
	for i := range s.Functions {
		if f := &s.Functions[i]; f.Version > 0 {
			out = append(out, fmt.Sprintf("%s@%d", f.Function, f.Version))
		}
	}
	return dash(strings.Join(out, ","))
}

// driftText says in which ways a gateway is not as it shall be.
func driftText(s *controllerapi.GatewayState) string {
	var out []string
	if s.Error != "" {
		out = append(out, s.Error)
	}
	for i := range s.Functions {
		if f := &s.Functions[i]; f.Drift != "" {
			out = append(out, f.Function+": "+f.Drift)
		}
	}
	if s.System.Drift != "" {
		out = append(out, "system: "+s.System.Drift)
	}
	if len(out) == 0 && s.Drift {
		return "it follows an older desired state"
	}
	return dash(strings.Join(out, "; "))
}

func (a *app) printState(s *controllerapi.GatewayState) error {
	follows := fmt.Sprintf("revision %d", s.Follows)
	if s.Follows != s.Desired {
		follows = fmt.Sprintf("revision %d, which is behind: %d is wanted", s.Follows, s.Desired)
	}
	fmt.Fprintf(a.out, "gateway   %s\nid        %s\nlabels    %s\nreported  %s\nfollows   %s\ndrift     %s\nbinary    %s\nfaults    %d of actuators\n",
		s.Name, s.ID, labelText(s.Labels), reported(s), follows, driftText(s), dash(s.System.Version), s.Faults)
	if s.Drift {
		fmt.Fprintf(a.out, "type      %s\n", nextLook(s))
	}
	if s.System.Wanted != "" {
		fmt.Fprintf(a.out, "wanted    %s\n", s.System.Wanted)
	}
	if s.System.Fixed != "" {
		fmt.Fprintf(a.out, "updates   %s\n", s.System.Fixed)
	}
	for _, x := range s.Secrets {
		fmt.Fprintf(a.out, "secret    %s of %s%s\n", x.Name, x.Function, staleText(x.Stale))
	}
	if len(s.Functions) == 0 {
		fmt.Fprintln(a.out, "\nNo function runs there, and none shall.")
		return nil
	}
	fmt.Fprintln(a.out)
	return table(a.out, "FUNCTION VERSION STAGE WANTED DEPLOYMENT CONFIG DRIFT NOTE", func(row func(...any)) {
		for i := range s.Functions {
			f := &s.Functions[i]
			version := "-"
			if f.Version > 0 {
				version = fmt.Sprint(f.Version)
			}
			row(f.Function, version, dash(f.Stage), dash(f.Wanted), dash(f.Deployment), dash(valuesText(f.Config)), dash(f.Drift), firstLine(f.Note))
		}
	})
}

// valuesText writes settings on one line, each as it is in JSON.
func valuesText(values map[string]any) string {
	var out []string
	for _, k := range sortedKeys(values) {
		raw, err := json.Marshal(values[k])
		if err != nil {
			raw = []byte("?")
		}
		out = append(out, k+"="+string(raw))
	}
	return strings.Join(out, " ")
}

func (a *app) fleetTargetsCommand() *cobra.Command {
	var fn string
	c := &cobra.Command{
		Use: "targets", Short: "List what is signed, and can be deployed", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			query := url.Values{}
			if fn != "" {
				query.Set("function", fn)
			}
			const none = "Nothing is signed. Sign something: headgate publish, or headgate fleet deploy"
			return fleetList(a, cmd, "/v1/targets", query, none, "TARGET SIZE VERSION PUBLISHED ALIASES", func(t *controllerapi.Target) []any {
				return []any{t.Name, size(t.Bytes), dash(t.Version), day(t.Published), dash(strings.Join(t.Aliases, ","))}
			})
		},
	}
	c.Flags().StringVar(&fn, "function", "", "of this function, or system")
	return c
}

func (a *app) fleetTelemetryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "telemetry GATEWAY", Short: "Show the newest message of each topic that a gateway sends", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			const none = "It has sent none. Choose its topics in its configuration: uplink.telemetry"
			return fleetList(a, cmd, "/v1/gateways/"+url.PathEscape(args[0])+"/telemetry", nil, none, "TOPIC TIME VALUE", func(v *controllerapi.TelemetryValue) []any {
				return []any{shown(v.Topic), day(v.Time), shown(firstLine(payload(v.Payload)))}
			})
		},
	}
}
