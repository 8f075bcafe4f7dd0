// Package clock says what time it is on a board without a battery for its
// clock, and how far that can be relied on.
//
// There are two scales. Now is the wall clock, for people and calendars: the
// kernel's where that is plausible, else counted on from the last time known.
// It may jump. Steady is for durations that must outlive the process (ages,
// waits, lives of keys): it never goes back and never jumps while the machine
// runs; across a restart it goes on by what is known of the time between.
package clock

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/event"
)

// Source is the machine's clocks. System is the real one.
type Source interface {
	// Read returns the wall clock, without a monotonic reading, and the time
	// since the machine started at the same moment. It is cheap.
	Read() (wall time.Time, sinceBoot time.Duration)
	// SinceBoot is the same time, with what the machine slept.
	SinceBoot() time.Duration
	// Synchronised reports whether a time server has set the wall clock.
	Synchronised() bool
	// BootID tells this start of the machine from all others.
	BootID() string
}

// Memory keeps facts across restarts. *store.Store is one.
type Memory interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Config configures a Clock. Zero fields take the defaults named beside them.
type Config struct {
	Memory Memory
	Source Source // System
	Logger *slog.Logger
	// Built is when the gateway was built: it cannot be earlier.
	Built time.Time
	// CheckEvery is how often the clocks are compared (10 s), SaveEvery how
	// often what is known is kept (10 min).
	CheckEvery, SaveEvery time.Duration
}

// jumpFrom is by how much the wall clock must leave the monotonic one to have
// jumped.
const jumpFrom = time.Second

// Clock tells the time. Its methods are safe for concurrent use.
type Clock struct {
	cfg Config
	src Source
	log *slog.Logger

	state atomic.Pointer[state]

	mu sync.Mutex // guards changes of state, and all below
	// seen is the latest time that it certainly was, when the state was read.
	seen time.Time
	// known is true once the time was more than a guess, ever; confirmed while
	// a person's word holds, told while a controller's does.
	known, confirmed, told bool
	stats                  struct{ forward, back, levels uint64 }
	lastJump               time.Duration

	// synchronised has a token when the time has become trusted.
	synchronised chan struct{}

	stop chan struct{}
	done chan struct{}
	once sync.Once
}

// state is one reading of the clocks and what was made of it.
type state struct {
	wall      time.Time     // the kernel's
	sinceBoot time.Duration // by Read
	slept     time.Duration // of the machine, until then
	// correction is what is added to the kernel's wall clock.
	correction time.Duration
	steady     time.Time
	trust      event.Trust
}

// drift is by how much the wall clock has left the monotonic one.
func (s *state) drift(wall time.Time, sinceBoot time.Duration) time.Duration {
	return wall.Sub(s.wall) - (sinceBoot - s.sinceBoot)
}

// New reads the clocks and what is kept of earlier runs. Run keeps watching.
func New(ctx context.Context, cfg Config) (*Clock, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Source == nil {
		cfg.Source = System()
	}
	if cfg.CheckEvery == 0 {
		cfg.CheckEvery = 10 * time.Second
	}
	if cfg.SaveEvery == 0 {
		cfg.SaveEvery = 10 * time.Minute
	}
	c := &Clock{cfg: cfg, src: cfg.Source, log: cfg.Logger, stop: make(chan struct{}), done: make(chan struct{}), synchronised: make(chan struct{}, 1)}
	kept, err := c.load(ctx)
	if err != nil {
		return nil, err
	}
	c.begin(kept)
	if err := c.save(ctx); err != nil {
		return nil, err
	}
	s := c.state.Load()
	c.log.Info("clock", "time", s.wall.Add(s.correction).UTC(), "trust", s.trust.String(), "correction", s.correction)
	go c.run()
	return c, nil
}

// Now is the best known wall time.
func (c *Clock) Now() time.Time {
	wall, sinceBoot := c.src.Read()
	s := c.state.Load()
	if d := s.drift(wall, sinceBoot); d > jumpFrom || d < -jumpFrom {
		s = c.check()
		wall, _ = c.src.Read()
	}
	return wall.Add(s.correction)
}

// Steady is the time on the scale of durations.
func (c *Clock) Steady() time.Time {
	_, sinceBoot := c.src.Read()
	s := c.state.Load()
	return s.steady.Add(sinceBoot - s.sinceBoot)
}

// Trust says how far Now can be relied on.
func (c *Clock) Trust() event.Trust { return c.state.Load().trust }

// Wall is the wall time of a moment of the steady scale.
func (c *Clock) Wall(steady time.Time) time.Time {
	if steady.IsZero() {
		return steady
	}
	return c.Now().Add(steady.Sub(c.Steady()))
}

// Confirm takes a person's word for the time. It holds until the machine
// restarts or a time server says otherwise.
func (c *Clock) Confirm(ctx context.Context, now time.Time) error {
	c.mu.Lock()
	wall, _ := c.src.Read()
	s := *c.state.Load()
	c.log.Info("the time was confirmed", "time", now.UTC(), "before", wall.Add(s.correction).UTC())
	c.confirmed, c.told = true, false
	c.readLocked(&s)
	was := s.trust
	c.seen, s.correction, s.trust = now, now.Sub(s.wall), event.TimeSynchronised
	c.state.Store(&s)
	c.tell(was, s.trust)
	c.mu.Unlock()
	return c.save(ctx)
}

// tolerated is by how much the time may differ from what another machine says
// before that is believed.
const tolerated = 2 * time.Second

// Estimate takes another machine's word for the time: an estimate, which holds
// until a time server or a person says otherwise, or the machine restarts. Where
// either has spoken it changes nothing.
func (c *Clock) Estimate(ctx context.Context, now time.Time) error {
	c.check()
	c.mu.Lock()
	s := *c.state.Load()
	if s.trust == event.TimeSynchronised || now.Before(c.cfg.Built) {
		c.mu.Unlock()
		return nil
	}
	c.readLocked(&s)
	off := now.Sub(s.wall.Add(s.correction))
	if s.trust == event.TimeEstimated && off.Abs() < tolerated {
		c.mu.Unlock()
		return nil
	}
	c.log.Info("the time was taken from the controller", "time", now.UTC(), "before", s.wall.Add(s.correction).UTC())
	c.told, c.known = true, true
	c.seen, s.correction, s.trust = now, now.Sub(s.wall), event.TimeEstimated
	c.state.Store(&s)
	c.mu.Unlock()
	return c.save(ctx)
}

// check compares the clocks and draws the conclusions.
func (c *Clock) check() *state {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.state.Load()
	s := *old
	drift := c.readLocked(&s)
	if drift > jumpFrom || drift < -jumpFrom {
		c.jumpedLocked(drift)
		if c.confirmed || c.told {
			// What was said holds, whatever the kernel's clock does.
			s.correction -= drift
		}
	}
	c.judgeLocked(&s)
	if s.trust != old.trust {
		c.stats.levels++
		c.log.Info("trust in the clock has changed", "trust", s.trust.String(), "before", old.trust.String(),
			"time", s.wall.Add(s.correction).UTC())
	}
	c.state.Store(&s)
	c.tell(old.trust, s.trust)
	return &s
}

// Synchronised has a token when the time has become synchronised; whoever
// takes it is told of the next time too.
func (c *Clock) Synchronised() <-chan struct{} { return c.synchronised }

// tell leaves a token where the trust has become the best.
func (c *Clock) tell(was, is event.Trust) {
	if is != event.TimeSynchronised || was == is {
		return
	}
	select {
	case c.synchronised <- struct{}{}:
	default:
	}
}

// readLocked brings the state to the present and returns by how much the wall
// clock jumped. Sleep is time, and no jump.
func (c *Clock) readLocked(s *state) (drift time.Duration) {
	wall, sinceBoot := c.src.Read()
	slept := max(c.src.SinceBoot()-sinceBoot, s.slept)
	if slept-s.slept < 100*time.Millisecond {
		slept = s.slept // the two were not read at once
	}
	elapsed := sinceBoot - s.sinceBoot + slept - s.slept
	drift = wall.Sub(s.wall) - elapsed
	s.steady = s.steady.Add(elapsed)
	c.seen = c.seen.Add(elapsed)
	s.wall, s.sinceBoot, s.slept = wall, sinceBoot, slept
	return drift
}

func (c *Clock) jumpedLocked(drift time.Duration) {
	c.lastJump = drift
	if drift > 0 {
		c.stats.forward++
	} else {
		c.stats.back++
	}
	c.log.Warn("the wall clock jumped; durations go on as before", "by", drift)
}

// judgeLocked says how far the reading can be relied on, and corrects what is
// impossible. A time server outweighs all that was known before; without one it
// cannot be earlier than it was.
func (c *Clock) judgeLocked(s *state) {
	if c.seen.Before(c.cfg.Built) {
		c.seen = c.cfg.Built
	}
	switch {
	case c.src.Synchronised() && !s.wall.Before(c.cfg.Built):
		s.trust, s.correction = event.TimeSynchronised, 0
		c.seen, c.known, c.confirmed, c.told = s.wall, true, false, false
	case c.confirmed:
		s.trust, c.known = event.TimeSynchronised, true
	case c.told:
		s.trust, c.known = event.TimeEstimated, true
	case s.wall.Before(c.seen.Add(-jumpFrom)):
		s.trust, s.correction = event.TimeUnknown, c.seen.Sub(s.wall)
		if c.known {
			s.trust = event.TimeEstimated
		}
	default:
		s.trust, s.correction, c.known = event.TimeEstimated, 0, true
	}
}

func (c *Clock) run() {
	defer close(c.done)
	check := time.NewTicker(c.cfg.CheckEvery)
	defer check.Stop()
	save := time.NewTicker(c.cfg.SaveEvery)
	defer save.Stop()
	for {
		select {
		case <-check.C:
			before := c.Trust()
			if c.check().trust != before {
				c.trySave()
			}
		case <-save.C:
			c.trySave()
		case <-c.stop:
			return
		}
	}
}

func (c *Clock) trySave() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := c.save(ctx); err != nil {
		c.log.Warn("the time cannot be kept", "error", err)
	}
}

// Close keeps the time for the next start. The memory must still be open.
func (c *Clock) Close(ctx context.Context) error {
	c.once.Do(func() { close(c.stop) })
	<-c.done
	return c.save(ctx)
}

// Stats are counters since New, and what is so now.
type Stats struct {
	// Trust is 0 for unknown, 1 for estimated, 2 for synchronised.
	Trust int
	// JumpsForward and JumpsBack count jumps of the wall clock, TrustChanges
	// changes of the level.
	JumpsForward, JumpsBack, TrustChanges uint64
	// LastJump is the newest of them, Correction what is added to the kernel's
	// wall clock.
	LastJump, Correction time.Duration
}

// Stats returns the counters.
func (c *Clock) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.state.Load()
	return Stats{
		Trust: int(s.trust), JumpsForward: c.stats.forward, JumpsBack: c.stats.back, TrustChanges: c.stats.levels,
		LastJump: c.lastJump, Correction: s.correction,
	}
}
