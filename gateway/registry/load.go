package registry

import (
	"context"
	"errors"
	"runtime"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/headgate-io/headgate/gateway/store"
)

// Load makes the live versions run that the store knows. One that does not run
// any more is reported, and its events wait for one that does; the others run.
//
// The triggers of all count before the first one runs: what waited for it on
// disk finds those that it starts.
func (r *Registry) Load(ctx context.Context) error {
	r.change.Lock()
	defer r.change.Unlock()
	defer giveBack()
	aliases, err := r.deps.Store.Aliases(ctx)
	if err != nil {
		return err
	}
	of := byFunction(aliases)
	live := slices.DeleteFunc(slices.Clone(aliases), func(a store.Alias) bool { return a.Name != aliasLive })
	loaded := r.loadAll(ctx, live)
	if ctx.Err() != nil {
		r.discard(loaded)
		return ctx.Err()
	}
	var all []*deployment
	for i, d := range loaded {
		if d.broken == nil {
			d.broken = r.deps.Triggers.Set(triggerFunction(&d.spec, d.version.Number))
		}
		if d.broken != nil {
			r.discard(loaded[i : i+1])
			r.leaveBroken(ctx, live[i], d.broken)
			continue
		}
		all = append(all, d)
	}
	for i, d := range all {
		if err := r.direct(ctx, d, of[d.spec.Name]); err != nil {
			r.deps.Dispatcher.RemoveFunction(d.spec.Name)
			r.leaveBroken(ctx, store.Alias{Function: d.spec.Name, Name: aliasLive, Version: d.version.Number, Updated: d.deployed}, err)
		} else if err := r.activated(ctx, d); err != nil {
			r.deps.Logger.Error("function runs without its timers", "function", d.spec.Name, "error", err)
		}
		if ctx.Err() != nil {
			r.discard(all[i+1:])
			return ctx.Err()
		}
	}
	return r.deps.Timers.Prune(ctx, func(name string) bool {
		_, err := r.get(name)
		return err == nil
	})
}

// discard releases what was compiled and will not run.
func (r *Registry) discard(all []*deployment) {
	for _, d := range all {
		if d.pool != nil {
			r.retire(d)
		}
	}
}

// loadAll makes the versions ready to run, as many at once as there are
// processors: a gateway may have a thousand. Of one that does not run there is
// the reason.
func (r *Registry) loadAll(ctx context.Context, live []store.Alias) []*deployment {
	loaded := make([]*deployment, len(live))
	var group errgroup.Group
	group.SetLimit(runtime.GOMAXPROCS(0))
	for i, a := range live {
		group.Go(func() error {
			d, err := r.load(ctx, a)
			if err != nil {
				d = &deployment{broken: err}
			}
			loaded[i] = d
			return nil
		})
	}
	_ = group.Wait() // what went wrong is with each
	return loaded
}

func (r *Registry) load(ctx context.Context, a store.Alias) (*deployment, error) {
	v, b, err := r.stored(ctx, a.Function, a.Version)
	if err != nil {
		return nil, err
	}
	d, err := r.compile(ctx, b, v)
	if errors.Is(err, errMisfit) {
		// It fitted when it was laid: better the function's own than none.
		r.deps.Logger.Error("function runs with its own configuration", "function", a.Function, "error", err)
		d, err = r.compileSpec(ctx, b.Spec, b.Files, v)
	}
	if err != nil {
		return nil, err
	}
	d.deployed = a.Updated
	return d, nil
}

// leaveBroken keeps a function that does not run: what its triggers match is
// queued for the version that will.
func (r *Registry) leaveBroken(ctx context.Context, a store.Alias, cause error) {
	r.deps.Logger.Error("function does not run, its events wait: deploy it anew or roll it back", "function", a.Function, "version", a.Version, "error", cause)
	d := &deployment{version: store.Version{Function: a.Function, Number: a.Version}, deployed: a.Updated, broken: cause}
	d.spec.Name = a.Function
	if v, b, err := r.stored(ctx, a.Function, a.Version); err == nil {
		d.version, d.spec = v, b.Spec
		if spec, err := lay(b.Spec, r.overlayOf(a.Function)); err == nil {
			d.spec = spec
		}
		d.spec.Limits, d.spec.Retry = d.spec.Limits.WithDefaults(), d.spec.Retry.WithDefaults()
		if err := r.deps.Triggers.Set(triggerFunction(&d.spec, v.Number)); err != nil {
			r.deps.Logger.Error("its triggers do not count", "function", a.Function, "error", err)
		} else if r.deps.Routes != nil {
			r.deps.Routes.Set(&d.spec) // its callers are told to come again
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.live[a.Function] = d
}
