package dispatch

import (
	"context"
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// Redrive puts the dead letters that the query selects at the tails of their
// functions' queues, in order, and lets their keys go on. It returns how many;
// what dies again meanwhile is left. After an error those counted are done.
func (d *Dispatcher) Redrive(ctx context.Context, q store.DeadLetterQuery) (n int, err error) {
	return d.eachLetter(ctx, q, "redrive", func(ctx context.Context, q store.DeadLetterQuery) ([]store.LetterKey, error) {
		moved, err := d.cfg.Store.RedriveDeadLetters(ctx, q)
		keys := make([]store.LetterKey, len(moved))
		for i := range moved {
			keys[i] = moved[i].LetterKey
			r := moved[i].Row
			t := &task{fn: d.function(r.Function.Name()), kind: durable, key: r.Key, ev: r.Event, params: loadedParams(r.Params), row: *r}
			t.stored.Store(true)
			d.adopt(t)
		}
		return keys, err
	})
}

// DropDeadLetters deletes the dead letters that the query selects and lets
// their keys go on. It returns how many.
func (d *Dispatcher) DropDeadLetters(ctx context.Context, q store.DeadLetterQuery) (n int, err error) {
	return d.eachLetter(ctx, q, "drop", d.cfg.Store.DropDeadLetters)
}

// eachLetter goes through what the query selects now, a batch at a time. A
// caller who leaves ends it between two batches, never within one: what has
// moved on disk must be known here.
func (d *Dispatcher) eachLetter(ctx context.Context, q store.DeadLetterQuery, what string, batch func(context.Context, store.DeadLetterQuery) ([]store.LetterKey, error)) (n int, err error) {
	if q.UpTo, _, err = d.cfg.Store.LastDeadLetter(ctx, q); err != nil {
		return 0, err
	}
	if q.UpTo == 0 && q.ID != 0 {
		return 0, fmt.Errorf("%s dead letter %d: %w", what, q.ID, store.ErrNotFound)
	}
	for q.UpTo > 0 && ctx.Err() == nil {
		keys, err := batch(context.WithoutCancel(ctx), q)
		d.unblock(keys)
		n += len(keys)
		if err != nil {
			return n, err
		}
		if len(keys) == 0 {
			return n, nil
		}
		q.After = keys[len(keys)-1].ID
	}
	return n, ctx.Err()
}

// unblock lets keys go on whose dead letters have left.
func (d *Dispatcher) unblock(letters []store.LetterKey) {
	for i := range letters {
		if l := &letters[i]; l.Blocks {
			f := d.function(l.Function)
			f.mu.Lock()
			f.unblockLocked(l.Key)
			f.kickLocked()
			f.mu.Unlock()
		}
	}
}

// blockLocked makes a key wait for one more dead letter.
func (f *fn) blockLocked(key string) {
	l := f.lanes[key]
	if l == nil {
		l = &lane{key: key}
		f.lanes[key] = l
	}
	l.blocks++
}

// unblockLocked lets a key go on once no dead letter holds it any more.
func (f *fn) unblockLocked(key string) {
	l := f.lanes[key]
	if l == nil || l.blocks == 0 {
		return
	}
	if l.blocks--; l.blocks == 0 && l.active == nil {
		f.advanceLocked(l)
	}
}

// blocks reports whether the task's dead letter makes its key wait.
func (t *task) blocks() bool {
	return t.key != "" && t.version.Retry.ThenKey == function.ThenBlock
}
