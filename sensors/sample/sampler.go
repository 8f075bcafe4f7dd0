package sample

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/sensors"
)

// Config configures a Sampler. Board and Now are needed.
type Config struct {
	Board *sensors.Board
	// Now is the wall clock.
	Now func() time.Time
	// Tell takes what is news of a sensor: a value that has moved, another
	// quality, the heartbeat. It is called by the sensor's goroutine and must
	// not block.
	Tell func(sensors.Reading)
	// Changed takes every change of quality, after the board has it.
	Changed func(r sensors.Reading, before sensors.Quality)
	Logger  *slog.Logger
}

// Sampler reads sensors. Its methods are safe for concurrent use.
type Sampler struct {
	cfg   Config
	log   *slog.Logger
	units []*unit
	buses map[string]*bus

	stop  context.CancelFunc
	done  sync.WaitGroup
	stats struct{ readings, failures, told, stale, late atomic.Uint64 }
}

// Stats are counters since the start.
type Stats struct {
	// Sensors is how many there are, and Good, Stale, Bad and Unread how many of
	// each quality now.
	Sensors, Good, Stale, Bad, Unread int
	// Readings counts values, Failures reads without one, BecameStale values
	// that no other followed in time, Told what was published, and Late reads
	// that began a whole interval too late.
	Readings, Failures, BecameStale, Told, Late uint64
}

// New makes a Sampler and declares its sensors on the board. Start begins.
func New(cfg Config, all []Sensor) *Sampler {
	s := &Sampler{cfg: cfg, log: cfg.Logger, buses: make(map[string]*bus)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for _, sensor := range all {
		u := &unit{Sensor: sensor, s: s, window: window{filter: sensor.Filter}}
		s.units = append(s.units, u)
		b := s.buses[sensor.Bus]
		if b == nil {
			b = &bus{name: sensor.Bus, s: s, poked: make(chan struct{}, 1)}
			s.buses[sensor.Bus] = b
		}
		b.units = append(b.units, u)
		cfg.Board.Declare(sensor.Info)
	}
	return s
}

// Start begins to read. Close ends it.
func (s *Sampler) Start(ctx context.Context) {
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	for _, b := range s.buses {
		s.done.Go(func() { b.run(ctx) })
	}
	if len(s.units) > 0 {
		s.done.Go(func() { s.expire(ctx) })
	}
}

// Close ends reading and closes the sensors. A bus that hangs is left behind
// when ctx ends; the error names it.
func (s *Sampler) Close(ctx context.Context) error {
	if s.stop == nil {
		return nil
	}
	s.stop()
	ended := make(chan struct{})
	go func() {
		s.done.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		var hangs []string
		for name, b := range s.buses {
			if b.busy.Load() != nil {
				hangs = append(hangs, name)
			}
		}
		slices.Sort(hangs)
		return fmt.Errorf("sensors on %v do not answer: %w", hangs, ctx.Err())
	}
}

// ErrUnknown is the error of asking for a sensor that there is not.
var ErrUnknown = errors.New("no such sensor")

// ReadNow has a sensor read ahead of its time and returns what that gave.
func (s *Sampler) ReadNow(ctx context.Context, name string) (sensors.Reading, error) {
	i := slices.IndexFunc(s.units, func(u *unit) bool { return u.Name == name })
	if i < 0 {
		return sensors.Reading{}, fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	got := make(chan sensors.Reading, 1)
	stop := s.cfg.Board.Watch(func(r sensors.Reading) {
		if r.Sensor == name {
			select {
			case got <- r:
			default:
			}
		}
	})
	defer stop()
	s.units[i].notify()
	select {
	case r := <-got:
		return r, nil
	case <-ctx.Done():
		r, _ := s.cfg.Board.Latest(name)
		return r, ctx.Err()
	}
}

// Busy returns the sensor that each bus is busy with, and for how long: one
// that hangs is seen here.
func (s *Sampler) Busy() map[string]Work {
	out := make(map[string]Work)
	for name, b := range s.buses {
		if w := b.busy.Load(); w != nil {
			out[name] = Work{w.sensor, time.Since(w.since)}
		}
	}
	return out
}

// Work is what a bus is busy with.
type Work struct {
	Sensor string
	For    time.Duration
}

// Stats returns the counters.
func (s *Sampler) Stats() Stats {
	st := Stats{
		Sensors: len(s.units), Readings: s.stats.readings.Load(), Failures: s.stats.failures.Load(),
		BecameStale: s.stats.stale.Load(), Told: s.stats.told.Load(), Late: s.stats.late.Load(),
	}
	for _, u := range s.units {
		r, _ := s.cfg.Board.Latest(u.Name)
		switch r.Quality {
		case sensors.Good:
			st.Good++
		case sensors.Stale:
			st.Stale++
		case sensors.Bad:
			st.Bad++
		case sensors.Unread:
			st.Unread++
		}
	}
	return st
}

// expire looks for values that have grown too old, until ctx ends.
func (s *Sampler) expire(ctx context.Context) {
	every := 30 * time.Second
	for _, u := range s.units {
		if u.StaleAfter > 0 {
			every = min(every, u.StaleAfter/4)
		}
	}
	t := time.NewTicker(max(every, 100*time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-t.C:
			for _, u := range s.units {
				u.expire(now)
			}
		}
	}
}

// bus is what is read one after the other.
type bus struct {
	name  string
	s     *Sampler
	units []*unit
	poked chan struct{}
	busy  atomic.Pointer[work]
}

type work struct {
	sensor string
	since  time.Time
}

func (b *bus) poke() {
	select {
	case b.poked <- struct{}{}:
	default:
	}
}

// run reads the bus's sensors until ctx ends.
func (b *bus) run(ctx context.Context) {
	start := time.Now()
	for _, u := range b.units {
		u.due = start
	}
	defer func() {
		for _, u := range b.units {
			u.close()
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var earliest time.Time
		for _, u := range b.units {
			if ctx.Err() != nil {
				return
			}
			b.serve(ctx, u)
			if !u.due.IsZero() && (earliest.IsZero() || u.due.Before(earliest)) {
				earliest = u.due
			}
		}
		var wake <-chan time.Time
		if !earliest.IsZero() {
			timer.Reset(time.Until(earliest))
			wake = timer.C
		}
		select {
		case <-ctx.Done():
			return
		case <-b.poked:
		case <-wake:
		}
	}
}

// serve reads a sensor that is due or has something new.
func (b *bus) serve(ctx context.Context, u *unit) {
	now := time.Now()
	due := !u.due.IsZero() && !now.Before(u.due)
	switch {
	case !due && !u.notified.Load():
		return
	case u.Passive && !u.read.IsZero() && now.Sub(u.read) < u.Interval:
		// It has more to say than it may: the newest counts, a little later.
		u.due = u.read.Add(u.Interval)
		return
	case due && !u.Passive && u.failures == 0 && now.Sub(u.due) >= u.Interval:
		b.s.stats.late.Add(1)
	}
	u.notified.Store(false)
	u.read = now
	b.busy.Store(&work{u.Name, now})
	u.measure(ctx)
	b.busy.Store(nil)
	if due || u.failures > 0 {
		u.next(time.Now())
	}
}
