// Package desired has a gateway follow what its controller wants of it: which
// signed versions its functions have, how they are configured, and which secrets
// they may ask for. What is wanted is a state, kept on this disk: the newest
// counts, an older one that comes late changes nothing, and the gateway goes on
// towards it after a restart and without a link.
//
// The controller chooses among what the gateway's owner signed, and can have
// nothing else run. A desired state that makes no sense is refused whole, and
// the one before goes on; what of a sensible one cannot be done is told, and the
// rest of it is done.
package desired

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/headgate-io/headgate/sync/wire"
)

// Functions are configured; gateway/registry has them.
type Functions interface {
	// Configure lays a JSON object over a function's own configuration; an empty
	// one leaves its own.
	Configure(ctx context.Context, name string, overlay []byte) error
}

// Vault keeps secrets; gateway/secret has one.
type Vault interface {
	Has(function, name string) bool
	Set(ctx context.Context, function, name string, value []byte) error
	Remove(ctx context.Context, function, name string) error
}

// Memory keeps facts across restarts; gateway/store has it.
type Memory interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Member is who the gateway is for its controller. Secrets are sealed to Key.
type Member struct {
	Gateway string
	Key     *ecdsa.PrivateKey
}

// Config configures a Follower.
type Config struct {
	Functions Functions
	Vault     Vault
	Memory    Memory
	// Missing is what Memory says of a fact that it has not, Gone what Vault says
	// of a secret.
	Missing, Gone error
	// Member is nil while the gateway is not enrolled.
	Member func() *Member
	// Arch is the gateway's, in Go's word.
	Arch string
	// Changed is called when other versions are wanted than before, Report when
	// there is something to tell the controller.
	Changed, Report func()
	Logger          *slog.Logger
}

// Follower follows. Run does the work; the other methods may be called from any
// goroutine.
type Follower struct {
	cfg   Config
	codec *wire.Codec
	// wake has what came looked at, redo has what is desired done again.
	wake, redo chan struct{}
	// takes bounds how often another state is written down, bytes how much of it;
	// paid is when the last one is worked off.
	takes, bytes *rate.Limiter
	paid         time.Time // for Run alone

	saving sync.Mutex // held while the record is written, before mu

	mu      sync.Mutex // guards what follows
	rec     record
	desired *wire.Desired // nil is none; never changed once it is here
	pending *wire.Desired // came, and was not looked at yet
	refusal string        // why the newest that came was not taken
	faults  []string      // what of it cannot be done
	stats   Stats
}

// Stats counts what a Follower did.
type Stats struct {
	// Taken counts desired states, Stale those that came late, Refused those that
	// made no sense.
	Taken, Stale, Refused uint64
	// SecretsOpened and SecretsFailed count sealed secrets, Configured and
	// ConfigFailed changes of configuration.
	SecretsOpened, SecretsFailed, Configured, ConfigFailed uint64
	// Revision is the one that is followed, Functions and Secrets what it names,
	// Faults what of it cannot be done.
	Revision                   uint64
	Functions, Secrets, Faults int
}

// Open reads what an earlier run followed.
func Open(ctx context.Context, cfg Config) (*Follower, error) {
	codec, err := wire.NewCodec()
	if err != nil {
		return nil, err
	}
	f := &Follower{cfg: cfg, codec: codec, wake: make(chan struct{}, 1), redo: make(chan struct{}, 1), takes: rate.NewLimiter(rate.Every(takeEvery), takeBurst)}
	f.bytes = rate.NewLimiter(takeBytes, takeBytesBurst)
	return f, f.load(ctx)
}

// Take takes what the controller wants. It does not wait: of what comes faster
// than it is looked at the newest counts.
func (f *Follower) Take(d *wire.Desired) {
	f.mu.Lock()
	if f.pending == nil || d.Revision >= f.pending.Revision {
		f.pending = d
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Revision is what the gateway follows; 0 is nothing.
func (f *Follower) Revision() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.desired == nil || f.foreignLocked() {
		return 0
	}
	return f.desired.Revision
}

// foreignLocked reports whether what is followed was wanted of the gateway as a
// member that it is not any more.
func (f *Follower) foreignLocked() bool {
	m := f.cfg.Member()
	return m != nil && f.rec.Gateway != m.Gateway
}

// Overlays are the configurations that functions had at the end of the run
// before.
func (f *Follower) Overlays() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.rec.Laid)
}

// Names is true where the desired state names versions of functions, or a
// binary.
func (f *Follower) Names() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.desired != nil && (f.desired.System != "" || slices.ContainsFunc(f.desired.Functions, func(d wire.DesiredFunction) bool { return d.Target != "" }))
}

// Fault says why the desired state is not followed, as far as it is not; empty
// where it is.
func (f *Follower) Fault() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.faults
	if f.refusal != "" {
		all = append([]string{f.refusal}, all...)
	}
	const most = 1 << 10
	text := strings.Join(all, "; ")
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + fmt.Sprintf("… (%d faults)", len(all))
	}
	return text
}

// Stats returns the counters.
func (f *Follower) Stats() Stats {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.stats
	if s.Faults = len(f.faults); f.desired != nil {
		s.Revision, s.Functions, s.Secrets = f.desired.Revision, len(f.desired.Functions), len(f.desired.Secrets)
	}
	return s
}

// A state that changes all the time, by whoever's hand, wears no flash out:
// after takeBurst of them one is taken every takeEvery, the newest, and after
// takeBytesBurst no more than takeBytes are written every second.
const (
	takeEvery      = 2 * time.Second
	takeBurst      = 16
	takeBytes      = 2 << 10
	takeBytesBurst = 8 << 20
)

// wait is how long what came waits until it is looked at.
func (f *Follower) wait() time.Duration {
	return max(f.takes.Reserve().Delay(), time.Until(f.paid))
}

// wrote notes that a state was written down: once when it was taken, and once
// when it was done.
func (f *Follower) wrote(d *wire.Desired) {
	size := 1 << 10
	for i := range d.Functions {
		w := &d.Functions[i]
		size += len(w.Name) + len(w.Target) + len(w.SHA256) + len(w.Attempt) + 2*len(w.Config) // and as it is laid
	}
	for i := range d.Secrets {
		size += len(d.Secrets[i].Name) + len(d.Secrets[i].Function) + 2*len(d.Secrets[i].Sealed) // and in the vault
	}
	r := f.bytes.ReserveN(time.Now(), min(2*size*4/3, takeBytesBurst)) // in base64
	f.paid = time.Now().Add(r.Delay())
}

// againAfter is when what could not be done is tried again.
const againAfter = 10 * time.Minute

// Run follows until ctx ends.
func (f *Follower) Run(ctx context.Context) {
	f.apply(ctx) // the end of the run before may have come in the midst of it
	again := time.NewTicker(againAfter)
	defer again.Stop()
	var report, later <-chan time.Time
	every := time.Duration(0)
	for {
		if next := f.every(); next != every {
			every, report = next, nil
			if every > 0 {
				report = time.After(every)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-f.wake:
			if later == nil {
				later = time.After(f.wait())
			}
		case <-later:
			later = nil
			f.look(ctx)
		case <-f.redo:
			f.apply(ctx)
		case <-again.C:
			if f.Fault() != "" {
				f.apply(ctx)
			}
		case <-report:
			report = time.After(every)
			f.cfg.Report()
		}
	}
}

// every is how often the controller wants to hear how things are; 0 is when
// something happens.
func (f *Follower) every() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.desired == nil || f.desired.Every <= 0 {
		return 0
	}
	return time.Duration(min(f.desired.Every, 24*3600)) * time.Second
}

// look looks at what came, and follows it if it is newer.
func (f *Follower) look(ctx context.Context) {
	f.mu.Lock()
	d, before := f.pending, f.desired
	f.pending = nil
	f.mu.Unlock()
	if d == nil {
		return
	}
	taken, err := f.accept(ctx, d)
	if err != nil && ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	switch {
	case err != nil:
		f.stats.Refused++
		f.refusal = fmt.Sprintf("desired state %d is not taken: %v", d.Revision, err)
		f.cfg.Logger.Error("the controller's desired state is not taken: the one before goes on", "revision", d.Revision, "error", err)
	case !taken:
		f.stats.Stale++
	default:
		f.stats.Taken++
		f.refusal = ""
		f.cfg.Logger.Info("another state is desired", "revision", d.Revision, "functions", len(d.Functions), "secrets", len(d.Secrets))
	}
	f.mu.Unlock()
	if taken && err == nil {
		f.wrote(d)
		f.apply(ctx)
		if !sameVersions(before, d) {
			f.cfg.Changed()
		}
	}
	if taken || err != nil {
		f.cfg.Report()
	}
}

var errNoMember = errors.New("the gateway is not enrolled")

// accept keeps a desired state, if it is newer than the one that is followed.
func (f *Follower) accept(ctx context.Context, d *wire.Desired) (taken bool, err error) {
	m := f.cfg.Member()
	if m == nil {
		return false, errNoMember
	}
	f.saving.Lock()
	defer f.saving.Unlock()
	f.mu.Lock()
	next := f.rec.clone()
	var revision uint64
	if next.Gateway != m.Gateway {
		// Enrolled anew: what another controller gave is left as it is.
		next.Gateway, next.Given, next.Secrets = m.Gateway, nil, map[string]uint64{}
	} else if f.desired != nil {
		if revision = f.desired.Revision; d.Revision <= revision {
			f.mu.Unlock()
			return false, nil
		}
	}
	f.mu.Unlock()
	if err := cmp.Or(leaps(revision, d.Revision), check(d)); err != nil {
		return false, err
	}
	if next.Desired, err = f.codec.Encode(d); err != nil {
		return false, err
	}
	next.give(d)
	if len(next.Given) > maxGiven {
		return false, fmt.Errorf("%d functions wait for their removal already", len(next.Given))
	}
	return true, f.keep(ctx, &next, d)
}

// apply does what the desired state says of secrets and configuration, in this
// order, and has versions follow.
func (f *Follower) apply(ctx context.Context) {
	f.mu.Lock()
	d, rec := f.desired, f.rec.clone()
	foreign := f.foreignLocked()
	f.mu.Unlock()
	if d == nil || foreign {
		return
	}
	faults := f.secrets(ctx, d, &rec)
	faults = append(faults, f.configure(ctx, d, &rec)...)
	if ctx.Err() != nil {
		return // what was done is done again
	}
	if err := f.note(ctx, &rec); err != nil {
		faults = append(faults, err.Error())
	}
	f.mu.Lock()
	changed := !slices.Equal(f.faults, faults)
	f.faults = faults
	f.mu.Unlock()
	if changed && len(faults) > 0 {
		f.cfg.Logger.Warn("not all that is desired can be done", "revision", d.Revision, "error", strings.Join(faults, "; "))
	}
	f.cfg.Report()
}

// configure lays what is wanted over the functions' own configurations.
func (f *Follower) configure(ctx context.Context, d *wire.Desired, rec *record) (faults []string) {
	wanted := make(map[string][]byte, len(d.Functions))
	for i := range d.Functions {
		if c := d.Functions[i].Config; len(c) > 0 {
			wanted[d.Functions[i].Name] = c
		}
	}
	names := slices.Collect(maps.Keys(wanted))
	for name := range rec.Laid {
		if wanted[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		overlay := wanted[name]
		if string(rec.Laid[name]) == string(overlay) || ctx.Err() != nil {
			continue
		}
		if err := f.cfg.Functions.Configure(ctx, name, overlay); err != nil {
			f.count(func(s *Stats) { s.ConfigFailed++ })
			faults = append(faults, err.Error())
			continue
		}
		f.count(func(s *Stats) { s.Configured++ })
		if rec.Laid[name] = overlay; len(overlay) == 0 {
			delete(rec.Laid, name)
		}
	}
	return faults
}

func (f *Follower) count(change func(*Stats)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.stats)
}
