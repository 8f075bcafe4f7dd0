package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sync/ota"
)

// metaKey is where the rollouts are kept, one fact for each function.
const metaKey = "update/"

// metaNames is where the names of the functions are kept that have one.
const metaNames = "updates"

// maxSteps bounds what is kept of one rollout, maxRollouts how many are: those
// of a function each.
const (
	maxSteps    = 24
	maxRollouts = 1024
)

// Step is something that happened in a rollout.
type Step struct {
	Time  time.Time `json:"time"`
	Stage Stage     `json:"stage"`
	Note  string    `json:"note,omitempty"`
}

// Rollout is the newest update of a function.
type Rollout struct {
	Target ota.Target `json:"target"`
	// Attempt tells it from an earlier one of the same target.
	Attempt string    `json:"attempt,omitempty"`
	Stage   Stage     `json:"stage"`
	Began   time.Time `json:"began"`
	// Version is its number on this gateway, From the one before it.
	Version int `json:"version,omitempty"`
	From    int `json:"from,omitempty"`
	// Since is when it got the traffic that it has, Deadline when that ends,
	// both on the steady scale.
	Since    time.Time `json:"since,omitzero"`
	Deadline time.Time `json:"deadline,omitzero"`
	// NewPermissions are those that the version before had not; Allowed says
	// that somebody said yes to them.
	NewPermissions []string `json:"new_permissions,omitempty"`
	Allowed        bool     `json:"allowed,omitempty"`
	// Back says that a rollback was carried out.
	Back bool `json:"back,omitempty"`
	// Before is what the version before did until then. Side is what it did
	// beside the new one, New what that did at this stage, both as they were
	// written down last; at its end Old and New are what it was judged by.
	Before Count `json:"before"`
	Side   Count `json:"side,omitzero"`
	Old    Count `json:"old,omitzero"`
	New    Count `json:"new,omitzero"`
	// Proven are the digests of versions of this function that had all of the
	// traffic here and ended well.
	Proven []string `json:"proven,omitempty"`
	Steps  []Step   `json:"steps"`

	kept time.Time // when the counts were written down last, steady
	base Count     // of the function, when it went live in this run
}

// maxProven bounds how many versions are remembered to go back to.
const maxProven = 8

// epitaph is what the next rollout tells of one that ended badly: whoever looks
// wants to know why it is as it is.
func (r *Rollout) epitaph() []Step {
	n := len(r.Steps)
	if n == 0 || r.Stage != RolledBack && r.Stage != Refused {
		return nil
	}
	last := r.Steps[n-1]
	last.Note = r.Target.Name + ": " + last.Note
	return []Step{last}
}

// prove remembers a version that ended well.
func (r *Rollout) prove(digest string) {
	r.Proven = slices.DeleteFunc(slices.Clone(r.Proven), func(d string) bool { return d == digest })
	r.Proven = append(r.Proven, digest)
	if n := len(r.Proven); n > maxProven {
		r.Proven = r.Proven[n-maxProven:]
	}
}

// disprove forgets one that did not.
func (r *Rollout) disprove(digest string) {
	r.Proven = slices.DeleteFunc(slices.Clone(r.Proven), func(d string) bool { return d == digest })
}

// state is all that is known.
type state struct {
	Checked  time.Time
	Error    string
	Root     int64
	Expires  time.Time
	Rollouts map[string]*Rollout
	Missing  []Missing
}

// load reads what an earlier run left.
func (p *Pipeline) load(ctx context.Context) error {
	p.state.Rollouts = map[string]*Rollout{}
	raw, err := p.cfg.Memory.Meta(ctx, metaNames)
	if errors.Is(err, p.cfg.Missing) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, name := range strings.Fields(string(raw)) {
		raw, err := p.cfg.Memory.Meta(ctx, metaKey+name)
		if err != nil && !errors.Is(err, p.cfg.Missing) {
			return err
		}
		r := new(Rollout)
		if err == nil && json.Unmarshal(raw, r) == nil && r.Target.Function == name {
			p.state.Rollouts[name] = r
		}
	}
	return nil
}

// save keeps a rollout, and then its name.
func (p *Pipeline) save(ctx context.Context, r *Rollout) error {
	name := r.Target.Function
	raw, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := p.cfg.Memory.SetMeta(ctx, metaKey+name, raw); err != nil {
		return err
	}
	p.mu.Lock()
	_, known := p.state.Rollouts[name]
	if !known && len(p.state.Rollouts) >= maxRollouts {
		p.mu.Unlock()
		return fmt.Errorf("%d functions are updated already, the most that are", maxRollouts)
	}
	kept := *r
	kept.Steps = slices.Clone(r.Steps)
	p.state.Rollouts[name] = &kept
	names := strings.Join(slices.Sorted(maps.Keys(p.state.Rollouts)), " ")
	p.mu.Unlock()
	if known {
		return nil
	}
	return p.cfg.Memory.SetMeta(ctx, metaNames, []byte(names))
}

// forget drops what is known of a function's updates.
func (p *Pipeline) forget(ctx context.Context, name string) error {
	p.mu.Lock()
	if p.state.Rollouts[name] == nil {
		p.mu.Unlock()
		return nil
	}
	delete(p.state.Rollouts, name)
	names := strings.Join(slices.Sorted(maps.Keys(p.state.Rollouts)), " ")
	p.mu.Unlock()
	p.watchAll()
	if err := p.cfg.Memory.SetMeta(ctx, metaNames, []byte(names)); err != nil {
		return err
	}
	return p.cfg.Memory.SetMeta(ctx, metaKey+name, []byte{})
}

// rollout is a copy of a function's rollout; nil where it has none.
func (p *Pipeline) rollout(name string) *Rollout {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.state.Rollouts[name]
	if r == nil {
		return nil
	}
	own := *r
	own.Steps = slices.Clone(r.Steps)
	return &own
}

// all are copies of the rollouts, by name.
func (p *Pipeline) all() (all []*Rollout) {
	p.mu.Lock()
	names := slices.Sorted(maps.Keys(p.state.Rollouts))
	p.mu.Unlock()
	for _, name := range names {
		all = append(all, p.rollout(name))
	}
	return all
}

// rolling reports whether a function is between two versions.
func (p *Pipeline) rolling() bool {
	return slices.ContainsFunc(p.all(), func(r *Rollout) bool { return r.Stage == InCanary || r.Stage == Watched })
}

// Status is how things are, for eyes.
type Status struct {
	Checked time.Time
	Error   string
	Root    int64
	Expires time.Time
	All     []Progress
	// Missing are wanted, and not signed as far as the gateway knows.
	Missing []Missing
}

// Progress is a rollout and its counts.
type Progress struct {
	*Rollout
	// Old and New are those of the moment; at its end those that it was judged
	// by, and after that New goes on with what the live version does.
	Old, New Count
	// For is how long it has its part of the traffic, while it is judged.
	For time.Duration
}

// Status returns how things are.
func (p *Pipeline) Status() Status {
	p.mu.Lock()
	s := Status{Checked: p.state.Checked, Error: p.state.Error, Root: p.state.Root, Expires: p.state.Expires, Missing: p.state.Missing}
	p.mu.Unlock()
	for _, r := range p.all() {
		x := Progress{Rollout: r}
		if x.Old, x.New = r.Old, r.New; r.Stage == InCanary || r.Stage == Watched {
			x.Old, x.New = p.counts(r)
			x.For = p.elapsed(r.Since)
		}
		if r.Stage == LiveNow {
			x.New = p.since(r)
		}
		s.All = append(s.All, x)
	}
	return s
}
