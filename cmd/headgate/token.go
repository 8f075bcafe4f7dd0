package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Say who may use the admin API over the network"}
	c.AddCommand(a.tokenAddCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
	return c
}

func (a *app) tokenAddCommand() *cobra.Command {
	var t api.NewToken
	var expires function.Duration
	c := &cobra.Command{
		Use: "add NAME", Short: "Make a token and print it, once", Args: cobra.ExactArgs(1),
		Long: `Make a token for the admin API over TCP and print it, once.

Scopes: read shows everything the gateway shows; deploy changes functions;
operate changes states, messages, dead letters and devices; admin changes
tokens and secrets. Each includes read, admin includes all.

A token with the scope call:FUNCTION is a key for that function's HTTP routes,
call:* for those of every function, and opens nothing else.`,
		Example: "  headgate token add grafana --scope read\n  headgate token add ci --scope deploy --expires 90d\n  headgate token add phone --scope call:orders",
		RunE: func(cmd *cobra.Command, args []string) error {
			t.Name, t.Lifetime = args[0], time.Duration(expires)
			var s api.TokenSecret
			if err := a.call(cmd, http.MethodPost, "/v1/tokens", t, &s); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(s)
			}
			fmt.Fprintf(a.out, "token   %s  %s%s\nsecret  %s   (shown this once)\n", s.Name, strings.Join(s.Scopes, " "), until(s.Expires), s.Secret)
			return nil
		},
	}
	c.Flags().StringArrayVar(&t.Scopes, "scope", nil, "read, deploy, operate or admin, or call:FUNCTION; may be repeated")
	c.Flags().Var(durationFlag{&expires}, "expires", "how long it lives, as 12h or 90d; for ever when left out")
	return c
}

// durationFlag is a flag that takes durations as manifests do, and days.
type durationFlag struct{ d *function.Duration }

// String is the value.
func (f durationFlag) String() string {
	if f.d == nil || *f.d == 0 {
		return ""
	}
	return f.d.String()
}

// Type names what the flag takes.
func (f durationFlag) Type() string { return "duration" }

// Set reads a value.
func (f durationFlag) Set(s string) error {
	days := 0
	if n, err := fmt.Sscanf(s, "%dd", &days); n == 1 && err == nil && fmt.Sprintf("%dd", days) == s && days > 0 && days < 36500 {
		*f.d = function.Duration(time.Duration(days) * 24 * time.Hour)
		return nil
	}
	if err := f.d.UnmarshalText([]byte(s)); err != nil || *f.d <= 0 {
		return fmt.Errorf("want a duration such as 12h or 90d")
	}
	return nil
}

func until(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "  until " + day(t)
}

func (a *app) tokenListCommand() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tokens",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var list []api.Token
			if err := a.call(cmd, http.MethodGet, "/v1/tokens", nil, &list); err != nil {
				return err
			}
			const none = "There is no token. Make one: headgate token add NAME --scope read"
			return printList(a, list, none, "TOKEN SCOPES CREATED EXPIRES USED", func(t *api.Token) []any {
				return []any{t.Name, strings.Join(t.Scopes, " "), dayOr(t.Created, "-"), dayOr(t.Expires, "never"), dayOr(t.LastUsed, "never")}
			})
		},
	}
}

func dayOr(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return day(t)
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "revoke NAME", Aliases: []string{"remove", "rm"}, Short: "Revoke a token and end what goes on in its name", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.call(cmd, http.MethodDelete, "/v1/tokens/"+url.PathEscape(args[0]), nil, nil); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"revoked": args[0]})
			}
			fmt.Fprintln(a.out, "revoked", args[0])
			return nil
		},
	}
}
