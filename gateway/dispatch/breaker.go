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
	reason   string
}

// pausedLocked reports whether the function may not run now.
func (f *fn) pausedLocked() bool {
	return !f.breaker.until.IsZero() && time.Now().Before(f.breaker.until)
}

// observeLocked keeps the function's counters, and pauses it when it keeps
// failing.
func (f *fn) observeLocked(t *task) {
	f.stats.Invocations++
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
	b.until, b.reason = time.Now().Add(b.pause), clip(errorText(&t.out.result))
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
