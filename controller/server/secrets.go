package server

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of secrets.
const (
	maxSealed      = 8 << 10
	maxSecretsBody = 16 << 20
)

// SelectorQuery chooses gateways.
type SelectorQuery struct {
	Paging
	Selector string `query:"selector" maxLength:"1024" doc:"As site=north,batch!=7,!retired"`
	Gateway  string `query:"gateway" maxLength:"64" doc:"Name or ID; in place of a selector"`
}

// gateways are those that are chosen and not revoked, and where the next page
// begins.
func (in *SelectorQuery) gateways(ctx context.Context, tx *store.Tx, tenant string) ([]store.Gateway, string, error) {
	p, err := in.page()
	if err != nil {
		return nil, "", err
	}
	if in.Gateway != "" {
		g, err := tx.GatewayOf(ctx, tenant, in.Gateway)
		return []store.Gateway{g}, "", err
	}
	selector, err := label.Parse(in.Selector)
	if err != nil {
		return nil, "", refusal(err.Error())
	}
	return matchGateways(ctx, tx, tenant, in.Paging, p, func(g store.Gateway) bool { return g.Revoked.IsZero() && selector.Match(g.Labels) })
}

func (s *Server) secrets() {
	read(s, op("list-gateway-keys", http.MethodGet, "/v1/gateway-keys", "List the keys that secrets for gateways are sealed to, by the gateways' names"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *SelectorQuery) (api.Page[api.GatewayKey], error) {
			out := api.Page[api.GatewayKey]{Items: []api.GatewayKey{}}
			list, next, err := in.gateways(ctx, tx, w.tenant())
			if err != nil {
				return out, err
			}
			keys, err := tx.PresentKeys(ctx, ids(list))
			out.Next = next
			for _, g := range list {
				if key := keys[g.ID]; key != nil {
					out.Items = append(out.Items, api.GatewayKey{ID: g.ID, Name: g.Name, Key: key})
				}
			}
			return out, err
		})
	set := op("set-secrets", http.MethodPost, "/v1/secrets", "Set a secret of a function on some gateways, sealed for each; or remove it there")
	set.MaxBodyBytes = maxSecretsBody
	change(s, set, writeFleet, s.setSecrets)
	read(s, op("list-secrets", http.MethodGet, "/v1/secrets", "List which secrets are set, by the gateways' names"), readFleet,
		func(ctx context.Context, tx *store.Tx, w *who, in *SelectorQuery) (api.Page[api.SecretInfo], error) {
			out := api.Page[api.SecretInfo]{Items: []api.SecretInfo{}}
			list, next, err := in.gateways(ctx, tx, w.tenant())
			if err != nil {
				return out, err
			}
			out.Items, err = secretInfos(ctx, tx, list, func(x store.SealedSecret) bool { return len(x.Sealed) > 0 })
			out.Next = next
			return out, err
		})
}

func secretInfos(ctx context.Context, tx *store.Tx, list []store.Gateway, want func(store.SealedSecret) bool) ([]api.SecretInfo, error) {
	out := []api.SecretInfo{}
	keys, err := tx.PresentKeys(ctx, ids(list))
	if err != nil {
		return out, err
	}
	secrets, err := tx.SealedSecrets(ctx, ids(list))
	for _, g := range list {
		sum := sha256.Sum256(keys[g.ID])
		for _, x := range secrets {
			if x.Gateway == g.ID && want(x) {
				out = append(out, fleet.SecretInfo(x, g.Name, sum[:]))
			}
		}
	}
	return out, err
}

func (s *Server) setSecrets(ctx context.Context, tx *store.Tx, w *who, in *struct{ Body api.SetSecrets }) (out api.Page[api.SecretInfo], e effect, err error) {
	b := in.Body
	if !function.ValidName(b.Function) || !function.ValidSecret(b.Name) {
		return out, e, refusal(fmt.Sprintf("%q of %q: want the name of a secret, and of a function", b.Name, b.Function))
	}
	names := slices.Compact(slices.Sorted(slices.Values(slices.AppendSeq(slices.Clone(b.Remove), maps.Keys(b.Sealed)))))
	switch {
	case len(names) == 0:
		return out, e, refusal("sealed, remove: both are empty: no gateway was chosen")
	case len(names) < len(b.Sealed)+len(b.Remove):
		return out, e, refusal("remove: names a gateway twice, or one that it is sealed for")
	}
	list, err := s.ownGateways(ctx, tx, w, names)
	if err != nil {
		return out, e, err
	}
	keys, err := tx.PresentKeys(ctx, names)
	if err != nil {
		return out, e, err
	}
	had, err := tx.SealedSecrets(ctx, names)
	if err != nil {
		return out, e, err
	}
	count := map[string]int{}
	for _, x := range had {
		if x.Function != b.Function || x.Name != b.Name {
			count[x.Gateway]++
		}
	}
	now := s.deps.Now().UTC().Truncate(time.Microsecond)
	for _, g := range list {
		sealed := b.Sealed[g.ID]
		switch {
		case len(sealed) == 0 && !slices.Contains(b.Remove, g.ID):
			return out, e, refusal(fmt.Sprintf("sealed: is empty for %s: to remove it, name the gateway in remove", g.Name))
		case len(sealed) > maxSealed:
			return out, e, refusal(fmt.Sprintf("sealed: %d bytes for %s, at most %d", len(sealed), g.Name, maxSealed))
		case count[g.ID] >= wire.MaxSecrets:
			return out, e, refusal(fmt.Sprintf("sealed: %s has %d secrets, and takes no more", g.Name, count[g.ID]))
		}
		key := sha256.Sum256(keys[g.ID])
		x := store.SealedSecret{Gateway: g.ID, Function: b.Function, Name: b.Name, Sealed: sealed, Key: key[:], Changed: now, ChangedBy: w.Account.Name}
		if err := tx.SetSealedSecret(ctx, x); err != nil {
			return out, e, err
		}
	}
	if err := tx.TouchDesired(ctx, names...); err != nil {
		return out, e, err
	}
	w.then = s.kick
	out.Items, err = secretInfos(ctx, tx, list, func(x store.SealedSecret) bool { return x.Function == b.Function && x.Name == b.Name })
	said := map[string]any{"function": b.Function, "name": b.Name, "gateways": names, "removed": len(b.Remove)}
	action := "secret.set"
	if len(b.Sealed) == 0 {
		action = "secret.remove"
	}
	return out, effect{action, "secret/" + b.Function + "/" + b.Name, nil, said}, err
}

// ownGateways are gateways of the tenant by their IDs; all must be there.
func (s *Server) ownGateways(ctx context.Context, tx *store.Tx, w *who, names []string) ([]store.Gateway, error) {
	list, err := tx.GatewaysOf(ctx, names)
	if err != nil {
		return nil, err
	}
	own := map[string]bool{}
	for _, g := range list {
		own[g.ID] = g.Tenant == w.tenant() && g.Revoked.IsZero()
	}
	for _, name := range names {
		if !own[name] {
			return nil, refusal(fmt.Sprintf("sealed: there is no gateway with the ID %q, or it is revoked: GET /v1/gateway-keys lists whom to seal for", name))
		}
	}
	return list, nil
}
