package dispatch

import (
	"errors"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sync/usage"
)

const (
	// exclusiveAfter is how many conflicts a task may have before it runs
	// alone.
	exclusiveAfter = 2
	// maxConflicts makes one more conflict a failed attempt: something else
	// keeps writing what it reads.
	maxConflicts = 16
	// maxRollbacks is how often a task is run again because the disk failed.
	maxRollbacks = 5
)

// finish settles a decided task: as part of its arrival while that is open,
// else alone.
func (d *Dispatcher) finish(t *task) {
	if t.out.asked {
		d.conflict(t)
		return
	}
	// What failed because of what it saw was not an attempt.
	if !t.out.ok && t.call != nil && t.call.view.Stale() && t.conflicts < maxConflicts {
		d.conflict(t)
		return
	}
	if a := t.arr; a != nil && a.decided(t) {
		return
	}
	d.settle(t)
}

// conflict runs a task again; after two conflicts alone.
func (d *Dispatcher) conflict(t *task) {
	f := t.fn
	t.letGo()
	t.conflicts++
	f.mu.Lock()
	f.stats.Conflicts++
	if t.conflicts >= exclusiveAfter && f.exclusive == nil {
		f.exclusive = t
	}
	if t.free {
		t.free = false
		f.freeRun--
	}
	f.readyLocked(t)
	f.kickLocked()
	f.mu.Unlock()
}

// part adds a decided task to a unit.
func (t *task) part(u *store.Unit) {
	o := t.out
	if o.ok {
		o.effects = *t.call.Effects()
		u.Slots = append(u.Slots, store.Slot{View: t.call.view, Writes: o.effects.Stored()})
		u.Insert = append(u.Insert, o.rows...)
		u.Dead = append(u.Dead, o.dead...)
		if t.stored.Load() {
			u.Delete = append(u.Delete, &t.row)
		}
		t.plan(u)
		return
	}
	switch {
	case t.kind != durable:
	case o.giveUp != "":
		u.Insert = append(u.Insert, o.rows...)
		u.Dead = append(append(u.Dead, t.letter()), o.dead...)
		if t.stored.Load() {
			u.Delete = append(u.Delete, &t.row)
		}
		t.plan(u) // what tells of it
	default:
		t.row.Due, t.row.Error = o.due, clip(errorText(&o.result))
		t.row.Attempt++
		o.counted = true
		if t.stored.Load() {
			u.Update = append(u.Update, &t.row)
		} else {
			u.Insert = append(u.Insert, &t.row)
		}
	}
}

// plan adds to the unit what the task's publishes have to have on disk.
func (t *task) plan(u *store.Unit) {
	o := t.out
	joins := t.kind == durable || writes(u)
	for i := range o.effects.Publishes {
		p := &o.effects.Publishes[i]
		if p.QoS == 0 && !(p.Retain && joins) {
			continue
		}
		plan := t.fn.d.cfg.Outbox.Plan(p, joins)
		if plan == nil {
			continue
		}
		if o.plans == nil {
			o.plans = make([]*broker.Plan, len(o.effects.Publishes))
		}
		o.plans[i] = plan
		u.Deliveries = append(u.Deliveries, plan)
	}
}

// unpart takes back what part changed in the task.
func (t *task) unpart() {
	if t.out == nil {
		return
	}
	if t.out.counted {
		t.out.counted = false
		t.row.Attempt--
	}
	for _, p := range t.out.plans {
		if p != nil {
			p.Cancel()
		}
	}
	t.out.plans = nil
}

// settle seals a task alone.
func (d *Dispatcher) settle(t *task) {
	u := &store.Unit{}
	if a := t.arr; a != nil {
		a.mu.Lock()
		u.Gen = t.gen
		a.mu.Unlock()
	}
	t.part(u)
	if d.settleVolatile(t, u) {
		return
	}
	if writes(u) && !t.out.untried {
		u.Usage = append(u.Usage, t.usage())
	}
	u.Done = func(err error) { d.settled(t, err) }
	d.expectDelivery(t)
	fault.Reached(fault.Sealing)
	t.sealing.Lock()
	tk, err := d.cfg.Store.Seal(u)
	if err != nil {
		t.sealing.Unlock()
		d.undelivered(t)
		t.unpart()
		d.refused(t, err)
		return
	}
	fault.Reached(fault.Sealed)
	d.noteTicket(t, tk)
	d.sealed(t, len(u.Usage) > 0 || t.out.untried)
	t.sealing.Unlock()
	if !tk.Written {
		d.cfg.Store.AfterCommit(tk, u.Done)
	}
}

// settleVolatile ends what needs no seal: nothing was read, nothing durable is
// asked for, and no earlier publish of the function is on its way.
func (d *Dispatcher) settleVolatile(t *task, u *store.Unit) bool {
	if t.kind == durable || writes(u) || t.call.view.Touched() && t.out.ok {
		return false
	}
	f := t.fn
	if t.out.ok && len(t.out.effects.Publishes) > 0 {
		f.mu.Lock()
		pending, last := f.undelivered, f.last
		f.mu.Unlock()
		if pending > 0 {
			d.expectDelivery(t)
			d.sealed(t, false)
			// A rollback of what went before does not concern it.
			d.cfg.Store.AfterCommit(last, func(error) { d.settled(t, nil) })
			return true
		}
	}
	d.deliver(t)
	t.unstage()
	d.observe(t)
	t.answerNow(nil)
	f.mu.Lock()
	r := t.usage()
	f.meterLocked(&r)
	f.observeLocked(t)
	f.leaveLocked(t)
	f.mu.Unlock()
	t.putCall()
	d.recycle(t)
	return true
}

// writes reports whether the unit changes anything but usage.
func writes(u *store.Unit) bool {
	if len(u.Insert)+len(u.Update)+len(u.Delete)+len(u.Dead)+len(u.Deliveries) > 0 {
		return true
	}
	for i := range u.Slots {
		if len(u.Slots[i].Writes) > 0 {
			return true
		}
	}
	return false
}

// refused follows a seal that was not made.
func (d *Dispatcher) refused(t *task, err error) {
	var conflict *store.ConflictError
	var quota *store.QuotaError
	switch {
	case errors.As(err, &conflict) && t.conflicts < maxConflicts:
		d.conflict(t)
	case errors.Is(err, store.ErrClosed):
		d.abandon(t, ErrClosed)
	case errors.Is(err, store.ErrRolledBack):
		// A row that was taken back with its arrival is that one's to mend.
		if a := t.arr; a != nil && a.reclaim(t) {
			return
		}
		d.rolledBack(t)
	case errors.As(err, &quota) && t.unreport():
		d.settle(t)
	case errors.As(err, &quota), errors.As(err, &conflict):
		d.fail(t, err)
	default:
		d.log.Error("settle", "function", t.fn.name, "row", int64(t.row.ID), "error", err)
		d.fail(t, err)
	}
}

// fail turns a result that cannot be settled into a failed attempt.
func (d *Dispatcher) fail(t *task, err error) {
	if !t.out.ok {
		// Not even the failure can be noted: later.
		t.putCall()
		t.fn.later(t, time.Now().Add(time.Second))
		return
	}
	t.out.result.Outcome, t.out.result.Error = function.Failed, err.Error()
	t.fn.decideFailure(t)
	d.settle(t)
}

// sealed follows a seal: what waits for the key may run.
func (d *Dispatcher) sealed(t *task, metered bool) {
	f, o := t.fn, t.out
	if !o.untried {
		d.observe(t)
	}
	c := t.call
	if c != nil && o.ok {
		// The lists are the unit's now; the call must not reuse them.
		*c.Effects() = function.Effects{}
	}
	t.putCall()
	f.mu.Lock()
	if o.untried {
		f.stats.Expired++
	} else {
		f.observeLocked(t)
	}
	if !metered {
		r := t.usage()
		f.meterLocked(&r)
	}
	if o.ok && len(o.effects.Writes) > 0 {
		f.serial = true
	}
	if o.giveUp != "" && t.blocks() {
		o.blocked = true
		f.blockLocked(t.key)
	}
	switch {
	case !o.ok && o.giveUp == "" && t.kind == durable:
		// It keeps its key until the next attempt.
		t.stored.Store(true)
		f.leaveFreeLocked(t)
		f.stats.Retries++
		fault.Reached(fault.Retried)
	default:
		if o.giveUp != "" {
			f.stats.DeadLetters++
		}
		f.leaveLocked(t)
	}
	f.kickLocked()
	f.mu.Unlock()
}

// settled follows the commit of a task that was sealed alone, or its loss.
func (d *Dispatcher) settled(t *task, err error) {
	await(&t.sealing)
	if err != nil {
		d.undelivered(t)
		d.rolledBack(t)
		return
	}
	d.committed(t)
}

// committed lets out what a task asked for.
func (d *Dispatcher) committed(t *task) {
	o := t.out
	if t.kind == durable {
		d.loaded.Add(-t.bytes())
	}
	d.deliver(t)
	d.undelivered(t)
	t.unstage()
	for _, child := range o.started {
		d.adopt(child)
	}
	t.answerNow(nil)
	if !o.ok && o.giveUp == "" && t.kind == durable {
		d.loaded.Add(t.bytes())
		wake := o.wake
		t.arr, t.out = nil, nil
		t.fn.later(t, wake)
		return
	}
	d.recycle(t)
}

// deliver hands publishes to the outbox, and what they start without a
// promise to its functions.
func (d *Dispatcher) deliver(t *task) {
	t.moveActuators()
	o := t.out // of a failure only what tells of it
	for i := range o.effects.Publishes {
		var plan *broker.Plan
		if o.plans != nil {
			plan = o.plans[i]
		}
		if plan != nil {
			plan.Committed()
		}
		d.cfg.Outbox.Publish(t.ev, t.fn.name, o.effects.Publishes[i], plan)
	}
	o.plans = nil
	for _, child := range o.volatile {
		d.enqueueVolatile(child)
	}
}

// expectDelivery holds back later publishes of the function.
func (d *Dispatcher) expectDelivery(t *task) {
	if len(t.out.effects.Publishes) == 0 {
		return
	}
	t.fn.mu.Lock()
	t.fn.undelivered++
	t.fn.mu.Unlock()
}

func (d *Dispatcher) undelivered(t *task) {
	if len(t.out.effects.Publishes) == 0 {
		return
	}
	t.fn.mu.Lock()
	t.fn.undelivered--
	t.fn.mu.Unlock()
}

func (d *Dispatcher) noteTicket(t *task, tk store.Ticket) {
	if len(t.out.effects.Publishes) == 0 {
		return
	}
	t.fn.mu.Lock()
	if tk.Gen != t.fn.last.Gen || tk.Seq > t.fn.last.Seq {
		t.fn.last = tk
	}
	t.fn.mu.Unlock()
}

// rolledBack runs a task again whose commit failed.
func (d *Dispatcher) rolledBack(t *task) {
	t.unpart()
	t.letGo()
	blocked := t.out.blocked
	*t.out = outcome{}
	t.putCall()
	t.tries++
	if t.kind != durable && t.tries > maxRollbacks {
		d.abandon(t, store.ErrRolledBack)
		return
	}
	f := t.fn
	f.mu.Lock()
	f.stats.Rollbacks++
	f.leaveFreeLocked(t)
	f.readyLocked(t)
	if blocked {
		f.unblockLocked(t.key) // the dead letter was taken back
	}
	f.kickLocked()
	f.mu.Unlock()
}

func (f *fn) leaveFreeLocked(t *task) {
	if t.free {
		t.free = false
		f.freeRun--
	}
	if f.exclusive == t {
		f.exclusive = nil
	}
}

// abandon ends a task without a settle: the gateway is closing, or the disk is
// gone. A durable one is still on disk, or still its publisher's.
func (d *Dispatcher) abandon(t *task, err error) {
	t.unpart()
	t.unstage()
	t.letGo()
	t.putCall()
	t.fn.drop(t)
	t.answerNow(err)
}

func (t *task) usage() usage.Record {
	o := t.out
	r := usage.Record{
		Function: t.fn.name, Version: t.version.Version, At: o.at, Outcome: o.result.Outcome, Fuel: o.result.Fuel,
		Duration: o.result.Duration, MemoryBytes: o.result.MemoryBytes, ColdStart: o.result.ColdStart, Trust: o.trust,
		BytesIn: uint64(len(t.ev.Data)) + uint64(o.received), BytesOut: uint64(len(o.output)) + uint64(o.sent),
	}
	if !o.ok {
		return r
	}
	for i := range o.effects.Publishes {
		r.BytesOut += uint64(len(o.effects.Publishes[i].Payload))
	}
	for i := range o.effects.Invokes {
		r.BytesOut += uint64(len(o.effects.Invokes[i].Payload))
	}
	for i := range o.effects.Enqueues {
		r.BytesOut += uint64(len(o.effects.Enqueues[i].Payload))
	}
	for i := range o.effects.Writes {
		r.BytesWritten += uint64(len(o.effects.Writes[i].Key) + len(o.effects.Writes[i].Value))
	}
	for i := range o.effects.Objects {
		r.BytesWritten += uint64(o.effects.Objects[i].Object.Size)
	}
	return r
}

// observe tells the observer of an attempt.
func (d *Dispatcher) observe(t *task) {
	if d.cfg.Observer == nil {
		return
	}
	r := t.record()
	d.cfg.Observer.Invoked(&r)
}

// record is the attempt as observers and callers see it.
func (t *task) record() Record {
	o := t.out
	r := Record{
		Function: t.fn.name, Version: t.version.Version, EventID: t.ev.ID, Subject: t.ev.Subject,
		Attempt: t.row.Attempt + 1, Durable: t.kind == durable, At: o.at, Outcome: o.result.Outcome,
		Error: o.result.Error, Fuel: o.result.Fuel, Duration: o.result.Duration, MemoryBytes: o.result.MemoryBytes,
		ColdStart: o.result.ColdStart, FuelLimit: uint64(t.version.Limits.Fuel), Retry: o.retryAt, Dead: o.giveUp != "", Effects: &o.effects,
	}
	if o.counted {
		r.Attempt-- // the row counts it already
	}
	if t.call != nil {
		r.Logs, r.Metrics = t.call.Logs(), t.call.Metrics()
		if !o.ok {
			r.Effects = t.call.Effects()
		}
	}
	return r
}
