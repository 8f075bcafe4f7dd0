package dispatch

import (
	"context"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Arrival is an event as it comes from outside.
type Arrival struct {
	// Event must not be changed any more.
	Event *event.Event
	// Matches are the functions it starts.
	Matches []trigger.Match
	// Inbound is the packet's duplicate record, nil for none. It is not
	// written for a QoS 1 event that starts no durable function: there is
	// nothing a second delivery could do twice.
	Inbound *broker.InboundRecord
	// Dedupe is the event's CloudEvents identity; zero for none.
	Dedupe store.DedupeKey
	// Plan is what the message's subscribers are to get; nil for nothing. It
	// goes into the event's unit and is then marked as committed. Where the
	// event has no unit that is left to whoever is released.
	Plan *broker.Plan
	// Timer, of a durable timer's event, advances the timer in the event's own
	// unit; nil for others.
	Timer *store.TimerAdvance
	// Release, which may be nil, is told once: Success when the event is
	// safe, QuotaExceeded when there is no room for it, another code when
	// nothing of it was kept.
	Release Releaser
}

// Submit takes an event. It never blocks; the event runs as soon as its
// functions have room and its key's turn comes.
func (d *Dispatcher) Submit(in Arrival) {
	if d.stopping.Load() {
		if in.Release != nil {
			in.Release.Release(broker.ServerShuttingDown)
		}
		return
	}
	durables := 0
	for i := range in.Matches {
		if in.Matches[i].Durable {
			durables++
		}
	}
	if (in.Dedupe != store.DedupeKey{}) && d.known(&in) {
		return
	}
	record := in.Inbound != nil && (in.Inbound.QoS == 2 || durables > 0)
	switch {
	case durables > 0 || record || in.Timer != nil:
		if !record {
			in.Inbound = nil
		}
		d.arrive(&in, durables)
	case in.Release != nil:
		in.Release.Release(broker.Success)
	}
	for i := range in.Matches {
		m := &in.Matches[i]
		if m.Durable {
			continue
		}
		if f := d.lookup(m.Function); f != nil {
			t := d.newTask()
			t.fn, t.kind, t.ev, t.params, t.key = f, volatile, in.Event, m.Params, m.Key
			d.enqueueVolatile(t)
		}
	}
}

// known answers for an event whose id was seen before.
func (d *Dispatcher) known(in *Arrival) bool {
	seq, seen := d.cfg.Store.Seen(in.Dedupe)
	if !seen || fault.On(fault.NoDuplicateCheck) {
		return false
	}
	d.stats.duplicates.Add(1)
	if in.Release != nil {
		_, gen := d.cfg.Store.Sealed()
		d.releaseAfter(in.Release, store.Ticket{Seq: seq, Gen: gen})
	}
	return true
}

// releaseAfter answers a publisher once the ticket has committed.
func (d *Dispatcher) releaseAfter(rel Releaser, tk store.Ticket) {
	d.cfg.Store.AfterCommit(tk, func(err error) {
		if err != nil {
			rel.Release(broker.UnspecifiedError)
			return
		}
		rel.Release(broker.Success)
	})
}

// arrive starts a durable event.
func (d *Dispatcher) arrive(in *Arrival, durables int) {
	a := &arrival{d: d, ev: in.Event, rel: in.Release, in: in.Inbound, dedupe: in.Dedupe, timer: in.Timer, plan: in.Plan, left: durables}
	now := time.Now()
	a.deadline = now.Add(d.cfg.SpillAfter)
	arrived := d.cfg.Steady()
	for i := range in.Matches {
		m := &in.Matches[i]
		if !m.Durable {
			continue
		}
		// A function that is matched but not set yet gets its events later.
		f := d.function(m.Function)
		t := &task{fn: f, kind: durable, ev: in.Event, params: m.Params, key: m.Key, arr: a}
		t.setRow(f.ref.NextID(), arrived)
		a.tasks = append(a.tasks, t)
	}
	if d.unsettled.Add(a.bytes()) > d.cfg.MemoryBytes {
		a.deadline = now
	}
	if a.left == 0 {
		a.phase = sealing
		a.seal()
		return
	}
	tasks := a.tasks // a's own, once the clock knows it
	d.clock.list(a)
	ahead := false
	var before []*arrival
	for _, t := range tasks {
		f := t.fn
		f.mu.Lock()
		f.enqueueLocked(t)
		if l := t.lane; l != nil && l.active != t && (l.blocks > 0 || l.active != nil && l.active.stored.Load()) {
			// The head is on disk already: so must be what comes after it, and
			// first what came before.
			ahead = true
			for o := l.wait.head; o != nil && o != t; o = o.next {
				if o.arr != nil && !o.stored.Load() {
					before = append(before, o.arr)
				}
			}
		}
		f.kickLocked()
		f.mu.Unlock()
	}
	if ahead {
		d.clock.hurry(append(before, a))
	}
}

// enqueueVolatile queues an event that may be dropped.
func (d *Dispatcher) enqueueVolatile(t *task) {
	f := t.fn
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.live == nil || f.pausedLocked() || f.live.Limits.Rate > 0 && !f.volatileTokenLocked() {
		f.stats.VolatileDropped++
		d.recycle(t)
		return
	}
	f.enqueueLocked(t)
	f.dropOldestLocked()
	f.kickLocked()
}

// volatileTokenLocked spends one start of the rate, or says that there is
// none.
func (f *fn) volatileTokenLocked() bool {
	set := f.rateSet
	f.rateSet = true // no timer: the event does not wait
	ok := f.takeTokenLocked()
	f.rateSet = set
	if !ok {
		f.stats.RateDropped++
	}
	return ok
}

// adopt queues the task of a committed row. One that is not due yet rests: it
// neither holds its key nor keeps its event in memory.
func (d *Dispatcher) adopt(t *task) {
	f := t.fn
	if !t.row.Due.IsZero() {
		if wait := t.row.Due.Sub(d.cfg.Steady()); wait > 0 {
			t.forget()
			f.mu.Lock()
			f.napLocked(t, time.Now().Add(wait))
			f.mu.Unlock()
			return
		}
	}
	d.loaded.Add(t.bytes())
	f.mu.Lock()
	f.enqueueLocked(t)
	f.kickLocked()
	f.mu.Unlock()
	f.unload(t)
}

// unload leaves the event of a waiting task to the disk when too many are in
// memory.
func (f *fn) unload(t *task) {
	if f.d.loaded.Load() <= f.d.cfg.MemoryBytes {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.list == nil || t.ev == nil || t.call != nil {
		return
	}
	f.d.loaded.Add(-t.bytes())
	t.forget()
}

// forget leaves the event of a stored task to the disk.
func (t *task) forget() {
	t.ev, t.row.Event, t.row.Params, t.params = nil, nil, nil, trigger.Params{}
}

// Reply is what a function answered to Invoke.
type Reply struct {
	Result     function.Result
	Output     []byte
	Attributes []host.Attribute
	Version    int
	// Logs are what it logged.
	Logs []function.LogLine
	// Record is the attempt.
	Record Record
}

// Invoke runs a function on an event and waits for its result, which is
// returned after the commit of its effects. A function that fails is no error:
// the Result says so; nothing is retried. The errors are ErrNotDeployed,
// ErrPaused, ErrBusy, ErrClosed, store.ErrRolledBack and those of ctx, after which the
// invocation may still run.
func (d *Dispatcher) Invoke(ctx context.Context, name string, ev *event.Event, params trigger.Params) (Reply, error) {
	return d.invoke(ctx, name, 0, ev, params, false)
}

// Request is Invoke for callers from outside, who are held to the function's
// rate: beyond it the error is a *RateError.
func (d *Dispatcher) Request(ctx context.Context, name string, ev *event.Event, params trigger.Params) (Reply, error) {
	return d.invoke(ctx, name, 0, ev, params, true)
}

// RateError is a call over the function's rate.
type RateError struct {
	// Wait is how long it takes until a call may start.
	Wait time.Duration
}

// Error says how long to wait.
func (e *RateError) Error() string {
	return fmt.Sprintf("over the function's rate: try again in %v", e.Wait.Round(time.Millisecond))
}

// InvokeVersion is Invoke of one of the versions that SetTraffic named; 0 is
// the one that traffic falls to.
func (d *Dispatcher) InvokeVersion(ctx context.Context, name string, number int, ev *event.Event, params trigger.Params) (Reply, error) {
	return d.invoke(ctx, name, number, ev, params, false)
}

func (d *Dispatcher) invoke(ctx context.Context, name string, number int, ev *event.Event, params trigger.Params, limited bool) (Reply, error) {
	f := d.lookup(name)
	if f == nil || !f.deployed() {
		return Reply{}, fmt.Errorf("invoke %s: %w", name, ErrNotDeployed)
	}
	if d.stopping.Load() {
		return Reply{}, fmt.Errorf("invoke %s: %w", name, ErrClosed)
	}
	type answer struct {
		reply Reply
		err   error
	}
	done := make(chan answer, 1)
	t := &task{fn: f, kind: reply, ev: ev, params: params, wanted: number}
	t.answer = func(r Reply, err error) { done <- answer{r, err} }
	f.mu.Lock()
	if f.pausedLocked() {
		err := f.pausedErrorLocked()
		f.mu.Unlock()
		return Reply{}, fmt.Errorf("invoke %s: %w", name, err)
	}
	if f.free.n >= d.cfg.MaxVolatile {
		f.mu.Unlock()
		return Reply{}, fmt.Errorf("invoke %s: %w", name, ErrBusy)
	}
	if limited && f.live != nil && f.live.Limits.Rate > 0 && !f.volatileTokenLocked() {
		wait := time.Duration((1 - f.tokens) / float64(f.live.Limits.Rate) * float64(time.Second))
		f.mu.Unlock()
		return Reply{}, fmt.Errorf("invoke %s: %w", name, &RateError{wait})
	}
	f.enqueueLocked(t)
	f.kickLocked()
	f.mu.Unlock()
	select {
	case a := <-done:
		return a.reply, a.err
	case <-d.ctx.Done():
	case <-ctx.Done():
	}
	f.mu.Lock()
	f.withdrawLocked(t)
	f.mu.Unlock()
	select {
	case a := <-done:
		return a.reply, a.err
	default:
	}
	if err := ctx.Err(); err != nil {
		return Reply{}, fmt.Errorf("invoke %s: %w", name, err)
	}
	return Reply{}, fmt.Errorf("invoke %s: %w", name, ErrClosed)
}

// answerNow tells who waits for the result.
func (t *task) answerNow(err error) {
	if t.answer == nil {
		return
	}
	answer := t.answer
	t.answer = nil
	var r Reply
	if o := t.out; o != nil {
		r = Reply{Result: o.result, Output: o.output, Attributes: o.attrs, Logs: o.logs}
		r.Result.Output = r.Output
	}
	if t.version != nil && t.out != nil {
		r.Version, r.Record = t.version.Version, t.record()
		r.Record.Logs = r.Logs
	}
	answer(r, err)
}
