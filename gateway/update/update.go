// Package update brings to a gateway what its owner signed, one function at a
// time: it is fetched, verified, compiled, its new permissions are shown, it is
// tried on recorded events with its effects muted, gets a part of the traffic,
// then all of it, and is watched. A version that does worse than the one before
// takes itself back. Each step is written down before the next, so that a
// restart goes on where it was.
//
// What runs goes on all the while, on the version that it began with, and
// actuators keep their leases: an update changes which version takes what comes
// next, and nothing else.
package update

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/bundle"
	"github.com/headgate-io/headgate/sync/ota"
)

// Client knows what is signed, and fetches it; *ota.Client is one.
type Client interface {
	Refresh(ctx context.Context) (*ota.Targets, error)
	// Trusted is what it knew before, if that still counts.
	Trusted(ctx context.Context) (*ota.Targets, error)
	Fetch(ctx context.Context, t ota.Target) (file string, err error)
	Drop(t ota.Target) error
}

var _ Client = (*ota.Client)(nil)

// Live is a function as it runs.
type Live struct {
	Version int
	Digest  string
	Spec    function.Spec
	// Before are its counts since the gateway started.
	Before Count
}

// ErrLater is wrapped by an error of Functions that says nothing of the version: a
// disk without room. It is tried again.
var ErrLater = errors.New("it is tried again")

// Functions are those of the gateway.
type Functions interface {
	// Live is the version that runs; false is a function that is not there.
	Live(name string) (Live, bool)
	// Aliased is the digest of the version that an alias points to.
	Aliased(ctx context.Context, name, alias string) (digest string, err error)
	// Check compiles a bundle, and keeps nothing of it.
	Check(ctx context.Context, raw []byte) error
	// Install stores a bundle as the next version and points alias to it,
	// with percent of live's traffic; an empty alias makes it live.
	Install(ctx context.Context, raw []byte, alias string, percent float64) (version int, err error)
	// Stored is the number of the version with a digest; 0 is none.
	Stored(ctx context.Context, name, digest string) (version int, err error)
	// Remove takes a function away, if it is there.
	Remove(ctx context.Context, name string) error
	// Go makes a version live, whole; Drop takes an alias away, if it is there.
	Go(ctx context.Context, name string, version int) error
	Drop(ctx context.Context, name, alias string) error
}

// Trial runs recorded events on new code, with its effects muted.
type Trial interface {
	Try(ctx context.Context, b *bundle.Bundle) (Tried, error)
}

// Tried is what came of a trial.
type Tried struct {
	// Events are those that were run, Unknown those of them that asked what
	// the recording does not say, Different those whose effects differ.
	Events, Unknown, Different int
	// Worse says what ended well and does not any more.
	Worse []string
}

// System is the gateway's own binary.
type System interface {
	// Wants reports whether a signed binary is to be taken: it is not the one
	// that runs, nor one that was taken back, unless by another attempt.
	Wants(t ota.Target, attempt string) (bool, error)
	// Take stages a binary; another start confirms it or takes it back.
	Take(ctx context.Context, file string, t ota.Target, attempt string) error
}

// Memory keeps facts across restarts; *store.Store is one.
type Memory interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Clock has the gateway's two scales of time; *clock.Clock is one.
type Clock interface {
	Now() time.Time
	Steady() time.Time
}

// Config configures a Pipeline.
type Config struct {
	Client    Client
	Functions Functions
	Trial     Trial
	System    System // nil where the binary is somebody else's affair
	Memory    Memory
	Missing   error // what Memory says of a fact that it has not
	Clock     Clock
	Logger    *slog.Logger
	// Desired is what shall run of what is signed; nil is what the owner named
	// for every gateway of the repository.
	Desired func(ctx context.Context, t *ota.Targets) (Desired, error)
	// Stepped is called after every step of an update; it may be nil.
	Stepped func()
	// Arch is the gateway's, in Go's word.
	Arch string
	// Interval is how often the repository is asked.
	Interval time.Duration
	// AskPermissions has a version with new permissions wait for Allow.
	AskPermissions bool
	Canary         Canary
	// LookEvery is how often a rollout is judged; 0 is 5 s.
	LookEvery time.Duration
}

// Canary says how a new version is tried on traffic.
type Canary struct {
	// Percent is its part of the traffic; 0 makes it live at once.
	Percent float64
	// For is how long it has that part, and how long it is watched when it has
	// all; Sample how many events it must have had by then.
	For    time.Duration
	Sample int
	// Within is when it goes live though it had fewer.
	Within time.Duration
	// Slower is how many times as long it may take as the one before; 0 does
	// not look.
	Slower float64
}

// Desired is what shall run.
type Desired struct {
	Functions []Want
	// System is the binary, if one is named; SystemAttempt tells one try of it from
	// the next.
	System        *ota.Target
	SystemAttempt string
	// Removed are functions that shall not be there any more.
	Removed []string
	// Missing are wanted, and are not among what is signed.
	Missing []Missing
}

// Want is a version that an alias of a function shall point to. Attempt tells
// one try of the same target from the next.
type Want struct {
	Alias   string
	Target  ota.Target
	Attempt string
}

// Missing is a target that is wanted and not known to be signed; without a
// function it is the gateway's binary.
type Missing struct{ Function, Target, Attempt, Why string }

// Signed is what the owner named for every gateway of a repository.
func Signed(t *ota.Targets, arch string) Desired {
	var d Desired
	for _, alias := range t.Aliases() {
		for _, name := range t.Functions(alias) {
			if target, ok := t.Want(name, alias); ok {
				d.Functions = append(d.Functions, Want{Alias: alias, Target: target})
			}
		}
	}
	if target, ok := t.WantSystem(arch); ok {
		d.System = &target
	}
	return d
}

// Pipeline carries updates out. Run is its one worker; everything else may be
// called from any goroutine.
type Pipeline struct {
	cfg Config
	// kick has the repository asked, changed has what is wanted looked at anew.
	kick, changed chan struct{}
	// attempts counts the looks in a row after which something was still to be
	// fetched: the worker's alone.
	attempts int

	// watched are the functions whose attempts are counted now, nil none: the
	// one thing that every attempt looks at.
	watched atomic.Pointer[map[string]*watch]

	// deciding is held while a rollout that waits for events or for a person is
	// taken on, before mu: the worker and people do both. The rest of a rollout
	// is the worker's alone.
	deciding sync.Mutex

	mu    sync.Mutex // guards what follows
	state state
	stats Stats
	// setAside ends what the worker fetches, when something else is wanted.
	setAside context.CancelFunc
}

// Stats counts what a Pipeline has done.
type Stats struct {
	Checks, Failed, Begun, Refused, Waiting, WentLive, RolledBack, Systems, Removed, Returned uint64
}

// New reads what is known of earlier runs.
func New(ctx context.Context, cfg Config) (*Pipeline, error) {
	if cfg.LookEvery == 0 {
		cfg.LookEvery = 5 * time.Second
	}
	p := &Pipeline{cfg: cfg, kick: make(chan struct{}, 1), changed: make(chan struct{}, 1)}
	return p, p.load(ctx)
}

// Run works until ctx ends.
func (p *Pipeline) Run(ctx context.Context) {
	p.goOn(ctx)
	check := time.NewTimer(time.Second)
	defer check.Stop()
	look := time.NewTicker(p.cfg.LookEvery)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			p.keepAll(context.WithoutCancel(ctx))
			return
		case <-p.kick:
			p.check(ctx, true)
			check.Reset(p.next())
		case <-p.changed:
			p.check(ctx, false)
			check.Reset(p.next())
		case <-check.C:
			p.check(ctx, true)
			check.Reset(p.next())
		case <-look.C:
			p.look(ctx)
		}
	}
}

// Check has the repository asked now.
func (p *Pipeline) Check() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Changed has what is wanted looked at anew, now: what is being fetched is set
// aside for it.
func (p *Pipeline) Changed() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.setAside != nil {
		p.setAside()
	}
}

// againAfter is how soon something that could not be fetched is asked for again,
// at first.
const againAfter = time.Minute

// next is when the repository is asked next: sooner where something is missing.
func (p *Pipeline) next() time.Duration {
	p.mu.Lock()
	waits := len(p.state.Missing) > 0
	for _, r := range p.state.Rollouts {
		waits = waits || r.Stage == Fetching || r.Stage == Trying
	}
	p.mu.Unlock()
	if !waits {
		p.attempts = 0
		return p.cfg.Interval
	}
	p.attempts++
	return min(p.cfg.Interval, againAfter<<min(p.attempts-1, 16))
}

// round is for one look at what is wanted; end lets go of it.
func (p *Pipeline) round(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.setAside = cancel
	return ctx, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.setAside = nil
		cancel()
	}
}

// Stats returns the counters.
func (p *Pipeline) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

// refreshWithin and fetchWithin bound one look at the repository and one target:
// a server that sends a byte a minute holds nothing up for ever.
const (
	refreshWithin = 10 * time.Minute
	fetchWithin   = 6 * time.Hour
	tryWithin     = 2 * time.Minute
)

// check looks at what is wanted, and begins what is new. ask has the repository
// asked whether or not what is known would do.
func (p *Pipeline) check(ctx context.Context, ask bool) {
	p.look(ctx)
	round, end := p.round(ctx)
	defer end()
	d, t, err := p.desired(round, ask)
	if round.Err() != nil {
		return
	}
	p.checked(&d, t, err)
	if t == nil {
		return
	}
	for _, name := range d.Removed {
		p.remove(ctx, name)
	}
	for _, quick := range [...]bool{true, false} {
		for i := range d.Functions {
			if w := &d.Functions[i]; round.Err() == nil && p.quick(w) == quick {
				p.toward(ctx, round, w)
			}
		}
	}
	if d.System != nil && p.cfg.System != nil && round.Err() == nil {
		if err := p.system(round, *d.System, d.SystemAttempt); err != nil && round.Err() == nil {
			p.failed(err)
		}
	}
}

// checked notes what came of a look.
func (p *Pipeline) checked(d *Desired, t *ota.Targets, err error) {
	p.mu.Lock()
	p.stats.Checks++
	p.state.Checked, p.state.Error, p.state.Missing = p.cfg.Clock.Now(), "", d.Missing
	if err != nil {
		p.stats.Failed++
		p.state.Error = err.Error()
	}
	if t != nil {
		p.state.Root, p.state.Expires = t.Root, t.Expires
	}
	p.mu.Unlock()
	if err != nil {
		p.cfg.Logger.Warn("nothing new is taken: what runs goes on", "error", err)
	}
	if p.cfg.Stepped != nil {
		p.cfg.Stepped()
	}
}

// quick reports whether nothing has to be fetched for a want.
func (p *Pipeline) quick(w *Want) bool {
	if live, there := p.cfg.Functions.Live(w.Target.Function); there && live.Digest == w.Target.Digest {
		return true
	}
	r := p.rollout(w.Target.Function)
	return r != nil && slices.Contains(r.Proven, w.Target.Digest)
}

// toward takes an alias of a function towards its target.
func (p *Pipeline) toward(ctx, round context.Context, w *Want) {
	if w.Alias == ota.Live {
		p.begin(ctx, round, w)
	} else if err := p.point(round, w); err != nil && round.Err() == nil {
		p.failed(err)
	}
}

// remove takes a function away, and what is known of its updates.
func (p *Pipeline) remove(ctx context.Context, name string) {
	p.deciding.Lock()
	defer p.deciding.Unlock()
	if err := errors.Join(p.forget(ctx, name), p.cfg.Functions.Remove(ctx, name)); err != nil {
		p.failed(fmt.Errorf("remove %s: %w", name, err))
		return
	}
	p.count(func(s *Stats) { s.Removed++ })
	p.cfg.Logger.Info("a function is not wanted any more and was removed", "function", name)
}

func (p *Pipeline) failed(err error) {
	p.mu.Lock()
	p.stats.Failed++
	p.state.Error = err.Error()
	p.mu.Unlock()
	p.cfg.Logger.Warn("update", "error", err)
}

// desired is what is wanted of what is signed. Where nobody asks for more, and
// where the repository cannot be reached, that is what was found signed before.
// Targets come with an error where something else than they do.
func (p *Pipeline) desired(ctx context.Context, ask bool) (d Desired, t *ota.Targets, err error) {
	ctx, cancel := context.WithTimeout(ctx, refreshWithin)
	defer cancel()
	if p.cfg.Desired != nil && !ask {
		if d, t, err = p.known(ctx); err == nil && len(d.Missing) == 0 {
			return d, t, nil
		}
	}
	err = p.meanwhile(ctx, func() (err error) { t, err = p.cfg.Client.Refresh(ctx); return err })
	switch {
	case err != nil && p.cfg.Desired != nil && errors.Is(err, ota.ErrUnreachable) && ctx.Err() == nil:
		known, before, lost := p.known(ctx)
		if lost != nil {
			return d, nil, err
		}
		return known, before, err
	case err != nil:
		return d, nil, err
	case p.cfg.Desired != nil:
		if d, err = p.cfg.Desired(ctx, t); err != nil {
			return d, nil, err
		}
		return d, t, nil
	}
	return Signed(t, p.cfg.Arch), t, nil
}

// known is what is wanted of what was found signed before.
func (p *Pipeline) known(ctx context.Context) (d Desired, t *ota.Targets, err error) {
	if t, err = p.cfg.Client.Trusted(ctx); err == nil {
		d, err = p.cfg.Desired(ctx, t)
	}
	return d, t, err
}

// point gives an alias without traffic its version.
func (p *Pipeline) point(ctx context.Context, w *Want) error {
	t := &w.Target
	digest, err := p.cfg.Functions.Aliased(ctx, t.Function, w.Alias)
	if err != nil || digest == t.Digest {
		return err
	}
	if _, there := p.cfg.Functions.Live(t.Function); !there {
		return nil // live comes first
	}
	raw, _, err := p.fetch(ctx, *t)
	if err != nil {
		return err
	}
	_, err = p.cfg.Functions.Install(ctx, raw, w.Alias, 0)
	return errors.Join(err, p.cfg.Client.Drop(*t))
}

// system takes another binary.
func (p *Pipeline) system(ctx context.Context, t ota.Target, attempt string) error {
	wants, err := p.cfg.System.Wants(t, attempt)
	if err != nil || !wants {
		return err
	}
	if p.rolling() {
		return nil // one thing at a time: what goes wrong shall have one cause
	}
	ctx, cancel := context.WithTimeout(ctx, fetchWithin)
	defer cancel()
	var file string
	err = p.meanwhile(ctx, func() (err error) { file, err = p.cfg.Client.Fetch(ctx, t); return err })
	if err != nil {
		return err
	}
	p.cfg.Logger.Info("a new binary was fetched", "target", t.Name, "version", t.Version)
	if err := p.cfg.System.Take(ctx, file, t, attempt); err != nil {
		return errors.Join(err, p.cfg.Client.Drop(t))
	}
	p.mu.Lock()
	p.stats.Systems++
	p.mu.Unlock()
	return p.cfg.Client.Drop(t)
}
