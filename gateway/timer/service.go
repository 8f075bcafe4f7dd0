package timer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// Store keeps the timers. *store.Store is one.
type Store interface {
	Timers(ctx context.Context) ([]store.Timer, error)
	PutTimer(ctx context.Context, t store.Timer) error
	DropTimer(ctx context.Context, name string) error
}

var _ Store = (*store.Store)(nil)

// Clock tells the time. *clock.Clock is one.
type Clock interface {
	Now() time.Time
	Steady() time.Time
	Trust() event.Trust
}

// Firing is one instant of a timer.
type Firing struct {
	Timer    string
	Function string
	// Schedule is the timer's.
	Schedule string
	// Due is the instant, on the wall clock.
	Due time.Time
	// Missed is how many instants before it were missed and fire no more.
	Missed int
	// Advance must be committed together with what the firing starts.
	Advance store.TimerAdvance
}

// Target starts what a timer fires for. It calls done once, from any goroutine:
// with nil when the firing and its Advance have committed, else with why
// nothing of it was kept. It must not block.
type Target interface {
	Fire(f Firing, done func(error))
}

// Config configures a Service. Zero fields take the defaults named beside them.
type Config struct {
	Store  Store
	Clock  Clock
	Target Target
	Logger *slog.Logger
	// LookEvery bounds how long a jump of the clock goes unnoticed (10 s).
	LookEvery time.Duration
}

// Service fires timers. Its methods are safe for concurrent use.
type Service struct {
	cfg  Config
	log  *slog.Logger
	wake chan struct{}
	stop chan struct{}
	done chan struct{}
	once sync.Once
	runs atomic.Bool // Start was called

	change sync.Mutex // held through Put and Drop, before mu
	mu     sync.Mutex // guards timers and stats; never held across the store
	timers map[string]*entry
	stats  Stats
}

// entry is a timer with what is known of it in memory.
type entry struct {
	store.Timer
	schedule *Schedule
	missed   Missed
	firing   bool      // the target has it
	again    time.Time // after a firing that was refused, by the runtime's clock
	refused  int       // in a row
}

// Stats are counters since New, and what is so now.
type Stats struct {
	// Fired counts firings that committed, Refused those that were not taken
	// and come again, Missed instants that never fire, Reaimed timers that
	// aimed anew because the clock had gone back.
	Fired, Refused, Missed, Reaimed uint64
	// Timers is how many there are, Blind how many of them wait for a clock
	// that can be relied on, and Firing how many wait for a firing, or their next
	// instant, to be on disk.
	Timers, Blind, Firing int
}

// New loads the timers; Start lets them fire.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.Store == nil || cfg.Clock == nil || cfg.Target == nil {
		return nil, errors.New("timers need a store, a clock and a target")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.LookEvery == 0 {
		cfg.LookEvery = 10 * time.Second
	}
	s := &Service{
		cfg: cfg, log: cfg.Logger, timers: make(map[string]*entry),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	all, err := cfg.Store.Timers(ctx)
	if err != nil {
		return nil, fmt.Errorf("start timers: %w", err)
	}
	for _, t := range all {
		e, err := newEntry(t)
		if err != nil {
			s.log.Error("timer left out", "timer", t.Name, "error", err)
			continue
		}
		s.timers[t.Name] = e
	}
	return s, nil
}

// Start lets the timers fire, once what they start can be found.
func (s *Service) Start() {
	if !s.runs.Swap(true) {
		go s.run()
	}
}

func newEntry(t store.Timer) (*entry, error) {
	schedule, err := Parse(t.Schedule, t.Timezone)
	if err != nil {
		return nil, err
	}
	missed, err := ParseMissed(t.Missed)
	if err != nil {
		return nil, err
	}
	t.Missed = string(missed)
	return &entry{Timer: t, schedule: schedule, missed: missed}, nil
}

// Set makes the timers of a function these, and returns once that is stored.
// What is there already stays as it is.
func (s *Service) Set(ctx context.Context, function string, timers []store.Timer) error {
	keep := make(map[string]bool, len(timers))
	for i := range timers {
		t := &timers[i]
		keep[t.Name] = true
		if s.there(t) {
			continue
		}
		if err := s.Put(ctx, *t); err != nil {
			return err
		}
	}
	return s.dropUnless(ctx, func(t *store.Timer) bool { return t.Function != function || keep[t.Name] })
}

// Prune drops the timers of functions that are not there any more.
func (s *Service) Prune(ctx context.Context, there func(function string) bool) error {
	return s.dropUnless(ctx, func(t *store.Timer) bool { return there(t.Function) })
}

// dropUnless drops what is stored and not to be kept.
func (s *Service) dropUnless(ctx context.Context, keep func(*store.Timer) bool) error {
	all, err := s.cfg.Store.Timers(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		if keep(&all[i]) {
			continue
		}
		if err := s.Drop(ctx, all[i].Name); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// there reports whether a timer is there and as it should be.
func (s *Service) there(t *store.Timer) bool {
	missed, err := ParseMissed(t.Missed)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.timers[t.Name]
	return err == nil && e != nil && e.Function == t.Function && e.Schedule == t.Schedule && e.Timezone == t.Timezone &&
		e.missed == missed && e.OnEstimate == t.OnEstimate
}

// Next is when the timers of a function fire next, by their names, on the wall
// clock; zero while that cannot be told, because the clock is not trusted.
func (s *Service) Next(function string) map[string]time.Time {
	m := moment{wall: s.cfg.Clock.Now(), steady: s.cfg.Clock.Steady(), trust: s.cfg.Clock.Trust()}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]time.Time)
	for name, e := range s.timers {
		switch {
		case e.Function != function:
		case e.Due.IsZero() || decide(e.schedule, e.missed, e.OnEstimate, e.Due, e.Seen, &m).blind:
			out[name] = time.Time{}
		default:
			out[name] = m.wall.Add(e.Due.Sub(m.on(e.schedule)))
		}
	}
	return out
}

// Put sets a timer and returns once it is stored. One that is there with the
// same schedule and time zone keeps its next firing.
func (s *Service) Put(ctx context.Context, t store.Timer) error {
	if t.Name == "" || len(t.Name) > 128 || !function.ValidName(t.Function) {
		return fmt.Errorf("timer %q of %q: it needs a name of at most 128 characters and a function", t.Name, t.Function)
	}
	t.Due, t.Seen = time.Time{}, time.Time{}
	e, err := newEntry(t)
	if err != nil {
		return fmt.Errorf("timer %s: %w", t.Name, err)
	}
	s.change.Lock()
	defer s.change.Unlock()
	old := s.take(t.Name)
	if old != nil && old.Schedule == t.Schedule && old.Timezone == t.Timezone {
		e.Due, e.Seen = old.Due, old.Seen
	}
	if err := s.cfg.Store.PutTimer(ctx, e.Timer); err != nil {
		if old != nil {
			s.put(old)
		}
		return err
	}
	s.put(e)
	return nil
}

// Drop deletes a timer and returns once it is gone, or store.ErrNotFound. A
// firing under way goes on.
func (s *Service) Drop(ctx context.Context, name string) error {
	s.change.Lock()
	defer s.change.Unlock()
	old := s.take(name)
	err := s.cfg.Store.DropTimer(ctx, name)
	if err != nil && old != nil && !errors.Is(err, store.ErrNotFound) {
		s.put(old)
	}
	return err
}

// take removes a timer from those that fire, when it is not just firing.
func (s *Service) take(name string) *entry {
	for {
		s.mu.Lock()
		e := s.timers[name]
		if e == nil || !e.firing {
			delete(s.timers, name)
			s.mu.Unlock()
			return e
		}
		s.mu.Unlock()
		select {
		case <-s.stop:
			return nil
		case <-time.After(time.Millisecond):
		}
	}
}

func (s *Service) put(e *entry) {
	s.mu.Lock()
	s.timers[e.Name] = e
	s.mu.Unlock()
	s.Look()
}

// Look makes the service look at its timers now, as after a jump of the clock
// that somebody knows of.
func (s *Service) Look() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Close stops firing. Firings under way are the target's.
func (s *Service) Close(ctx context.Context) error {
	s.once.Do(func() { close(s.stop) })
	if !s.runs.Load() {
		return nil
	}
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close timers: %w", ctx.Err())
	}
}

// Stats returns the counters.
func (s *Service) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Timers = len(s.timers)
	for _, e := range s.timers {
		if e.firing {
			st.Firing++
		}
	}
	return st
}

func (s *Service) run() {
	defer close(s.done)
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-t.C:
		case <-s.wake:
		case <-s.stop:
			return
		}
		t.Reset(s.round())
	}
}

// round lets every timer that is due fire, and returns how long to wait.
func (s *Service) round() time.Duration {
	m := moment{wall: s.cfg.Clock.Now(), steady: s.cfg.Clock.Steady(), trust: s.cfg.Clock.Trust()}
	wait := s.cfg.LookEvery
	blind := 0
	var fire []Firing
	var aim []aiming
	s.mu.Lock()
	for _, e := range s.timers {
		if e.firing || !e.again.IsZero() && time.Now().Before(e.again) {
			if !e.firing {
				wait = min(wait, time.Until(e.again))
			}
			continue
		}
		p := decide(e.schedule, e.missed, e.OnEstimate, e.Due, e.Seen, &m)
		a := store.TimerAdvance{Name: e.Name, Fired: e.Due, Due: p.due, Seen: m.on(e.schedule)}
		switch {
		case p.blind:
			blind++
		case !p.fire.IsZero():
			e.firing = true
			due := p.fire
			if e.schedule.Interval() {
				due = m.wall.Add(p.fire.Sub(m.steady))
			}
			fire = append(fire, Firing{Timer: e.Name, Function: e.Function, Schedule: e.Schedule, Due: due, Missed: p.missed, Advance: a})
		case p.aim:
			e.firing = true
			aim = append(aim, aiming{e, p, a})
		default:
			wait = min(wait, e.Due.Sub(m.on(e.schedule)))
		}
	}
	s.stats.Blind = blind
	s.mu.Unlock()
	for i := range aim {
		s.aim(&aim[i])
	}
	for i := range fire {
		f := &fire[i]
		s.cfg.Target.Fire(*f, func(err error) { s.fired(f, err) })
	}
	return max(wait, time.Millisecond)
}

// aiming is a timer whose due changes without a firing.
type aiming struct {
	*entry
	plan plan
	to   store.TimerAdvance
}

// aim stores the new due first: what is on disk decides what a firing may
// advance.
func (s *Service) aim(a *aiming) {
	e, p := a.entry, &a.plan
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	row := e.Timer // nobody else changes it while it fires
	row.Due, row.Seen = a.to.Due, a.to.Seen
	err := s.cfg.Store.PutTimer(ctx, row)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.Look()
	e.firing = false
	if err != nil {
		e.again = time.Now().Add(time.Second)
		s.log.Warn("the timer's next firing cannot be kept, trying again", "timer", e.Name, "error", err)
		return
	}
	if s.stats.Missed += uint64(p.missed); p.missed > 0 {
		s.log.Warn("timer missed its time", "timer", e.Name, "due", e.Due, "instants", p.missed)
	}
	if p.back {
		s.stats.Reaimed++
		s.log.Warn("the clock went back, the timer aims anew", "timer", e.Name, "was_due", e.Due, "due", p.due)
	}
	e.Due, e.Seen, e.again = a.to.Due, a.to.Seen, time.Time{}
}

// fired follows a firing.
func (s *Service) fired(f *Firing, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.Look()
	e := s.timers[f.Timer]
	if e == nil {
		return
	}
	e.firing = false
	if err != nil {
		e.refused++
		s.stats.Refused++
		e.again = time.Now().Add(min(time.Second<<min(e.refused-1, 6), time.Minute))
		s.log.Warn("timer was refused and fires again", "timer", f.Timer, "due", f.Due, "error", err)
		return
	}
	e.refused, e.again = 0, time.Time{}
	s.stats.Fired++
	s.stats.Missed += uint64(f.Missed)
	e.Due, e.Seen = f.Advance.Due, f.Advance.Seen
}
