package registry

import (
	"cmp"
	"context"
	"slices"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/sandbox"
)

// List returns the deployed functions by name.
func (r *Registry) List(ctx context.Context) ([]api.Function, error) {
	dead, err := r.deps.Store.DeadLettersOf(ctx)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	live := make([]*deployment, 0, len(r.live))
	for _, d := range r.live {
		live = append(live, d)
	}
	r.mu.Unlock()
	slices.SortFunc(live, func(a, b *deployment) int { return cmp.Compare(a.spec.Name, b.spec.Name) })
	out := make([]api.Function, 0, len(live))
	for _, d := range live {
		out = append(out, r.summary(d, dead[d.spec.Name]))
	}
	return out, nil
}

// Describe returns all there is to know about a function.
func (r *Registry) Describe(ctx context.Context, name string) (api.FunctionDetail, error) {
	d, err := r.get(name)
	if err != nil {
		return api.FunctionDetail{}, err
	}
	versions, err := r.deps.Store.Versions(ctx, name)
	if err != nil {
		return api.FunctionDetail{}, err
	}
	dead, err := r.deps.Store.DeadLettersOf(ctx)
	if err != nil {
		return api.FunctionDetail{}, err
	}
	out := api.FunctionDetail{Function: r.summary(d, dead[name]), Spec: d.spec, Configured: d.configured(), Author: d.version.Author, Digest: d.version.Digest}
	next := r.deps.Timers.Next(name)
	for i := range d.spec.Triggers {
		t := &d.spec.Triggers[i]
		if timer, _, ok := t.Timer(name); ok {
			out.Timers = append(out.Timers, api.NextFiring{Trigger: t.String(), Next: next[timer]})
		}
	}
	r.mu.Lock()
	aliases := r.aliases[name]
	r.mu.Unlock()
	names := map[int][]string{}
	for i := range aliases {
		a := &aliases[i]
		out.Aliases = append(out.Aliases, shownAlias(a))
		names[a.Version] = append(names[a.Version], a.Name)
	}
	for _, v := range versions {
		out.Versions = append(out.Versions, api.Version{
			Version: v.Number, Digest: v.Digest, Author: v.Author, Created: v.Created, Live: v.Number == d.version.Number, Aliases: names[v.Number],
		})
	}
	return out, nil
}

func (r *Registry) summary(d *deployment, deadLetters int64) api.Function {
	broken := ""
	if d.broken != nil {
		broken = d.broken.Error()
	}
	return api.Function{
		Broken: broken, Name: d.spec.Name, Description: d.spec.Description, Language: d.spec.Language(), Version: d.version.Number,
		Deployed: d.deployed, Triggers: triggerNames(&d.spec), Counters: r.counters(d, deadLetters),
	}
}

// counters gathers what dispatch, store and sandbox count.
func (r *Registry) counters(d *deployment, deadLetters int64) api.Counters {
	s := r.deps.Dispatcher.FunctionStats(d.spec.Name)
	var p sandbox.PoolStats
	if d.pool != nil {
		p = d.pool.Stats()
	}
	c := api.Counters{
		Invocations: s.Invocations, Errors: map[string]uint64{}, ColdStarts: s.ColdStarts, Instances: p.Running + p.Idle, MemoryBytes: p.MemoryBytes,
		Queued: r.deps.Store.QueuedOf(d.spec.Name), DeadLetters: deadLetters, Dropped: s.VolatileDropped,
		Conflicts: s.Conflicts, Pauses: s.Pauses, Retries: s.Retries, Waiting: s.Waiting, Expired: s.Expired,
		Breaker: api.Breaker{
			State: string(s.Breaker.State), Failures: s.Breaker.Failures, Since: s.Breaker.Since, NextTrial: s.Breaker.NextTrial, Reason: s.Breaker.Reason,
		},
	}
	for o, n := range s.Outcomes {
		if o := function.Outcome(o); o != function.OK && n > 0 {
			c.Errors[o.String()] = n
		}
	}
	return c
}

// Live is the version of a function that triggers start; false where there is
// none that runs.
func (r *Registry) Live(name string) (recording.Subject, bool) {
	d, err := r.get(name)
	if err != nil || d.broken != nil {
		return recording.Subject{}, false
	}
	return recording.Subject{Spec: d.spec, Version: d.version.Number, Digest: d.version.Digest}, true
}

// Subject is a version of a function that runs, as a recording names it; false
// when it does not run any more.
func (r *Registry) Subject(name string, version int) (recording.Subject, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.live[name]
	if d == nil || d.version.Number != version {
		if d = r.others[name][version]; d == nil {
			return recording.Subject{}, false
		}
	}
	return recording.Subject{Spec: d.spec, Version: version, Digest: d.version.Digest}, true
}
