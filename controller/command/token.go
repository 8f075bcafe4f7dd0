package command

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/store"
)

func (a *app) tokenCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "token", Short: "Make the tokens that gateways enrol with",
		Long: "Make the tokens that gateways enrol with, on the controller's own machine.\nFrom elsewhere it is 'headgate fleet token'.",
	}
	var tenant string
	c.PersistentFlags().StringVar(&tenant, "tenant", controller.FirstTenant, "whose gateways they are")
	c.AddCommand(a.tokenCreateCommand(&tenant), a.tokenListCommand(&tenant), a.tokenRevokeCommand(&tenant))
	return c
}

// tenantNamed finds the tenant of a command.
func tenantNamed(cmd *cobra.Command, tx *store.Tx, name string) (store.Tenant, error) {
	t, err := tx.TenantNamed(cmd.Context(), name)
	if errors.Is(err, store.ErrNotFound) {
		err = fmt.Errorf("there is no tenant %q: run the controller once, or name another with --tenant", name)
	}
	return t, err
}

// by names who works on the controller's machine.
func by() string {
	if name := os.Getenv("USER"); name != "" {
		return "local:" + name
	}
	return "local:" + strconv.Itoa(os.Getuid())
}

func (a *app) tokenCreateCommand(tenant *string) *cobra.Command {
	n := enrol.NewToken{Uses: 1, Life: enrol.DefaultLife, By: by()}
	var labels []string
	c := &cobra.Command{
		Use: "create", Short: "Make a token and print it, once",
		Example: "  headgate-controller token create\n  headgate-controller token create --uses 500 --expires 30d --label batch=7\n  headgate-controller token create --replace gw-17",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if n.Labels, err = readLabels(labels); err != nil {
				return usageError{err}
			}
			return a.beside(cmd.Context(), func(b *controller.Base) error {
				var secret string
				err := b.Store.Update(cmd.Context(), func(tx *store.Tx) error {
					t, err := tenantNamed(cmd, tx, *tenant)
					if err != nil {
						return err
					}
					var made store.EnrolmentToken
					if made, secret, err = b.Enrol.Token(cmd.Context(), tx, t.ID, n); err != nil {
						return err
					}
					return tx.AddChange(cmd.Context(), store.Change{
						Tenant: t.ID, At: made.Created, Actor: n.By, Action: "enrolment-token.create", Object: "enrolment-token/" + made.ID,
					})
				})
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, secret)
				return nil
			})
		},
	}
	c.Flags().Int64Var(&n.Uses, "uses", n.Uses, "how many gateways it admits")
	c.Flags().Var((*days)(&n.Life), "expires", "how long it lives, as 12h or 30d")
	c.Flags().StringArrayVar(&labels, "label", nil, "key=value that its gateways begin with; may be repeated")
	c.Flags().StringVar(&n.Replace, "replace", "", "the gateway whose place it gives, by name or ID")
	return c
}

func readLabels(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		key, value, ok := strings.Cut(p, "=")
		if !ok {
			return nil, fmt.Errorf("--label %s: want key=value", p)
		}
		out[key] = value
	}
	return out, nil
}

// days is a duration flag that knows days.
type days time.Duration

// String is the value.
func (d *days) String() string {
	const day = days(24 * time.Hour)
	if *d%day == 0 {
		return fmt.Sprintf("%dd", *d/day)
	}
	return time.Duration(*d).String()
}

// Type names what the flag takes.
func (*days) Type() string { return "duration" }

// Set reads a value.
func (d *days) Set(s string) error {
	if n, err := strconv.Atoi(strings.TrimSuffix(s, "d")); err == nil && strings.HasSuffix(s, "d") && n > 0 && n <= 36500 {
		*d = days(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v <= 0 {
		return errors.New("want a duration such as 12h or 30d")
	}
	*d = days(v)
	return nil
}

func (a *app) tokenListCommand(tenant *string) *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List the tokens",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.beside(cmd.Context(), func(b *controller.Base) error {
				var all []store.EnrolmentToken
				err := b.Store.View(cmd.Context(), func(tx *store.Tx) error {
					t, err := tenantNamed(cmd, tx, *tenant)
					if err != nil {
						return err
					}
					all, err = tx.EnrolmentTokens(cmd.Context(), t.ID, store.Page{Limit: 10_000})
					return err
				})
				if err != nil {
					return err
				}
				return a.printTokens(all)
			})
		},
	}
}

func (a *app) printTokens(all []store.EnrolmentToken) error {
	if len(all) == 0 {
		fmt.Fprintln(a.out, "There is no token. Make one: headgate-controller token create")
		return nil
	}
	slices.SortFunc(all, func(x, y store.EnrolmentToken) int { return x.Created.Compare(y.Created) })
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "TOKEN\tUSED\tSTATE\tEXPIRES\tLABELS")
	for _, t := range all {
		state := "good"
		switch {
		case !t.Revoked.IsZero():
			state = "revoked"
		case !t.Expires.After(time.Now()):
			state = "expired"
		case t.Used >= t.Uses:
			state = "used up"
		}
		var labels []string
		for _, k := range slices.Sorted(maps.Keys(t.Labels)) {
			labels = append(labels, k+"="+t.Labels[k])
		}
		fmt.Fprintf(w, "%s\t%d/%d\t%s\t%s\t%s\n", t.ID, t.Used, t.Uses, state, t.Expires.Local().Format(time.DateTime), strings.Join(labels, ","))
	}
	return w.Flush()
}

func (a *app) tokenRevokeCommand(tenant *string) *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Aliases: []string{"rm"}, Short: "Revoke a token by its ID; its gateways stay", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.beside(cmd.Context(), func(b *controller.Base) error {
				err := b.Store.Update(cmd.Context(), func(tx *store.Tx) error {
					t, err := tenantNamed(cmd, tx, *tenant)
					if err != nil {
						return err
					}
					now := time.Now()
					if err := tx.RevokeEnrolmentToken(cmd.Context(), t.ID, args[0], now); err != nil {
						return err
					}
					return tx.AddChange(cmd.Context(), store.Change{
						Tenant: t.ID, At: now, Actor: by(), Action: "enrolment-token.revoke", Object: "enrolment-token/" + args[0],
					})
				})
				if errors.Is(err, store.ErrNotFound) {
					return fmt.Errorf("there is no token %q that is not revoked yet: 'headgate-controller token list' lists them", args[0])
				}
				if err == nil {
					fmt.Fprintln(a.out, "revoked", args[0])
				}
				return err
			})
		},
	}
}
