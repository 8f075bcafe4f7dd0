package fleet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// States says of some gateways of a tenant what is wanted of them, what they say
// of it, and in which way they are not as they shall be.
func (s *Service) States(ctx context.Context, tx *store.Tx, tenant string, gateways []store.Gateway) ([]api.GatewayState, error) {
	p, err := s.plans.of(ctx, tx, tenant)
	if err != nil {
		return nil, err
	}
	facts, err := Facts(ctx, tx, gateways)
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(gateways))
	for i := range gateways {
		ids[i] = gateways[i].ID
	}
	desired, err := tx.DesiredOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	reported, err := tx.ReportedOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	keys, err := tx.PresentKeys(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make([]api.GatewayState, len(gateways))
	for i := range gateways {
		v := view{p: p, g: facts[i], out: &out[i]}
		v.out.ID, v.out.Name, v.out.Labels = gateways[i].ID, gateways[i].Name, gateways[i].Labels
		for _, d := range desired {
			if d.Gateway == v.g.ID {
				v.out.Desired, v.out.Follows, v.out.Error = d.Revision, d.Follows, d.Error
			}
		}
		for _, r := range reported {
			if r.Gateway != v.g.ID {
				continue
			}
			m, err := s.codec.Decode(r.Document)
			if err != nil {
				return nil, fmt.Errorf("what gateway %s reported: %w", v.g.ID, err)
			}
			v.said, _ = m.(*wire.Reported)
			v.out.Reported = r.At
		}
		if v.wants, err = p.Desired(v.g); err != nil { // more than it takes: that is its error
			v.wants = &wire.Desired{}
		}
		v.fill(keys[v.g.ID])
	}
	return out, nil
}

// view makes the state of one gateway.
type view struct {
	p     *Plan
	g     Gateway
	wants *wire.Desired
	said  *wire.Reported // nil where it never spoke of it
	out   *api.GatewayState
}

func (v *view) fill(key []byte) {
	said := v.said
	if said == nil {
		said = &wire.Reported{}
	}
	if said.Error != "" {
		v.out.Error = strings.TrimPrefix(v.out.Error+"; "+said.Error, "; ")
	}
	v.out.Functions, v.out.Secrets = []api.FunctionState{}, []api.SecretInfo{}
	all := map[string]api.FunctionState{}
	have := map[string]*wire.ReportedFunction{}
	for i := range said.Functions {
		f := &said.Functions[i]
		have[f.Name] = f
		all[f.Name] = api.FunctionState{
			Function: f.Name, Version: f.Version, Digest: hex.EncodeToString(f.Digest), Target: f.Target, Stage: f.Stage, Note: f.Note,
		}
	}
	for _, w := range v.wants.Functions {
		f := all[w.Name]
		f.Function, f.Wanted, f.Deployment = w.Name, w.Target, w.Attempt
		if len(w.Config) > 0 {
			_ = json.Unmarshal(w.Config, &f.Config) // it is ours
		}
		f.Drift = v.drift(w, have[w.Name])
		all[w.Name] = f
	}
	for name, d := range v.p.winners(v.g) {
		if f, there := all[name]; there && name != System && len(d.Targets) == 0 {
			f.Deployment, f.Drift = d.ID, "it is to be removed"
			all[name] = f
		}
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		v.out.Drift = v.out.Drift || f.Drift != ""
		v.out.Functions = append(v.out.Functions, f)
	}
	v.system(said)
	v.out.Faults = said.Faults
	v.out.Drift = v.out.Drift || v.out.Error != "" || v.out.Follows != v.out.Desired
	v.secrets(key)
}

func (v *view) drift(w wire.DesiredFunction, f *wire.ReportedFunction) string {
	switch {
	case v.said == nil:
		return "the gateway has not reported yet"
	case v.out.Follows != v.out.Desired:
		return "the gateway does not know of it yet"
	case f == nil && w.Target == "":
		return "the gateway does not have the function that this is set for"
	case f == nil:
		return "it is not there"
	}
	if w.Target != "" {
		state, note := observeFunction(w.Attempt, v.p.targetOf(w), f)
		switch {
		case state == store.GatewayUnhealthy:
			return note
		case state == store.GatewayPending && note == "":
			return "it runs something else"
		case state == store.GatewayPending:
			return note
		}
	}
	if !sameConfig(w.Config, f.Config) {
		return "it runs with another configuration"
	}
	return ""
}

// sameConfig compares a configuration with the digest of the one that is used.
func sameConfig(config, digest []byte) bool {
	if len(config) == 0 {
		return len(digest) == 0
	}
	sum := sha256.Sum256(config)
	return bytes.Equal(sum[:], digest)
}

func (p *Plan) targetOf(w wire.DesiredFunction) store.Target {
	if d := p.byID[w.Attempt]; d != nil {
		return d.Targets[0]
	}
	return store.Target{Name: w.Target}
}

func (v *view) system(said *wire.Reported) {
	v.out.System = api.SystemState{Wanted: v.wants.System, Version: said.System.Version, Fixed: said.System.Fixed.Sentence()}
	d := v.p.winners(v.g)[System]
	if d == nil || said.System.Fixed != "" {
		return
	}
	switch state, note := observeSystem(d.Deployment, v.g.Arch, &said.System); {
	case v.said == nil:
		v.out.System.Drift = "the gateway has not reported yet"
	case state == store.GatewayLive:
	case note != "":
		v.out.System.Drift = note
	default:
		v.out.System.Drift = "it runs another binary"
	}
	v.out.Drift = v.out.Drift || v.out.System.Drift != ""
}

func (v *view) secrets(key []byte) {
	sum := sha256.Sum256(key)
	for _, s := range v.g.Secrets {
		if len(s.Sealed) > 0 {
			v.out.Secrets = append(v.out.Secrets, SecretInfo(s, v.out.Name, sum[:]))
		}
	}
}

// SecretInfo is what may be said of a secret of a gateway, whose present key has
// this SHA-256.
func SecretInfo(s store.SealedSecret, name string, key []byte) api.SecretInfo {
	return api.SecretInfo{
		Gateway: s.Gateway, GatewayName: name, Function: s.Function, Name: s.Name, Revision: s.Revision, Set: s.Changed, Stale: !bytes.Equal(s.Key, key),
	}
}
