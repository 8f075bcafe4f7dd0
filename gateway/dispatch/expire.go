package dispatch

import (
	"time"
)

// expireBatch is how many events of a function are given up for their age
// before its other work gets a turn.
const expireBatch = 64

// aged is a function's durable tasks in the order of their arrival, so that the
// oldest is found without looking at all. The function's mutex guards it.
type aged struct {
	oldest, newest *task
	// watched is true while a timer will look at the oldest, busy while a
	// goroutine gives up what is past its age.
	watched, busy bool
}

// ageLocked puts a durable task among those whose age is watched.
func (f *fn) ageLocked(t *task) {
	if t.kind != durable || t.aging {
		return
	}
	t.aging = true
	at := f.aged.newest
	switch {
	case f.aged.oldest != nil && f.aged.oldest.order > t.order:
		at = nil
	default:
		for at != nil && at.order > t.order {
			at = at.older
		}
	}
	t.older = at
	if at == nil {
		t.newer, f.aged.oldest = f.aged.oldest, t
	} else {
		t.newer, at.newer = at.newer, t
	}
	if t.newer == nil {
		f.aged.newest = t
	} else {
		t.newer.older = t
	}
	f.watchAgeLocked()
}

// unageLocked takes a task out again: it has settled, or left.
func (f *fn) unageLocked(t *task) {
	if !t.aging {
		return
	}
	if t.older != nil {
		t.older.newer = t.newer
	} else {
		f.aged.oldest = t.newer
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		f.aged.newest = t.older
	}
	t.aging, t.older, t.newer = false, nil, nil
}

// leftLocked is how long the task may still be tried.
func (f *fn) leftLocked(t *task) time.Duration {
	return f.live.Retry.MaxAge.Std() - f.d.cfg.Steady().Sub(t.row.Arrived)
}

// watchAgeLocked arranges to look at the oldest task when its time has come.
// There is one timer a function, whatever waits.
func (f *fn) watchAgeLocked() {
	if f.aged.watched || f.aged.busy || f.live == nil || f.aged.oldest == nil || f.d.stopping.Load() {
		return
	}
	f.aged.watched = true
	// What is past its age and still there runs, or is being settled.
	wait := max(f.leftLocked(f.aged.oldest), 250*time.Millisecond)
	f.d.clock.at(time.Now().Add(wait), func() {
		f.mu.Lock()
		f.aged.watched = false
		f.expireLocked()
		f.watchAgeLocked()
		f.mu.Unlock()
	})
}

// expireLocked starts to give up what is past its age.
func (f *fn) expireLocked() {
	if f.aged.busy || f.live == nil || f.d.stopping.Load() {
		return
	}
	if batch := f.expiredLocked(); len(batch) > 0 {
		f.aged.busy = true
		f.d.spawn(func() { f.giveUp(batch) })
	}
}

// expiredLocked takes a batch of the tasks that wait and are past their age.
// What runs now had its turn in time.
func (f *fn) expiredLocked() []*task {
	var batch []*task
	for t := f.aged.oldest; t != nil && len(batch) < expireBatch && f.leftLocked(t) <= 0; t = t.newer {
		switch {
		case !t.stored.Load():
			continue
		case t.list != nil:
			t.list.remove(t)
		case t.nap != 0:
			t.nap = 0
			f.stats.Waiting--
		default:
			continue
		}
		t.version = f.live
		f.live.refs++
		batch = append(batch, t)
	}
	return batch
}

// giveUp makes dead letters of tasks without a trial, a batch after the other.
func (f *fn) giveUp(batch []*task) {
	for len(batch) > 0 {
		done := 0
		for _, t := range batch {
			v := t.version
			if f.expire(t) {
				done++
			}
			f.mu.Lock()
			f.dropVersionLocked(v)
			f.mu.Unlock()
		}
		f.mu.Lock()
		f.kickLocked()
		// A disk that cannot be read is left alone for a while.
		if batch = nil; done > 0 && f.live != nil && !f.d.stopping.Load() {
			batch = f.expiredLocked()
		}
		f.aged.busy = len(batch) > 0
		f.mu.Unlock()
	}
	f.mu.Lock()
	f.watchAgeLocked()
	f.mu.Unlock()
}

// expire settles one task as past its age, unless its event cannot be read.
func (f *fn) expire(t *task) bool {
	if t.out == nil {
		t.out = new(outcome)
	}
	*t.out = outcome{}
	if t.reports() && t.ev == nil && !f.load(t) {
		return false // it is gone, or will be tried again later
	}
	*t.out = outcome{at: f.d.cfg.Now(), trust: f.d.cfg.Trust(), steady: f.d.cfg.Steady(), giveUp: reasonAge, untried: true}
	f.reportFailure(t)
	f.d.settle(t)
	return true
}
