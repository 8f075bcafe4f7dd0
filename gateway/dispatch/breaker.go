package dispatch

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/function"
)

// A function that fails this often in a row is paused: first for firstPause,
// then after every further failure for twice as long, up to maxPause. Durable
// events wait on disk meanwhile, volatile ones are dropped. One success, or a
// new version, ends it.
const (
	breakAfter = 32
	firstPause = time.Second
	maxPause   = time.Minute
)

// breaker is the circuit breaker of one function, guarded by its mutex.
type breaker struct {
	failures int
	pause    time.Duration
	until    time.Time
	since    time.Time // first pause
	reason   string
}

// BreakerState says whether a function may run.
type BreakerState string

// The states of a circuit breaker.
const (
	// BreakerClosed lets events through.
	BreakerClosed BreakerState = "closed"
	// BreakerOpen lets none through until the next trial.
	BreakerOpen BreakerState = "open"
	// BreakerTrial lets one through at a time; its end decides.
	BreakerTrial BreakerState = "trial"
)

// Breaker is a function's circuit breaker for eyes.
type Breaker struct {
	State BreakerState
	// Failures counts those in a row.
	Failures int
	// Since is when it opened, NextTrial when it lets an event through again;
	// both are zero while it is closed.
	Since, NextTrial time.Time
	// Reason is what the last failure before the pause was.
	Reason string
}

// breakerLocked is the breaker as others see it.
func (f *fn) breakerLocked() Breaker {
	b := Breaker{State: BreakerClosed, Failures: f.breaker.failures}
	if f.breaker.until.IsZero() {
		return b
	}
	b.Since, b.NextTrial, b.Reason = f.breaker.since, f.breaker.until, f.breaker.reason
	if b.State = BreakerTrial; f.pausedLocked() {
		b.State = BreakerOpen
	}
	return b
}

// pausedLocked reports whether the function may not run now.
func (f *fn) pausedLocked() bool {
	return !f.breaker.until.IsZero() && time.Now().Before(f.breaker.until)
}

// observeLocked keeps the function's counters, and pauses it when it keeps
// failing.
func (f *fn) observeLocked(t *task) {
	f.stats.Invocations++
	f.stats.Busy += t.out.result.Duration
	f.stats.Outcomes[min(t.out.result.Outcome, function.Refused)]++
	if t.out.result.ColdStart {
		f.stats.ColdStarts++
	}
	if t.out.result.Outcome == function.OK {
		f.breaker = breaker{}
		return
	}
	f.stats.Errors++
	b := &f.breaker
	if b.failures++; t.kind == reply || b.failures < breakAfter || f.pausedLocked() {
		return
	}
	b.pause = min(max(2*b.pause, firstPause), maxPause)
	now := time.Now()
	if b.since.IsZero() {
		b.since = now
	}
	b.until, b.reason = now.Add(b.pause), clip(errorText(&t.out.result))
	f.stats.Pauses++
	f.d.log.Warn("function keeps failing and is paused", "function", f.name, "failures", b.failures, "pause", b.pause, "error", b.reason)
	f.d.clock.at(b.until.Add(time.Millisecond), func() {
		f.mu.Lock()
		f.kickLocked()
		f.mu.Unlock()
	})
}

// pausedError says until when and why the function does not run.
func (f *fn) pausedErrorLocked() error {
	return fmt.Errorf("%w for %v after %d failures in a row, the last: %s", ErrPaused,
		time.Until(f.breaker.until).Round(time.Second), f.breaker.failures, f.breaker.reason)
}
