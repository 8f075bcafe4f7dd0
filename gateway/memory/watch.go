package memory

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

// Level is how scarce memory is.
type Level int32

// The levels, each with what is done at it.
const (
	Plenty Level = iota
	// Tight frees what can be had again: idle instances, caches, freed pages
	// that the runtime still holds.
	Tight
	// Full lets nobody new in: connections and events are refused until there
	// is room.
	Full
)

// String names the level.
func (l Level) String() string { return [...]string{"plenty", "tight", "full"}[l] }

// Watch compares what the process takes with its budget.
type Watch struct {
	limit    Limit
	resident func() (int64, error)
	relieve  func()
	log      *slog.Logger

	level             atomic.Int32
	taken, peak       atomic.Int64
	reliefs, refusals atomic.Uint64
	lastRelief        time.Time
}

// NewWatch makes a watch. relieve frees what can be had again; it is called
// from Run.
func NewWatch(l Limit, resident func() (int64, error), relieve func(), log *slog.Logger) *Watch {
	return &Watch{limit: l, resident: resident, relieve: relieve, log: log}
}

const (
	lookEvery = 100 * time.Millisecond
	// reliefEvery bounds how often everything idle is thrown out.
	reliefEvery = 2 * time.Second

	tightAt, plentyBelow = 80, 75 // percent
	fullAt, roomBelow    = 92, 88
)

// Run watches until ctx ends.
func (w *Watch) Run(ctx context.Context) error {
	w.look(time.Now())
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			w.look(time.Now())
		}
	}
}

func (w *Watch) look(now time.Time) {
	n, err := w.resident()
	if err != nil {
		return // it will be tried again
	}
	w.taken.Store(n)
	w.peak.Store(max(w.peak.Load(), n))
	was := Level(w.level.Load())
	level := w.next(was, n*100/w.limit.Bytes)
	w.level.Store(int32(level))
	if level != was {
		w.tell(was, level, n)
	}
	if level > Plenty && now.Sub(w.lastRelief) >= reliefEvery {
		w.lastRelief = now
		w.reliefs.Add(1)
		w.relieve()
	}
}

// next is the level at a percentage of the budget, with some distance between
// the way up and the way down.
func (w *Watch) next(was Level, percent int64) Level {
	switch {
	case percent >= fullAt, was == Full && percent >= roomBelow:
		return Full
	case percent >= tightAt, was >= Tight && percent >= plentyBelow:
		return Tight
	}
	return Plenty
}

func (w *Watch) tell(was, is Level, n int64) {
	switch {
	case is == Full:
		w.log.Warn("memory is full: connections and events are refused until there is room", "resident_bytes", n, "budget_bytes", w.limit.Bytes)
	case is == Tight && was == Plenty:
		w.log.Info("memory is tight: idle instances and caches go", "resident_bytes", n, "budget_bytes", w.limit.Bytes)
	default:
		w.log.Info("there is memory again", "level", is.String(), "resident_bytes", n)
	}
}

// Level is how scarce memory is now.
func (w *Watch) Level() Level { return Level(w.level.Load()) }

// Admit reports whether somebody new may come in, and counts who may not.
func (w *Watch) Admit() bool {
	if Level(w.level.Load()) < Full {
		return true
	}
	w.refusals.Add(1)
	return false
}

// Stats are the watch's figures.
type Stats struct {
	// BudgetBytes is the most that the gateway wants to take, ResidentBytes
	// what it takes, PeakBytes the most it took.
	BudgetBytes, ResidentBytes, PeakBytes int64
	// Level is 0 for plenty, 1 for tight, 2 for full.
	Level int
	// Reliefs counts how often idle things were thrown out, Refusals
	// connections and events that were refused.
	Reliefs, Refusals uint64
}

// Stats returns them.
func (w *Watch) Stats() Stats {
	return Stats{
		BudgetBytes: w.limit.Bytes, ResidentBytes: w.taken.Load(), PeakBytes: w.peak.Load(), Level: int(w.Level()),
		Reliefs: w.reliefs.Load(), Refusals: w.refusals.Load(),
	}
}

// Limit is the budget and where it is from.
func (w *Watch) Limit() Limit { return w.limit }
