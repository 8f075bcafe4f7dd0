// Package heartbeat knows whether the gateway's long-lived loops still move. A
// loop either says when it begins and ends a piece of work, or is asked
// something that it, or the locks it stands on, must answer in time. While one
// of them is stuck no supervisor gets a sign of life, and starts the gateway
// anew.
package heartbeat

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// every is how often loops are asked, and looked at.
const every = time.Second

// Monitor watches loops. Its methods are safe for concurrent use.
type Monitor struct {
	log   *slog.Logger
	begun time.Time

	mu    sync.Mutex
	loops []*Loop

	stalls atomic.Uint64
}

// New makes a monitor without loops.
func New(log *slog.Logger) *Monitor { return &Monitor{log: log, begun: time.Now()} }

// Loop is one loop that says itself when it works.
type Loop struct {
	monitor *Monitor
	name    string
	within  time.Duration
	// since is when its piece of work began, on the monitor's clock; 0 is
	// idle.
	since atomic.Int64
	// ask and asking belong to the loops that are asked.
	ask    func(context.Context) error
	asking atomic.Bool
	told   bool // guarded by the monitor's mu
}

// Loop adds a loop; a piece of its work takes no longer than within.
func (m *Monitor) Loop(name string, within time.Duration) *Loop {
	l := &Loop{monitor: m, name: name, within: within}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.loops = append(m.loops, l)
	return l
}

// Begin marks the beginning of a piece of work, or of its next step.
func (l *Loop) Begin() { l.since.Store(max(1, int64(time.Since(l.monitor.begun)))) }

// End marks its end: what waits for work is not stuck.
func (l *Loop) End() { l.since.Store(0) }

// Ping adds a loop that is asked every second, and answers within that time. An
// error is an answer too, and logged at debug level: whether things are well is
// the doctor's affair.
func (m *Monitor) Ping(name string, within time.Duration, ask func(context.Context) error) {
	l := m.Loop(name, within)
	m.mu.Lock()
	defer m.mu.Unlock()
	l.ask = ask
}

// Stuck is a loop that does not move.
type Stuck struct {
	Name string
	For  time.Duration
}

// String names it.
func (s Stuck) String() string { return fmt.Sprintf("%s for %v", s.Name, s.For.Round(time.Second)) }

// Stuck lists the loops that do not move, the longest first.
func (m *Monitor) Stuck() []Stuck {
	now := int64(time.Since(m.begun))
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []Stuck
	for _, l := range m.loops {
		since := l.since.Load()
		if busy := time.Duration(now - since); since != 0 && busy > l.within {
			out = append(out, Stuck{l.name, busy})
		}
	}
	slices.SortFunc(out, func(a, b Stuck) int { return cmp.Compare(b.For, a.For) })
	return out
}

// Names are the loops that are watched.
func (m *Monitor) Names() (out []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.loops {
		out = append(out, l.name)
	}
	return out
}

// Stats are the monitor's figures.
type Stats struct {
	// Loops are watched, Stuck of them do not move now.
	Loops, Stuck int
	// Stalls counts how often one was found stuck.
	Stalls uint64
}

// Stats returns the figures.
func (m *Monitor) Stats() Stats {
	return Stats{Loops: len(m.Names()), Stuck: len(m.Stuck()), Stalls: m.stalls.Load()}
}

// Run asks the loops, and logs those that get stuck or move again, until ctx
// ends. A question that is never answered does not keep it.
func (m *Monitor) Run(ctx context.Context) error {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		m.round(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

func (m *Monitor) round(ctx context.Context) {
	m.mu.Lock()
	loops := slices.Clone(m.loops)
	m.mu.Unlock()
	for _, l := range loops {
		if l.ask != nil && l.asking.CompareAndSwap(false, true) {
			l.Begin()
			// Not joined: one that hangs is what this is to find out. There
			// is one at most for each loop.
			go l.question(ctx)
		}
	}
	stuck := m.Stuck()
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, l := range m.loops {
		is := slices.ContainsFunc(stuck, func(s Stuck) bool { return s.Name == l.name })
		switch {
		case is && !l.told:
			m.stalls.Add(1)
			m.log.Error("a loop does not move: no supervisor gets a sign of life until it does", "loop", l.name, "within", l.within)
		case !is && l.told:
			m.log.Warn("a loop moves again", "loop", l.name)
		}
		l.told = is
	}
}

func (l *Loop) question(ctx context.Context) {
	defer l.asking.Store(false)
	if err := l.ask(ctx); err != nil {
		l.monitor.log.Debug("a loop answered with an error", "loop", l.name, "error", err)
	}
	l.End()
}

// Summary is what is stuck, in words.
func Summary(stuck []Stuck) string {
	words := make([]string, len(stuck))
	for i, s := range stuck {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}
