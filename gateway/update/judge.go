package update

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/function"
)

// Count is what became of some attempts.
type Count struct {
	Invocations uint64 `json:"invocations"`
	Failures    uint64 `json:"failures"`
	// Crashes are those of the failures in which the code itself broke: traps, no
	// fuel, stack or memory left, and those that took too long.
	Crashes uint64 `json:"crashes,omitempty"`
	// Timed are those whose time is in Busy: that spent inside the guest.
	Timed uint64        `json:"timed,omitempty"`
	Busy  time.Duration `json:"busy,omitempty"`
}

func (c Count) rate() float64 {
	if c.Invocations == 0 {
		return 0
	}
	return float64(c.Failures) / float64(c.Invocations)
}

// Mean is how long one attempt took.
func (c Count) Mean() time.Duration {
	if c.Timed == 0 {
		return 0
	}
	return c.Busy / time.Duration(c.Timed)
}

// What a new version may do worse before it is taken back.
const (
	// fewest failures say something; a failure now and then does not.
	fewest = 3
	// margin is by how much its part of failures may be above that of the
	// version before.
	margin = 0.05
	// hopeless is a part of failures that needs no sample to be judged by.
	hopeless = 0.5
	// noticeable is a delay that somebody would notice.
	noticeable = 10 * time.Millisecond
)

// worse says why a version is to be taken back; empty where it is not.
func worse(before, now Count, c *Canary) string {
	failing := now.Failures >= fewest && now.rate() > before.rate()+margin
	if failing && (now.Invocations >= uint64(c.Sample) || now.rate() > max(hopeless, 2*before.rate())) {
		return fmt.Sprintf("%d of %d events failed (%.1f %%), before it were %.1f %%", now.Failures, now.Invocations, 100*now.rate(), 100*before.rate())
	}
	sampled := now.Timed >= uint64(c.Sample) && before.Timed >= uint64(c.Sample)
	if slow := now.Mean() - before.Mean(); c.Slower > 0 && sampled && slow > noticeable && float64(now.Mean()) > c.Slower*float64(before.Mean()) {
		return fmt.Sprintf("an event takes %v, before it took %v", now.Mean().Round(time.Microsecond), before.Mean().Round(time.Microsecond))
	}
	return ""
}

// Crashed reports whether an attempt ended because the code itself broke.
func Crashed(o function.Outcome) bool {
	switch o {
	case function.Trapped, function.OutOfFuel, function.OutOfStack, function.OutOfMemory, function.TimedOut:
		return true
	}
	return false
}

// watch counts the attempts of two versions of a function, at one stage.
type watch struct {
	from, to  int
	stage     Stage
	old, next counter
}

type counter struct{ invocations, failures, crashes, busy atomic.Uint64 }

func (c *counter) add(outcome function.Outcome, d time.Duration) {
	c.invocations.Add(1)
	c.busy.Add(uint64(d))
	if outcome != function.OK {
		c.failures.Add(1)
	}
	if Crashed(outcome) {
		c.crashes.Add(1)
	}
}

// begin goes on from what an earlier run counted.
func (c *counter) begin(n *Count) {
	c.invocations.Store(n.Invocations)
	c.failures.Store(n.Failures)
	c.crashes.Store(n.Crashes)
	c.busy.Store(uint64(n.Busy))
}

func (c *counter) count() Count {
	n := c.invocations.Load()
	return Count{Invocations: n, Failures: c.failures.Load(), Crashes: c.crashes.Load(), Timed: n, Busy: time.Duration(c.busy.Load())}
}

// Observe counts an attempt. It is called for every one, and costs a load where
// nothing is being rolled out.
func (p *Pipeline) Observe(name string, version int, outcome function.Outcome, d time.Duration) {
	all := p.watched.Load()
	if all == nil || outcome == function.Refused { // it never ran
		return
	}
	w := (*all)[name]
	switch {
	case w == nil:
	case version == w.to:
		w.next.add(outcome, d)
	case version == w.from:
		w.old.add(outcome, d)
	}
}

// watchAll has the attempts of what is under way counted, on from what is known
// of its stage.
func (p *Pipeline) watchAll() {
	next := map[string]*watch{}
	before := p.watched.Load()
	for _, r := range p.all() {
		if r.Stage != InCanary && r.Stage != Watched {
			continue
		}
		name := r.Target.Function
		w := &watch{from: r.From, to: r.Version, stage: r.Stage}
		w.old.begin(&r.Side)
		w.next.begin(&r.New)
		if before != nil {
			if same := (*before)[name]; same != nil && same.stage == w.stage && same.from == w.from && same.to == w.to {
				w = same
			}
		}
		next[name] = w
	}
	if len(next) == 0 {
		p.watched.Store(nil)
		return
	}
	p.watched.Store(&next)
}

// keepEvery is how often the counts of what is under way are written down.
const keepEvery = time.Minute

// keepCounts writes down what was counted, now and then: a restart goes on from
// there.
func (p *Pipeline) keepCounts(ctx context.Context, r *Rollout, every time.Duration) error {
	all, at := p.watched.Load(), p.cfg.Clock.Steady()
	if all == nil || at.Sub(r.kept) < every {
		return nil
	}
	w := (*all)[r.Target.Function]
	if w == nil {
		return nil
	}
	side, now := w.old.count(), w.next.count()
	if side == r.Side && now == r.New {
		return nil
	}
	r.Side, r.New, r.kept = side, now, at
	return p.save(ctx, r)
}

// keepAll writes down what was counted of everything.
func (p *Pipeline) keepAll(ctx context.Context) {
	for _, r := range p.all() {
		if r.Stage != InCanary && r.Stage != Watched {
			continue
		}
		if err := p.keepCounts(ctx, r, 0); err != nil {
			p.cfg.Logger.Warn("the counts of an update are not kept", "function", r.Target.Function, "error", err)
		}
	}
}

// since is what a version did that is live: until it was so, and in this run
// after that.
func (p *Pipeline) since(r *Rollout) Count {
	out := r.New
	live, there := p.cfg.Functions.Live(r.Target.Function)
	if n := live.Before; there && live.Digest == r.Target.Digest && n.Invocations >= r.base.Invocations {
		out.Invocations += n.Invocations - r.base.Invocations
		out.Failures += n.Failures - r.base.Failures
		out.Crashes += n.Crashes - r.base.Crashes
		out.Timed += n.Timed - r.base.Timed
		out.Busy += n.Busy - r.base.Busy
	}
	return out
}

// counts are what the version before did, and what the new one did since it has
// the traffic that it has.
func (p *Pipeline) counts(r *Rollout) (before, now Count) {
	before = r.Before
	all := p.watched.Load()
	if all == nil {
		return before, now
	}
	w := (*all)[r.Target.Function]
	if w == nil {
		return before, now
	}
	// Side by side is the fairest comparison, where there is enough of it.
	if side := w.old.count(); side.Invocations >= uint64(p.cfg.Canary.Sample) {
		before = side
	}
	return before, w.next.count()
}
