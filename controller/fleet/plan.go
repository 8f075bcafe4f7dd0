// Package fleet says what is wanted of each gateway, and takes what gateways say
// of it. A gateway's desired state is made of the deployments that have reached
// it, the configuration that is set for it and the secrets that are sealed to it:
// Plan.Desired is a function of these alone. The Service makes it anew where one
// of them has changed, and sends it; any number of replicas may do so at once.
package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
)

// System is the name of the gateway's own binary among functions.
const System = "system"

// Bounds of what a tenant may want.
const (
	// MaxDeployments is how many deployments of a tenant may count at once: those
	// under another that is done for the same gateways do not.
	MaxDeployments = 1000
	// MaxLayers is how many places configuration may be set at.
	MaxLayers = 2000
	// MaxConfigBytes bounds what is set at one place.
	MaxConfigBytes = 16 << 10
	// plansKept bounds how many tenants' plans a replica holds.
	plansKept = 256
)

// Plan is what a tenant wants of its fleet, at one revision of it.
type Plan struct {
	Revision    int64
	deployments []deployment // newest first
	byID        map[string]*deployment
	layers      map[string][]layer // by function
}

// deployment is one that may count.
type deployment struct {
	store.Deployment
	selector label.Selector
	every    int64
}

// layer is what is set at one place.
type layer struct {
	store.ConfigLayer
	selector label.Selector
}

// Place says which layers are laid over which: the greater over the lesser.
func (l *layer) place() int {
	switch {
	case l.Gateway != "":
		return 2
	case l.Selector != "":
		return 1
	}
	return 0
}

func (l *layer) matches(gateway string, labels map[string]string) bool {
	if l.Gateway != "" {
		return l.Gateway == gateway
	}
	return l.selector.Match(labels)
}

// NewPlan makes a plan of deployments, newest first, and layers.
func NewPlan(revision int64, deployments []store.Deployment, layers []store.ConfigLayer) (*Plan, error) {
	p := &Plan{Revision: revision, byID: map[string]*deployment{}, layers: map[string][]layer{}}
	for _, d := range deployments {
		selector, err := label.Parse(d.Selector)
		if err != nil {
			return nil, fmt.Errorf("deployment %s: %w", d.ID, err)
		}
		s, err := StrategyOf(d)
		if err != nil {
			return nil, err
		}
		p.deployments = append(p.deployments, deployment{d, selector, every(s)})
	}
	for i := range p.deployments {
		p.byID[p.deployments[i].ID] = &p.deployments[i]
	}
	for _, l := range layers {
		selector, err := label.Parse(l.Selector)
		if err != nil {
			return nil, fmt.Errorf("configuration %s: %w", l.ID, err)
		}
		p.layers[l.Function] = append(p.layers[l.Function], layer{l, selector})
	}
	return p, nil
}

// StrategyOf reads how a deployment spreads.
func StrategyOf(d store.Deployment) (s api.Strategy, err error) {
	if err := json.Unmarshal([]byte(d.Strategy), &s); err != nil {
		return s, fmt.Errorf("deployment %s: its strategy: %w", d.ID, err)
	}
	return s, nil
}

// every is how often the gateways of a deployment that is under way are to
// report, in seconds: so often that neither its soaking nor silence are judged by
// old news.
func every(s api.Strategy) int64 {
	return min(max(min(s.Soak, s.Silent)/4, 1), 300)
}

// winner is the deployment that counts for a function on a gateway: the newest
// that chooses it, and has reached it or is done.
func (p *Plan) winners(g Gateway) map[string]*deployment {
	out := map[string]*deployment{}
	for i := range p.deployments {
		d := &p.deployments[i]
		if out[d.Function] == nil && (d.State == store.Done || g.Reached[d.ID]) && d.chooses(g) {
			out[d.Function] = d
		}
	}
	return out
}

func (d *deployment) chooses(g Gateway) bool {
	return IsFor(d.Deployment, d.selector, g.Arch, g.Labels)
}

// target is the one for an architecture; functions have one for all.
func (d *deployment) target(arch string) (store.Target, bool) { return TargetFor(d.Deployment, arch) }

// TargetFor is the target of a deployment for a gateway's architecture; false is
// that there is none: the function is removed, or the binary is for others.
func TargetFor(d store.Deployment, arch string) (store.Target, bool) {
	for _, t := range d.Targets {
		if d.Function != System || t.Arch == arch {
			return t, true
		}
	}
	return store.Target{}, false
}

// config is what is laid over the manifest of a function, and whether anything
// is set for it at all.
func (p *Plan) config(function string, g Gateway) (config map[string]json.RawMessage, some bool) {
	type mark struct {
		place  int
		change string
	}
	best := map[string]mark{}
	for i := range p.layers[function] {
		l := &p.layers[function][i]
		if !l.matches(g.ID, g.Labels) {
			continue
		}
		for key, s := range l.Settings { // none where all was taken back
			some = true
			m, had := best[key]
			if had && (l.place() < m.place || l.place() == m.place && s.Change < m.change) {
				continue
			}
			if config == nil {
				config = map[string]json.RawMessage{}
			}
			best[key], config[key] = mark{l.place(), s.Change}, s.Value
		}
	}
	return config, some
}

// functions are those that a plan says something of, in order.
func (p *Plan) functions(winners map[string]*deployment) []string {
	names := map[string]bool{}
	for name := range winners {
		names[name] = true
	}
	for name := range p.layers {
		names[name] = true
	}
	delete(names, System)
	return slices.Sorted(maps.Keys(names))
}

// plans holds plans by tenant.
type plans struct {
	mu   sync.Mutex
	held map[string]*Plan
}

// of returns the plan of a tenant as it is in this transaction.
func (c *plans) of(ctx context.Context, tx *store.Tx, tenant string) (*Plan, error) {
	f, err := tx.Fleet(ctx, tenant)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	p := c.held[tenant]
	c.mu.Unlock()
	if p != nil && p.Revision == f.Revision {
		return p, nil
	}
	if p, err = load(ctx, tx, f); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.held[tenant]; old == nil || old.Revision < p.Revision {
		if c.held == nil || old == nil && len(c.held) >= plansKept {
			c.held = map[string]*Plan{}
		}
		c.held[tenant] = p
	}
	return p, nil
}

func load(ctx context.Context, tx *store.Tx, f store.Fleet) (*Plan, error) {
	if f.Revision == 0 {
		return NewPlan(0, nil, nil)
	}
	deployments, err := tx.CountingDeployments(ctx, f.Tenant, 2*MaxDeployments)
	if err != nil {
		return nil, err
	}
	layers, err := tx.ConfigLayers(ctx, f.Tenant, "", store.Page{Limit: 2 * MaxLayers})
	if err != nil {
		return nil, err
	}
	return NewPlan(f.Revision, deployments, layers)
}
