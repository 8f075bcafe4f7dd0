package dispatch

import (
	"context"
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// Apply does what effects ask for by an operator's hand, outside any
// invocation, and returns once it has committed: writes and enqueues, with the
// functions that they start. The id names the act, source who did it; events
// that come of it have ids that begin with the one and come from the other.
func (d *Dispatcher) Apply(ctx context.Context, id, source string, e function.Effects) error {
	return d.Decide(ctx, id, source, func(*store.View) (function.Effects, error) { return e, nil })
}

// Decide does what Apply does with effects that are decided on what a view
// shows; what was read of it still holds when they commit. decide is called
// again when it does not.
func (d *Dispatcher) Decide(ctx context.Context, id, source string, decide func(v *store.View) (function.Effects, error)) error {
	v := d.cfg.Store.View()
	defer v.Release()
	for try := 0; ; try++ {
		if d.stopping.Load() {
			return ErrClosed
		}
		v.Reset()
		e, err := decide(v)
		if err == nil {
			err = d.apply(ctx, id, source, v, &e)
		}
		var conflict *store.ConflictError
		var quota *store.QuotaError
		again := errors.As(err, &conflict) || errors.Is(err, store.ErrRolledBack) ||
			errors.As(err, &quota) && quota.What == "bucket" && try == 0 // another took the room that was made
		if !again || try >= maxConflicts || ctx.Err() != nil {
			return err
		}
	}
}

// apply makes one attempt.
func (d *Dispatcher) apply(ctx context.Context, id, source string, v *store.View, e *function.Effects) error {
	c := &cause{d: d, id: id, source: source, at: d.cfg.Now(), trust: d.cfg.Trust()}
	if err := c.route(v, e); err != nil {
		return err
	}
	committed := make(chan error, 1)
	u := &store.Unit{
		Slots:  []store.Slot{{View: v, Writes: e.Stored()}},
		Insert: c.rows, Dead: c.dead, Patience: d.cfg.RefuseAfter,
		Done: func(err error) {
			if err == nil { // in the order of the commits, and whether or not somebody still waits
				for _, t := range c.started {
					d.adopt(t)
				}
			}
			committed <- err
		},
	}
	tk, err := d.cfg.Store.Seal(u)
	if err != nil {
		return err
	}
	if !tk.Written {
		d.cfg.Store.AfterCommit(tk, u.Done)
	}
	select {
	case err := <-committed:
		if err != nil {
			return fmt.Errorf("not kept: %w", err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
