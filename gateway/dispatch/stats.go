package dispatch

import (
	"time"

	"github.com/headgate-io/headgate/function"
)

// FunctionStats are one function's counters since the start, and what it has
// now.
type FunctionStats struct {
	Name    string
	Version int // 0 while it is not deployed
	// Invocations counts attempts, Errors those that failed, Outcomes all of
	// them by how they ended, ColdStarts those that an instance was made for.
	Invocations, Errors uint64
	Outcomes            [function.Outcomes]uint64
	ColdStarts          uint64
	// Busy is the time inside the guest.
	Busy time.Duration
	// Retries counts attempts to come, DeadLetters events given up, Expired
	// those of them whose age was over before their turn came.
	Retries, DeadLetters, Expired uint64
	// FailuresUnheard counts dead letters that on_failure did not tell of,
	// because the queue had no room or it would have told of itself.
	FailuresUnheard uint64
	// Conflicts and Rollbacks count reruns.
	Conflicts, Rollbacks uint64
	// VolatileDropped counts volatile events over a bound, RateDropped those of
	// them over the rate, RateWaits pauses of durable ones.
	VolatileDropped, RateDropped, RateWaits uint64
	// Pauses is how often it was paused because it kept failing, Paused
	// whether it is now.
	Pauses  uint64
	Paused  bool
	Breaker Breaker
	// Running is how many run now, Queued how many can run, Waiting how many
	// wait for their next attempt or for the end of their delay, Keys how many ordering keys are in use.
	Running, Queued, Waiting, Keys int
	// Workers is how many goroutines are idle.
	Workers int
}

// Stats are the dispatcher's counters.
type Stats struct {
	Functions []FunctionStats
	// Spilled counts events written to the queue, Refused those for which it
	// had no room, Duplicates those known by their id.
	Spilled, Refused, Duplicates uint64
	// UnsettledBytes is the data of events that are not on disk yet,
	// LoadedBytes that of queued events in memory.
	UnsettledBytes, LoadedBytes int64
}

// Stats returns the counters.
func (d *Dispatcher) Stats() Stats {
	s := Stats{
		Spilled: d.stats.spilled.Load(), Refused: d.stats.refused.Load(), Duplicates: d.stats.duplicates.Load(),
		UnsettledBytes: d.unsettled.Load(), LoadedBytes: d.loaded.Load(),
	}
	for _, f := range *d.functions.Load() {
		s.Functions = append(s.Functions, f.snapshot())
	}
	return s
}

func (f *fn) snapshot() FunctionStats {
	f.mu.Lock()
	defer f.mu.Unlock()
	fs := f.stats
	fs.Name = f.name
	if f.live != nil {
		fs.Version = f.live.Version
	}
	fs.Paused, fs.Breaker = f.pausedLocked(), f.breakerLocked()
	fs.Running, fs.Queued, fs.Keys, fs.Workers = f.running, f.keyed.n+f.free.n, len(f.lanes), len(f.idle)
	return fs
}

// FunctionStats returns the counters of one function; zero for one that is not
// known.
func (d *Dispatcher) FunctionStats(name string) FunctionStats {
	f := d.lookup(name)
	if f == nil {
		return FunctionStats{Name: name, Breaker: Breaker{State: BreakerClosed}}
	}
	return f.snapshot()
}
