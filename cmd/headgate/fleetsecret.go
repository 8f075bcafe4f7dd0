package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/hpke"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	controllerapi "github.com/headgate-io/headgate/controller/api"
	controllerclient "github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/sync/wire"
)

// sealedAtOnce is how many gateways one request has a secret for.
const sealedAtOnce = 500

// chosen says which gateways are meant.
type chosen struct{ to, gateway string }

func (c *chosen) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.to, "to", "", "the gateways with these labels, as site=north,!retired; all without it")
	cmd.Flags().StringVar(&c.gateway, "gateway", "", "this gateway, by name or ID")
	cmd.MarkFlagsMutuallyExclusive("to", "gateway")
}

func (c *chosen) query() url.Values {
	q := url.Values{}
	if c.to != "" {
		q.Set("selector", c.to)
	}
	if c.gateway != "" {
		q.Set("gateway", c.gateway)
	}
	return q
}

func (a *app) fleetSecretCommand() *cobra.Command {
	c := &cobra.Command{Use: "secret", Short: "Give functions on gateways what nobody else may know, the controller neither"}
	c.AddCommand(a.fleetSecretSetCommand(), a.fleetSecretListCommand(), a.fleetSecretRemoveCommand())
	return c
}

func (a *app) fleetSecretSetCommand() *cobra.Command {
	var on chosen
	c := &cobra.Command{
		Use: "set FUNCTION NAME", Short: "Set a secret, read from standard input or asked for", Args: cobra.ExactArgs(2),
		Long: "Set a secret of a function. The value is read from standard input, without the newline at its end, or asked for where\n" +
			"that is a terminal. It is sealed here to the key of each gateway: the controller passes it on and cannot read it. A gateway\n" +
			"that enrols later, or was replaced, has to be given it again: 'headgate fleet secret list' shows who has it.",
		Example: "  headgate fleet secret set irrigate weather_key --to 'site=north' < key.txt",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFleet(func(c *controllerclient.Client) error {
				keys, err := keysOf(cmd.Context(), c, &on)
				if err != nil {
					return err
				}
				if err := a.noteFunction(cmd.Context(), c, args[0]); err != nil {
					return err
				}
				value, err := a.readSecret(args[1])
				if err != nil {
					return err
				}
				defer clear(value)
				return a.setSecrets(cmd.Context(), c, "set for", args[0], args[1], keys, func(k *controllerapi.GatewayKey) ([]byte, error) {
					return sealFor(k, args[0], args[1], value)
				})
			})
		},
	}
	on.register(c)
	return c
}

// keysOf are the keys of the gateways that are chosen, of which there must be
// some.
func keysOf(ctx context.Context, c *controllerclient.Client, on *chosen) ([]controllerapi.GatewayKey, error) {
	keys, err := controllerclient.All[controllerapi.GatewayKey](ctx, c, "/v1/gateway-keys", on.query())
	if err == nil && len(keys) == 0 {
		err = errors.New("no gateway is chosen: a secret is sealed to gateways that are there ('headgate fleet gateways --to …' lists them)")
	}
	return keys, err
}

// holdersOf are the gateways, of those that are chosen, that have a secret. There
// must be some: who mistypes a name would think that nobody has it any more.
func holdersOf(ctx context.Context, c *controllerclient.Client, on *chosen, fn, name string) ([]controllerapi.GatewayKey, error) {
	all, err := controllerclient.All[controllerapi.SecretInfo](ctx, c, "/v1/secrets", on.query())
	if err != nil {
		return nil, err
	}
	var holders []controllerapi.GatewayKey
	for i := range all {
		if s := &all[i]; s.Function == fn && s.Name == name {
			holders = append(holders, controllerapi.GatewayKey{ID: s.Gateway, Name: s.GatewayName})
		}
	}
	if len(holders) == 0 {
		return nil, fmt.Errorf("none of these gateways has a secret %s of %s, so nothing is removed: 'headgate fleet secret list' shows which there are", name, fn)
	}
	return holders, nil
}

// sealFor seals a value so that one gateway opens it, as this secret alone.
func sealFor(k *controllerapi.GatewayKey, fn, name string, value []byte) ([]byte, error) {
	parsed, err := x509.ParsePKIXPublicKey(k.Key)
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", k.Name, err)
	}
	public, ok := parsed.(*ecdsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key of %s is a %T: it has to be enrolled anew", k.Name, parsed)
	}
	exchange, err := public.ECDH()
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", k.Name, err)
	}
	recipient, err := hpke.NewDHKEMPublicKey(exchange)
	if err != nil {
		return nil, fmt.Errorf("the key of %s: %w", k.Name, err)
	}
	return hpke.Seal(recipient, hpke.HKDFSHA256(), hpke.AES256GCM(), wire.SecretInfo(k.ID, fn, name), value)
}

// setSecrets sends what seal makes for each gateway; where that is nothing the
// secret is removed. What was done is said as done has it.
func (a *app) setSecrets(ctx context.Context, c *controllerclient.Client, done, fn, name string, keys []controllerapi.GatewayKey, seal func(*controllerapi.GatewayKey) ([]byte, error)) error {
	for from := 0; from < len(keys); from += sealedAtOnce {
		in := controllerapi.SetSecrets{Function: fn, Name: name, Sealed: map[string][]byte{}}
		for i := from; i < min(from+sealedAtOnce, len(keys)); i++ {
			sealed, err := seal(&keys[i])
			if err != nil {
				return err
			}
			if sealed == nil {
				in.Remove = append(in.Remove, keys[i].ID)
				continue
			}
			in.Sealed[keys[i].ID] = sealed
		}
		if err := c.Do(ctx, http.MethodPost, "/v1/secrets", in, nil); err != nil {
			return fmt.Errorf("after %s: %w", counted(from, "gateway"), err)
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"function": fn, "name": name, "gateways": len(keys)})
	}
	fmt.Fprintf(a.out, "%s of %s is %s %s\n", name, fn, done, counted(len(keys), "gateway"))
	return nil
}

func (a *app) fleetSecretListCommand() *cobra.Command {
	var on chosen
	c := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List which gateways have which secrets, without their values", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			const none = "No secret is set. Set one: headgate fleet secret set FUNCTION NAME"
			return fleetList(a, cmd, "/v1/secrets", on.query(), none, "GATEWAY FUNCTION SECRET SET NOTE", func(s *controllerapi.SecretInfo) []any {
				return []any{s.GatewayName, s.Function, s.Name, day(s.Set), dash(staleText(s.Stale))}
			})
		},
	}
	on.register(c)
	return c
}

func staleText(stale bool) string {
	if stale {
		return " (the gateway has another key since: set it again)"
	}
	return ""
}

func (a *app) fleetSecretRemoveCommand() *cobra.Command {
	var on chosen
	c := &cobra.Command{
		Use: "remove FUNCTION NAME", Aliases: []string{"rm"}, Short: "Remove a secret from gateways", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withFleet(func(c *controllerclient.Client) error {
				holders, err := holdersOf(cmd.Context(), c, &on, args[0], args[1])
				if err != nil {
					return err
				}
				return a.setSecrets(cmd.Context(), c, "removed from", args[0], args[1], holders, func(*controllerapi.GatewayKey) ([]byte, error) { return nil, nil })
			})
		},
	}
	on.register(c)
	return c
}
