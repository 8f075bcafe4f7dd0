package fleet

import (
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// Gateway is what a plan needs to know of a gateway.
type Gateway struct {
	ID, Arch string
	Labels   map[string]string
	// Reached are the deployments that have reached it.
	Reached map[string]bool
	Secrets []store.SealedSecret
}

// Desired is what is wanted of a gateway, without a revision. An error says that
// it is more than a gateway takes.
func (p *Plan) Desired(g Gateway) (*wire.Desired, error) {
	out := &wire.Desired{}
	winners := p.winners(g)
	for _, name := range p.functions(winners) {
		d := winners[name]
		config, some := p.config(name, g)
		if d == nil && !some || d != nil && len(d.Targets) == 0 {
			continue // nothing is set for it here, or it shall not be there
		}
		f := wire.DesiredFunction{Name: name}
		if len(config) > 0 {
			var err error
			if f.Config, err = json.Marshal(config); err != nil {
				return nil, fmt.Errorf("configuration of %s: %w", name, err)
			}
		}
		if d != nil {
			t := d.Targets[0]
			sum, err := hex.DecodeString(t.SHA256)
			if err != nil {
				return nil, fmt.Errorf("deployment %s: %w", d.ID, err)
			}
			f.Target, f.SHA256, f.Attempt = t.Name, sum, d.ID
		}
		out.Functions = append(out.Functions, f)
	}
	if d := winners[System]; d != nil {
		t, _ := d.target(g.Arch)
		out.System, out.SystemAttempt = t.Name, d.ID
	}
	for _, s := range g.Secrets {
		out.Secrets = append(out.Secrets, wire.SealedSecret{Function: s.Function, Name: s.Name, Revision: s.Revision, Sealed: s.Sealed})
	}
	out.Every = p.every(g)
	switch {
	case len(out.Functions) > wire.MaxFunctions:
		return nil, fmt.Errorf("%d functions are wanted, a gateway takes %d: let fewer deployments or settings choose it", len(out.Functions), wire.MaxFunctions)
	case len(out.Secrets) > wire.MaxSecrets:
		return nil, fmt.Errorf("it has %d secrets, a gateway takes %d: remove some", len(out.Secrets), wire.MaxSecrets)
	}
	return out, nil
}

// every is how often a gateway is to report while rollouts look at it; 0 is its
// own choice.
func (p *Plan) every(g Gateway) (seconds int64) {
	for id := range g.Reached {
		d := p.byID[id]
		if d != nil && d.State.Open() && (seconds == 0 || d.every < seconds) {
			seconds = d.every
		}
	}
	return seconds
}

// empty reports whether nothing is wanted.
func empty(d *wire.Desired) bool {
	return len(d.Functions) == 0 && len(d.Secrets) == 0 && d.System == ""
}
