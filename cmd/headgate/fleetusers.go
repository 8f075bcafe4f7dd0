package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/function"
)

func (a *app) fleetUserCommand() *cobra.Command {
	c := &cobra.Command{Use: "user", Short: "Say who may use the controller, and make their tokens"}
	path := func(name string) string { return "/v1/users/" + url.PathEscape(name) }
	show := func(u *controllerapi.User) { fmt.Fprintf(a.out, "user %s  %s\n", u.Name, u.Role) }
	role := "viewer"
	add := &cobra.Command{
		Use: "add NAME", Short: "Add a user", Args: cobra.ExactArgs(1),
		Example: "  headgate fleet user add ann@example.org --role operator",
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPost, "/v1/users", controllerapi.NewUser{Name: args[0], Role: role}, show)
		},
	}
	add.Flags().StringVar(&role, "role", role, "viewer, operator, admin or platform")
	c.AddCommand(add, &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the users",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetList(a, cmd, "/v1/users", nil, "There is no user.", "USER ROLE CREATED", func(u *controllerapi.User) []any {
				return []any{u.Name, u.Role, day(u.Created)}
			})
		},
	}, &cobra.Command{
		Use: "role NAME ROLE", Short: "Give a user another role", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPatch, path(args[0]), controllerapi.UserChange{Role: args[1]}, show)
		},
	}, &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a user with all tokens", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodDelete, path(args[0]), nil, func(*struct{}) { fmt.Fprintln(a.out, "deleted", args[0]) })
		},
	}, a.fleetUserTokenCommand())
	return c
}

func (a *app) fleetUserTokenCommand() *cobra.Command {
	c := &cobra.Command{Use: "token", Short: "Make and revoke the tokens of a user"}
	path := func(user string) string { return "/v1/users/" + url.PathEscape(user) + "/tokens" }
	var n controllerapi.NewToken
	var expires function.Duration
	create := &cobra.Command{
		Use: "create USER NAME", Short: "Make a token and print it, once", Args: cobra.ExactArgs(2),
		Example: "  headgate fleet user token create ann@example.org laptop --expires 90d\n  headgate fleet user token create grafana prometheus --scope metrics:read",
		RunE: func(cmd *cobra.Command, args []string) error {
			n.Name, n.Seconds = args[1], int64(time.Duration(expires).Seconds())
			return fleetDo(a, cmd, http.MethodPost, path(args[0]), n, func(t *controllerapi.TokenSecret) { fmt.Fprintln(a.out, t.Secret) })
		},
	}
	create.Flags().StringArrayVar(&n.Scopes, "scope", nil, "narrow it, as gateways:read; may be repeated")
	create.Flags().Var(durationFlag{&expires}, "expires", "how long it lives, as 12h or 90d; for ever when left out")
	c.AddCommand(create, &cobra.Command{
		Use: "list USER", Aliases: []string{"ls"}, Short: "List a user's tokens", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetList(a, cmd, path(args[0]), nil, "There is no token.", "TOKEN SCOPES CREATED EXPIRES USED", func(t *controllerapi.Token) []any {
				scopes := strings.Join(t.Scopes, " ")
				if scopes == "" {
					scopes = "all"
				}
				return []any{t.Name, scopes, day(t.Created), dayOr(t.Expires, "never"), dayOr(t.LastUsed, "never")}
			})
		},
	}, &cobra.Command{
		Use: "revoke USER NAME", Aliases: []string{"rm"}, Short: "Revoke a token", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodDelete, path(args[0])+"/"+url.PathEscape(args[1]), nil, func(*struct{}) { fmt.Fprintln(a.out, "revoked", args[1]) })
		},
	})
	return c
}

func (a *app) fleetTenantCommand() *cobra.Command {
	c := &cobra.Command{Use: "tenant", Short: "Add and delete the customers of a controller that you run"}
	c.AddCommand(&cobra.Command{
		Use: "add NAME", Short: "Add a tenant, and print the token of its first admin, once", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodPost, "/v1/tenants", controllerapi.NewTenant{Name: args[0]}, func(t *controllerapi.TenantMade) {
				fmt.Fprintf(a.out, "tenant  %s\nadmin   %s\nsecret  %s   (shown this once)\n", t.Name, t.Admin.User, t.Admin.Secret)
			})
		},
	}, &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tenants",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return fleetList(a, cmd, "/v1/tenants", nil, "There is no tenant.", "TENANT ID CREATED", func(t *controllerapi.Tenant) []any {
				return []any{t.Name, t.ID, day(t.Created)}
			})
		},
	}, &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a tenant with everything that it has", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return fleetDo(a, cmd, http.MethodDelete, "/v1/tenants/"+url.PathEscape(args[0]), nil, func(*struct{}) { fmt.Fprintln(a.out, "deleted", args[0]) })
		},
	})
	return c
}
