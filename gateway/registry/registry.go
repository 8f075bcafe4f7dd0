// Package registry knows which functions a gateway has: it takes signed
// bundles, keeps their versions, compiles them and makes one version of each
// live.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sync/bundle"
)

// aliasLive is the alias that triggers start.
const aliasLive = "live"

// Deps is what a registry stands on.
type Deps struct {
	Store      *store.Store
	Engine     *sandbox.Engine
	Dispatcher *dispatch.Dispatcher
	Triggers   *trigger.Table
	Timers     Timers
	Logger     *slog.Logger
	// Secrets are what functions may ask for that declare it; nil has none.
	Secrets func(function string) host.Secrets
	// Fetcher sends the functions' HTTP requests; nil sends none.
	Fetcher host.Fetcher
	// Sensors answers what functions ask of sensors; nil has none.
	Sensors host.Sensors
	// Routes hears which HTTP routes functions have, and refuses those that
	// cannot be told from others'; nil has none.
	Routes Routes
	// Equipment lists the names of the gateway's sensors and actuators; nil has
	// whatever a function names.
	Equipment func() (sensors, actuators []string)
	// Buckets reports which buckets there are; nil has all.
	Buckets func(name string) bool
	// Direct reports why a bundle that an author hands over is not taken, where
	// the owner of a fleet decides; nil takes those of the pinned author.
	Direct func() error
	// Log receives what a function logs while its clean state is made.
	Log func(function string, version int, line function.LogLine)
	// Activated is called after a version went live, Removed after a function
	// is gone; either may be nil.
	Activated func(*function.Spec)
	Removed   func(name string)
}

// Timers keeps the timers of functions; *timer.Service is one.
type Timers interface {
	// Set makes the timers of a function these.
	Set(ctx context.Context, function string, timers []store.Timer) error
	// Prune drops those of functions that are not there.
	Prune(ctx context.Context, there func(function string) bool) error
	// Next is when each of a function's timers fires next.
	Next(function string) map[string]time.Time
}

var _ Timers = (*timer.Service)(nil)

// Routes keeps the functions' HTTP routes.
type Routes interface {
	// Check reports what a function's routes are in conflict with.
	Check(spec *function.Spec) error
	Set(spec *function.Spec)
	Remove(name string)
}

// Registry deploys, rolls back and removes functions. It may be used from any
// goroutine; changes happen one at a time.
type Registry struct {
	deps Deps

	change sync.Mutex // held through a whole change, before mu

	mu   sync.Mutex // guards what follows
	live map[string]*deployment
	// others are the versions beside the live one that an alias points to.
	others  map[string]map[int]*deployment
	aliases map[string][]store.Alias
	// overlays are JSON objects that are laid over the functions' own config.
	overlays map[string][]byte
}

// deployment is a live version.
type deployment struct {
	spec     function.Spec
	version  store.Version
	deployed time.Time
	pool     *sandbox.Pool
	module   *sandbox.Module
	// broken is why it does not run, since the start: it has no pool and no
	// module then, and its events wait.
	broken error
	// timers are those that its triggers ask for.
	timers []store.Timer
	// overlay is the configuration that is laid over the manifest's.
	overlay []byte
	// function is what the dispatcher runs. ran is true once it has it: then it
	// says when the version has ended.
	function dispatch.Function
	ran      bool
}

// New makes an empty registry; Load fills it.
func New(deps Deps) *Registry {
	return &Registry{deps: deps, live: map[string]*deployment{}, others: map[string]map[int]*deployment{}, aliases: map[string][]store.Alias{}, overlays: map[string][]byte{}}
}

// Broken are the functions that do not run, with why.
func (r *Registry) Broken() map[string]error {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]error{}
	for name, d := range r.live {
		if d.broken != nil {
			out[name] = d.broken
		}
	}
	return out
}

// giveBack returns the memory that compiling took. Left to itself the runtime
// would keep tens of megabytes for minutes, on a board that has few.
func giveBack() { debug.FreeOSMemory() }

// stored returns a version and its bundle, verified again.
func (r *Registry) stored(ctx context.Context, name string, number int) (store.Version, *bundle.Bundle, error) {
	versions, err := r.deps.Store.Versions(ctx, name)
	if err != nil {
		return store.Version{}, nil, err
	}
	for _, v := range versions {
		if v.Number != number {
			continue
		}
		raw, err := r.deps.Store.Bundle(ctx, name, number)
		if err != nil {
			return v, nil, err
		}
		b, err := bundle.Open(raw)
		if err != nil {
			return v, nil, fmt.Errorf("stored bundle of %s@%d: %w", name, number, err)
		}
		return v, b, nil
	}
	return store.Version{}, nil, fmt.Errorf("%s@%d: %w; 'headgate describe %s' shows its versions", name, number, store.ErrNotFound, name)
}

// compile makes a bundle ready to run, with the configuration that is laid over
// its own, without making it live.
func (r *Registry) compile(ctx context.Context, b *bundle.Bundle, v store.Version) (*deployment, error) {
	overlay := r.overlayOf(b.Spec.Name)
	spec, err := lay(b.Spec, overlay)
	if err != nil {
		return nil, admin.Refusal(err)
	}
	d, err := r.compileSpec(ctx, spec, b.Files, v)
	if err == nil {
		d.overlay = overlay
	}
	return d, err
}

func (r *Registry) compileSpec(ctx context.Context, spec function.Spec, files map[string][]byte, v store.Version) (*deployment, error) {
	p, err := prepare(spec)
	if err == nil && r.deps.Routes != nil {
		err = r.deps.Routes.Check(&p.spec)
	}
	if err != nil {
		return nil, admin.Refusal(err)
	}
	name, g := p.spec.Name, p.grant
	if r.deps.Secrets != nil {
		g = g.WithSecrets(p.spec.Secrets, r.deps.Secrets(name))
	}
	if r.deps.Fetcher != nil {
		g = g.WithFetcher(r.deps.Fetcher)
	}
	if r.deps.Sensors != nil {
		g = g.WithSensors(r.deps.Sensors)
	}
	module, err := p.compile(ctx, r.deps.Engine, files, func(l function.LogLine) { r.deps.Log(name, v.Number, l) })
	if err != nil {
		return nil, admin.Refusal(err)
	}
	d := &deployment{spec: p.spec, version: v, deployed: v.Created, timers: p.timers, module: module, pool: r.deps.Engine.NewPool(module, sandbox.PoolConfig{})}
	d.function = dispatch.Function{
		Name: name, Version: v.Number, Pool: d.pool, Grant: g,
		Limits: p.spec.Limits, Retry: p.spec.Retry, OnFailure: p.spec.OnFailure, Retire: func() { r.retire(d) },
	}
	return d, nil
}

func triggerFunction(s *function.Spec, version int) trigger.Function {
	return trigger.Function{Name: s.Name, Version: version, Config: s.Config, Triggers: s.Triggers}
}

// activate makes d live: first it can run, then its triggers count. What runs
// on the version before ends there.
func (r *Registry) activate(ctx context.Context, d *deployment, aliases []store.Alias) error {
	d.function.Version = d.version.Number
	if err := r.direct(ctx, d, aliases); err != nil {
		return err
	}
	if err := r.deps.Triggers.Set(triggerFunction(&d.spec, d.version.Number)); err != nil {
		return err
	}
	return r.activated(ctx, d)
}

// activated follows a version that runs and whose triggers count.
func (r *Registry) activated(ctx context.Context, d *deployment) error {
	if r.deps.Routes != nil {
		r.deps.Routes.Set(&d.spec)
	}
	if r.deps.Activated != nil {
		r.deps.Activated(&d.spec)
	}
	return r.setTimers(ctx, d)
}

// setTimers makes the timers of a live version those that its triggers ask
// for. A deploy of the same again tries it again.
func (r *Registry) setTimers(ctx context.Context, d *deployment) error {
	if err := r.deps.Timers.Set(ctx, d.spec.Name, d.timers); err != nil {
		return fmt.Errorf("%s@%d is live, but not its timers: %w: deploy it again", d.spec.Name, d.version.Number, err)
	}
	return nil
}

// retire releases a version whose last invocation has ended.
func (r *Registry) retire(d *deployment) {
	ctx := context.Background()
	if err := errors.Join(d.pool.Close(ctx), d.module.Close(ctx)); err != nil {
		r.deps.Logger.Error("release version", "function", d.spec.Name, "version", d.version.Number, "error", err)
	}
}

// Close releases every function. The dispatcher must be closed before.
func (r *Registry) Close(ctx context.Context) error {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for name, d := range r.live {
		if d.broken == nil {
			errs = append(errs, d.pool.Close(ctx), d.module.Close(ctx))
		}
		for _, other := range r.others[name] {
			errs = append(errs, other.pool.Close(ctx), other.module.Close(ctx))
		}
		delete(r.live, name)
		delete(r.others, name)
	}
	return errors.Join(errs...)
}

// get returns the live deployment of a function.
func (r *Registry) get(name string) (*deployment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.live[name]
	if d == nil {
		return nil, fmt.Errorf("function %s: %w; 'headgate list' shows what is deployed", name, store.ErrNotFound)
	}
	return d, nil
}

// deployed answers a change.
func (r *Registry) deployed(d *deployment, changed bool) api.Deployed {
	return api.Deployed{
		Name: d.spec.Name, Version: d.version.Number, Digest: d.version.Digest, Author: d.version.Author,
		Changed: changed, Triggers: triggerNames(&d.spec), MissingSecrets: r.missingSecrets(&d.spec), Absent: r.absent(&d.spec),
	}
}

// missingSecrets are those that the function declares and cannot get.
func (r *Registry) missingSecrets(s *function.Spec) (missing []string) {
	if r.deps.Secrets == nil {
		return nil
	}
	from := r.deps.Secrets(s.Name)
	for _, name := range s.Secrets {
		value, found, err := from.Secret(name)
		clear(value)
		if err != nil || !found {
			missing = append(missing, name)
		}
	}
	return missing
}

func triggerNames(s *function.Spec) []string {
	names := []string{}
	for i := range s.Triggers {
		names = append(names, s.Triggers[i].String())
	}
	return names
}
