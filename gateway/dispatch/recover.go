package dispatch

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
)

// longestWait bounds the wait of a row that another clock has written.
const longestWait = 24 * time.Hour

// recover loads the queue's index; the events stay on disk until their turn.
func (d *Dispatcher) recover(ctx context.Context) error {
	blocked, err := d.cfg.Store.BlockedKeys(ctx)
	if err != nil {
		return err
	}
	for _, l := range blocked {
		f := d.function(l.Function)
		f.blockLocked(l.Key)
	}
	r := recovery{d: d, now: d.cfg.Steady()}
	if err := d.cfg.Store.QueuedRows(ctx, r.row); err != nil {
		return err
	}
	r.flush(nil)
	return nil
}

// recovery puts rows that are on disk back where they were.
type recovery struct {
	d   *Dispatcher
	now time.Time
	// due are rows of one function that were delayed and are due: they go
	// where their time says, between others that came meanwhile.
	due []*task
}

// row takes one row; they come by function and in order.
func (r *recovery) row(row *store.QueueRow) error {
	f := r.d.function(row.Function.Name())
	t := &task{fn: f, kind: durable, key: row.Key, row: *row}
	t.stored.Store(true)
	wait := row.Due.Sub(r.now)
	delayed := row.Attempt == 0 && !row.Due.IsZero()
	if len(r.due) > 0 && r.due[0].fn != f {
		r.flush(nil)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case delayed && wait > 0:
		f.napLocked(t, time.Now().Add(min(wait, MaxDelay)))
	case delayed:
		r.due = append(r.due, t)
	case row.Due.IsZero() || wait <= 0:
		r.flushLocked(t)
		f.enqueueLocked(t)
	default:
		r.flushLocked(t)
		f.restLocked(t, min(wait, longestWait))
	}
	return nil
}

// flush enqueues the delayed rows that were due before the next one came; nil
// is all of them.
func (r *recovery) flush(next *task) {
	if len(r.due) == 0 {
		return
	}
	f := r.due[0].fn
	f.mu.Lock()
	defer f.mu.Unlock()
	r.flushLocked(next)
}

func (r *recovery) flushLocked(next *task) {
	slices.SortStableFunc(r.due, func(a, b *task) int { return cmp.Compare(a.row.Due.UnixMilli(), b.row.Due.UnixMilli()) })
	n := 0
	for _, t := range r.due {
		if next != nil && t.row.Due.After(next.row.Arrived) {
			break
		}
		t.fn.enqueueLocked(t)
		n++
	}
	r.due = slices.Delete(r.due, 0, n)
}

// restLocked lets a row wait that was tried before. It heads its key, if it has
// one.
func (f *fn) restLocked(t *task, wait time.Duration) {
	if t.key != "" {
		l := f.lanes[t.key]
		if l == nil {
			l = &lane{key: t.key}
			f.lanes[t.key] = l
		}
		if l.active != nil || l.blocks > 0 {
			f.enqueueLocked(t)
			return
		}
		t.lane, l.active = l, t
	}
	f.order++
	t.order = f.order
	f.ageLocked(t)
	f.napLocked(t, time.Now().Add(wait))
}
