package dispatch

import (
	"errors"
	"sync"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// arrival is a durable event until its unit has committed: what its publisher
// waits for.
type arrival struct {
	d      *Dispatcher
	ev     *event.Event
	rel    Releaser
	in     *broker.InboundRecord
	dedupe store.DedupeKey
	timer  *store.TimerAdvance
	plan   *broker.Plan

	// sealing is as in task.
	sealing sync.Mutex

	mu       sync.Mutex
	phase    phase
	tasks    []*task
	left     int // tasks without an outcome
	tries    int
	deadline time.Time

	// In the clock's list of arrivals, by deadline; guarded by the clock.
	prev, next *arrival
	listed     bool
}

// phase is how far an arrival is.
type phase uint8

const (
	open    phase = iota // collecting outcomes
	sealing              // its unit is being sealed
	sealed               // sealed; what was not decided has a row
	closed               // refused
)

// decided takes a task's outcome. It reports false when the task must settle
// alone, because its row is sealed already.
func (a *arrival) decided(t *task) bool {
	a.mu.Lock()
	switch {
	case t.state == discarded:
		a.mu.Unlock()
		a.d.abandon(t, nil)
		return true
	case a.phase == sealing:
		t.state = parked
		a.mu.Unlock()
		return true
	case a.phase == sealed:
		a.mu.Unlock()
		return false
	}
	t.state = decided
	a.left--
	ready := a.left == 0
	if ready {
		a.phase = sealing
	}
	a.mu.Unlock()
	if ready {
		a.seal()
	}
	return true
}

// spill seals the arrival with what is decided; the rest gets queue rows.
func (a *arrival) spill() {
	a.mu.Lock()
	if a.phase != open {
		a.mu.Unlock()
		return
	}
	a.phase = sealing
	a.mu.Unlock()
	a.seal()
}

// seal seals the unit. The caller has set the phase to sealing, which gives it
// the decided tasks.
func (a *arrival) seal() {
	a.d.clock.unlist(a)
	for {
		u, done := a.unit()
		fault.Reached(fault.Sealing)
		a.sealing.Lock()
		tk, err := a.d.cfg.Store.Seal(u)
		if err == nil {
			fault.Reached(fault.Sealed)
			a.accept(tk, done)
			a.sealing.Unlock()
			return
		}
		a.sealing.Unlock()
		for _, t := range done {
			a.d.undelivered(t)
			t.unpart()
		}
		if a.amend(done, err) {
			return
		}
	}
}

// unit collects what is sealed: the outcomes so far, and rows for the rest.
func (a *arrival) unit() (*store.Unit, []*task) {
	u := &store.Unit{Inbound: a.in, Dedupe: a.dedupe, Done: a.committed, Patience: a.d.cfg.RefuseAfter}
	if a.timer != nil {
		u.Timers = []store.TimerAdvance{*a.timer}
	}
	var done []*task
	a.mu.Lock()
	for _, t := range a.tasks {
		if t.state == decided {
			done = append(done, t)
		} else {
			u.Insert = append(u.Insert, &t.row)
		}
	}
	a.mu.Unlock()
	if a.plan != nil {
		u.Deliveries = append(u.Deliveries, a.plan)
	}
	for _, t := range done {
		t.part(u)
		u.Usage = append(u.Usage, t.usage())
		a.d.expectDelivery(t)
	}
	return u, done
}

// accept follows the seal.
func (a *arrival) accept(tk store.Ticket, done []*task) {
	for _, t := range done {
		a.d.noteTicket(t, tk)
	}
	a.mu.Lock()
	a.phase = sealed
	var late []*task
	for _, t := range a.tasks {
		switch t.state {
		case parked:
			t.state = waiting
			late = append(late, t)
			fallthrough
		case waiting:
			t.stored.Store(true)
			t.gen = tk.Gen
			a.d.stats.spilled.Add(1)
			fault.Reached(fault.Spilled)
		}
	}
	a.mu.Unlock()
	for _, t := range done {
		a.d.sealed(t, true)
	}
	for _, t := range late {
		if t.rerun {
			t.rerun = false
			a.d.conflict(t)
			continue
		}
		a.d.spawn(func() { a.d.settle(t) })
	}
}

// amend changes the arrival after a seal that was refused; it reports false
// when the seal is to be made again at once.
func (a *arrival) amend(done []*task, err error) bool {
	var conflict *store.ConflictError
	var quota *store.QuotaError
	switch {
	case errors.As(err, &conflict):
		return a.conflicted(slotTask(done, conflict.Slot))
	case errors.As(err, &quota) && quota.Slot >= 0:
		t := slotTask(done, quota.Slot)
		t.out.result.Outcome, t.out.result.Error = failedOutcome, err.Error()
		t.fn.decideFailure(t)
		return false
	case errors.As(err, &quota):
		for _, t := range done {
			if t.unreport() {
				return false
			}
		}
		a.close(broker.QuotaExceeded)
	case errors.Is(err, store.ErrUnavailable):
		// Its publisher has it still, and may try again or turn elsewhere.
		a.close(broker.QuotaExceeded)
	case errors.Is(err, store.ErrDuplicate):
		a.duplicate()
	case errors.Is(err, store.ErrClosed):
		a.close(broker.ServerShuttingDown)
	default:
		if !errors.Is(err, store.ErrRolledBack) {
			a.d.log.Error("settle", "event_id", a.ev.ID, "error", err)
		}
		a.reset()
	}
	return true
}

// slotTask finds the task of a slot: only outcomes that are ok have one.
func slotTask(done []*task, slot int) *task {
	for _, t := range done {
		if t.out.ok {
			if slot == 0 {
				return t
			}
			slot--
		}
	}
	return done[0]
}

// conflicted runs a task again. Alone, and with time left, it stays a part of
// the arrival; else it gets a row, so that it holds nobody up.
func (a *arrival) conflicted(t *task) bool {
	a.mu.Lock()
	alone := len(a.tasks) == 1 && time.Now().Before(a.deadline)
	t.state = waiting
	if !alone {
		// Its rerun waits until the row is there.
		t.state = parked
		t.rerun = true
		a.mu.Unlock()
		return false
	}
	a.left++
	a.phase = open
	a.mu.Unlock()
	a.d.clock.list(a)
	a.d.conflict(t)
	return true
}

// await waits until the sealer is done with its part.
func await(sealing *sync.Mutex) {
	sealing.Lock()
	defer sealing.Unlock()
}

// committed follows the commit of the unit, or its loss.
func (a *arrival) committed(err error) {
	await(&a.sealing)
	if err != nil {
		a.mu.Lock()
		for _, t := range a.tasks {
			if t.state == decided {
				a.d.undelivered(t)
			}
		}
		a.mu.Unlock()
		a.reset()
		return
	}
	if a.plan != nil {
		a.plan.Committed()
	}
	if a.rel != nil {
		a.rel.Release(broker.Success)
	}
	a.d.unsettled.Add(-a.bytes())
	a.mu.Lock()
	var done, rest, again []*task
	for _, t := range a.tasks {
		if t.state == decided {
			done = append(done, t)
			continue
		}
		t.gen = 0
		rest = append(rest, t)
		if t.state == orphaned {
			// What it had read was taken back, its row was not.
			t.state = waiting
			again = append(again, t)
		}
	}
	a.mu.Unlock()
	for _, t := range again {
		a.d.rolledBack(t)
	}
	for _, t := range done {
		a.d.loaded.Add(t.bytes())
		a.d.committed(t)
	}
	for _, t := range rest {
		a.d.loaded.Add(int64(len(a.ev.Data)) + 256)
		t.fn.unload(t)
	}
}

func (a *arrival) bytes() int64 { return int64(len(a.ev.Data)) + 512 }

// reset opens the arrival again after its unit was taken back: everything it
// had decided runs again.
func (a *arrival) reset() {
	a.mu.Lock()
	if a.tries++; a.tries > maxRollbacks {
		a.mu.Unlock()
		a.close(broker.UnspecifiedError)
		return
	}
	a.phase, a.left = open, len(a.tasks)
	var again []*task
	for _, t := range a.tasks {
		t.stored.Store(false)
		t.gen = 0
		if t.state != waiting {
			t.state = waiting
			again = append(again, t)
		}
	}
	a.deadline = time.Now().Add(a.d.cfg.SpillAfter)
	a.mu.Unlock()
	// Not here and now: this may be the committer, for which a seal would wait.
	a.d.clock.list(a)
	for _, t := range again {
		a.d.rolledBack(t)
	}
}

// reclaim takes a task whose seal failed because the row it builds on was
// taken back. It reports false when the row is safe.
func (a *arrival) reclaim(t *task) bool {
	a.mu.Lock()
	if t.gen == 0 && a.phase == sealed {
		a.mu.Unlock()
		return false
	}
	if a.phase == open {
		// The arrival has been reset already, as if t were still running.
		a.mu.Unlock()
		a.d.rolledBack(t)
		return true
	}
	t.state = orphaned
	a.mu.Unlock()
	return true
}

// duplicate ends the arrival of an event that is known: its publisher is
// answered when the first one has committed.
func (a *arrival) duplicate() {
	seq, _ := a.d.cfg.Store.Seen(a.dedupe)
	_, gen := a.d.cfg.Store.Sealed()
	rel := a.rel
	a.rel = nil
	a.close(broker.Success)
	a.d.stats.duplicates.Add(1)
	if rel != nil {
		a.d.releaseAfter(rel, store.Ticket{Seq: seq, Gen: gen})
	}
}

// close refuses the event: nothing of it was done, and its publisher is told.
func (a *arrival) close(code broker.ReasonCode) {
	a.mu.Lock()
	a.phase = closed
	tasks := a.tasks
	a.tasks = nil
	states := make([]state, len(tasks))
	for i, t := range tasks {
		states[i], t.state = t.state, discarded
	}
	a.mu.Unlock()
	a.d.clock.unlist(a)
	for i, t := range tasks {
		f := t.fn
		f.mu.Lock()
		waits := f.withdrawLocked(t)
		f.kickLocked()
		f.mu.Unlock()
		if !waits && states[i] != waiting {
			a.d.abandon(t, nil) // it had an outcome; a running one comes by decided
		}
	}
	a.d.unsettled.Add(-a.bytes())
	if code == broker.QuotaExceeded {
		a.d.stats.refused.Add(1)
	}
	if a.rel != nil {
		a.rel.Release(code)
	}
}
