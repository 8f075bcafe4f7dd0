package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/durable"
)

const fleetHelp = `Work with the gateways of a fleet, through its controller.

'headgate fleet login' keeps the controller's address and your token in
HEADGATE_HOME/fleet.json, readable by you alone.`

func (a *app) fleetCommand() *cobra.Command {
	c := &cobra.Command{Use: "fleet", Short: "Work with a fleet of gateways, through its controller", Long: fleetHelp}
	for _, g := range []struct {
		title    string
		commands []*cobra.Command
	}{
		{"Gateways:", []*cobra.Command{a.fleetGatewaysCommand(), a.fleetGatewayCommand(), a.fleetTokenCommand()}},
		{"What runs on them:", []*cobra.Command{
			a.fleetDeployCommand(), a.fleetRemoveCommand(), a.fleetDeploymentsCommand(), a.fleetDeploymentCommand(), a.fleetTargetsCommand(), a.fleetConfigCommand(), a.fleetSecretCommand(),
		}},
		{"How they are:", []*cobra.Command{a.fleetStateCommand(), a.fleetLogsCommand(), a.fleetDoctorCommand(), a.fleetTelemetryCommand()}},
		{"What it costs:", []*cobra.Command{a.fleetUsageCommand(), a.fleetFindingsCommand(), a.fleetInvoiceCommand(), a.fleetPlanCommand()}},
		{"Who may:", []*cobra.Command{a.fleetLoginCommand(), a.fleetWhoamiCommand(), a.fleetUserCommand(), a.fleetTenantCommand(), a.fleetAuditCommand()}},
	} {
		c.AddGroup(&cobra.Group{ID: g.title, Title: g.title})
		for _, sub := range g.commands {
			sub.GroupID = g.title
			c.AddCommand(sub)
		}
	}
	return c
}

// fleetLogin is what 'headgate fleet login' keeps.
type fleetLogin struct {
	Controller string `json:"controller"`
	Token      string `json:"token"`
	Tenant     string `json:"tenant"`
}

func fleetFile() (string, error) {
	dir, err := homeDir()
	if err != nil {
		return "", fmt.Errorf("no place for the login: %w", err)
	}
	return filepath.Join(dir, "fleet.json"), nil
}

// readLogin is where the user has logged in.
func readLogin() (l fleetLogin, err error) {
	file, err := fleetFile()
	if err != nil {
		return l, err
	}
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return l, errors.New("you are not logged in to a controller: headgate fleet login https://HOST:8443 TOKEN")
	}
	if err != nil {
		return l, err
	}
	if err := json.Unmarshal(raw, &l); err != nil {
		return l, fmt.Errorf("%s: %w: log in again", file, err)
	}
	return l, nil
}

// fleet is the controller that the user has logged in to.
func (a *app) fleet() (*controllerclient.Client, error) {
	l, err := readLogin()
	if err != nil {
		return nil, err
	}
	return controllerclient.New(l.Controller, l.Token)
}

// withFleet runs fn with the controller.
func (a *app) withFleet(fn func(*controllerclient.Client) error) error {
	c, err := a.fleet()
	if err != nil {
		return err
	}
	defer c.Close()
	return fn(c)
}

// fleetDo is one request whose answer is printed as JSON, or as text says.
func fleetDo[T any](a *app, cmd *cobra.Command, method, path string, in any, text func(*T)) error {
	return a.withFleet(func(c *controllerclient.Client) error {
		var out T
		var into any = &out
		if method == http.MethodDelete {
			into = nil
		}
		if err := c.Do(cmd.Context(), method, path, in, into); err != nil {
			return err
		}
		if a.json && into == nil {
			return a.printJSON(map[string]bool{"done": true})
		}
		if a.json {
			return a.printJSON(out)
		}
		text(&out)
		return nil
	})
}

// fleetList prints a whole list.
func fleetList[T any](a *app, cmd *cobra.Command, path string, query url.Values, none, header string, cells func(*T) []any) error {
	return a.withFleet(func(c *controllerclient.Client) error {
		list, err := controllerclient.All[T](cmd.Context(), c, path, query)
		if err != nil {
			return err
		}
		return printList(a, list, none, header, cells)
	})
}

func (a *app) fleetLoginCommand() *cobra.Command {
	return &cobra.Command{
		Use: "login URL TOKEN", Short: "Keep a controller's address and your token", Args: cobra.ExactArgs(2),
		Long: "Keep a controller's address, and the token that says who you are. The controller's first start prints the first\n" +
			"token, 'headgate fleet user token create' others. When none is left 'headgate-controller operator recover', on the\n" +
			"controller's own machine, prints one for a day.",
		Example: "  headgate fleet login https://controller.example.org:8443 hgc_…",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := controllerclient.New(args[0], args[1])
			if err != nil {
				return usageError{err}
			}
			defer c.Close()
			var who controllerapi.Whoami
			if err := c.Do(cmd.Context(), http.MethodGet, "/v1/whoami", nil, &who); err != nil {
				return err
			}
			file, err := fleetFile()
			if err != nil {
				return err
			}
			raw, err := json.MarshalIndent(fleetLogin{Controller: args[0], Token: args[1], Tenant: who.Tenant}, "", "  ")
			if err != nil {
				return err
			}
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				return fmt.Errorf("keep the login: %w", err)
			}
			if err := durable.Replace(file, append(raw, '\n')); err != nil {
				return fmt.Errorf("keep the login: %w", err)
			}
			return a.printWho(&who)
		},
	}
}

func (a *app) printWho(who *controllerapi.Whoami) error {
	if a.json {
		return a.printJSON(who)
	}
	fmt.Fprintf(a.out, "you are %s, %s of %s; the token %s may: %s\n", who.User, who.Role, who.Tenant, who.Token, strings.Join(who.Scopes, " "))
	return nil
}

func (a *app) fleetWhoamiCommand() *cobra.Command {
	return &cobra.Command{
		Use: "whoami", Short: "Say whose your token is, and what it may",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetDo(a, cmd, http.MethodGet, "/v1/whoami", nil, func(who *controllerapi.Whoami) { _ = a.printWho(who) })
		},
	}
}

func (a *app) fleetTokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make the tokens that gateways enrol with"}
	c.AddCommand(a.fleetTokenCreateCommand(), &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tokens",
		RunE: func(cmd *cobra.Command, _ []string) error {
			const none = "There is no token. Make one: headgate fleet token create"
			return fleetList(a, cmd, "/v1/enrolment-tokens", nil, none, "TOKEN USED STATE EXPIRES LABELS", func(t *controllerapi.EnrolmentToken) []any {
				return []any{t.ID, fmt.Sprintf("%d/%d", t.Used, t.Uses), tokenState(t), day(t.Expires), labelText(t.Labels)}
			})
		},
	}, &cobra.Command{
		Use: "revoke TOKEN", Aliases: []string{"rm"}, Short: "Revoke a token by its ID; its gateways stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodDelete, "/v1/enrolment-tokens/"+url.PathEscape(args[0]), nil, func(*struct{}) { fmt.Fprintln(a.out, "revoked", args[0]) })
		},
	})
	return c
}

func tokenState(t *controllerapi.EnrolmentToken) string {
	switch {
	case !t.Revoked.IsZero():
		return "revoked"
	case !t.Expires.After(time.Now()):
		return "expired"
	case t.Used >= t.Uses:
		return "used up"
	}
	return "good"
}

func (a *app) fleetTokenCreateCommand() *cobra.Command {
	n := controllerapi.NewEnrolmentToken{Uses: 1}
	expires := function.Duration(24 * time.Hour)
	var labels []string
	c := &cobra.Command{
		Use: "create", Short: "Make a token and print it, once",
		Example: "  headgate fleet token create\n  headgate fleet token create --uses 500 --expires 30d --label batch=7\n  headgate fleet token create --replace gw-17",
		RunE: func(cmd *cobra.Command, _ []string) error {
			n.Seconds, n.Labels = int64(time.Duration(expires).Seconds()), map[string]string{}
			for _, l := range labels {
				key, value, ok := strings.Cut(l, "=")
				if !ok {
					return usageError{fmt.Errorf("--label %s: want key=value", l)}
				}
				n.Labels[key] = value
			}
			return fleetDo(a, cmd, http.MethodPost, "/v1/enrolment-tokens", n, func(t *controllerapi.EnrolmentSecret) { fmt.Fprintln(a.out, t.Token) })
		},
	}
	c.Flags().Int64Var(&n.Uses, "uses", n.Uses, "how many gateways it admits")
	c.Flags().Var(durationFlag{&expires}, "expires", "how long it lives, as 12h or 30d")
	c.Flags().StringArrayVar(&labels, "label", nil, "key=value that its gateways begin with; may be repeated")
	c.Flags().StringVar(&n.Replace, "replace", "", "the gateway whose place it gives, by name or ID")
	return c
}
