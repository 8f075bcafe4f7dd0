package dispatch

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sandbox/host"
)

// call is the host side of one invocation, with its view of the state.
type call struct {
	host.Calls
	view *store.View
	task *task
	// muted is true of a rehearsal, which moves nothing.
	muted bool
	// listener is nil for an invocation that nobody records.
	listener Listener
}

// state is the view, listened to where the invocation is recorded.
func (c *call) state() host.State {
	if c.listener != nil {
		return c.listener.Listen(c.view)
	}
	return c.view
}

// worker runs the tasks of one function, one after the other.
type worker struct {
	f     *fn
	wake  chan *task // nil ends it
	since time.Time  // idle since
}

// kickLocked starts what can run.
func (f *fn) kickLocked() {
	for {
		t := f.nextLocked()
		if t == nil {
			return
		}
		if n := len(f.idle); n > 0 {
			w := f.idle[n-1]
			f.idle = f.idle[:n-1]
			w.wake <- t
			continue
		}
		w := &worker{f: f, wake: make(chan *task, 1)}
		f.d.workers.Add(1)
		go w.loop(t)
	}
}

func (w *worker) loop(t *task) {
	defer w.f.d.workers.Done()
	for t != nil {
		w.run(t)
		f := w.f
		f.mu.Lock()
		if t = f.nextLocked(); t == nil {
			if f.d.stopping.Load() {
				f.mu.Unlock()
				return
			}
			w.since = time.Now()
			f.idle = append(f.idle, w)
			f.mu.Unlock()
			t = <-w.wake
			continue
		}
		f.mu.Unlock()
	}
}

// trimIdle ends workers that have been idle since before.
func (f *fn) trimIdle(before time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := f.idle[:0]
	for _, w := range f.idle {
		if w.since.Before(before) {
			w.wake <- nil
			continue
		}
		kept = append(kept, w)
	}
	clear(f.idle[len(kept):])
	f.idle = kept
	if len(f.idle) == 0 && f.running == 0 {
		f.calls = nil
	}
}

// run makes one attempt and settles it.
func (w *worker) run(t *task) {
	f := w.f
	v := t.version
	defer func() {
		f.mu.Lock()
		f.running--
		f.dropVersionLocked(v)
		if f.exclusive != nil || f.running == 0 {
			f.kickLocked()
		}
		f.mu.Unlock()
	}()
	if v == nil {
		f.d.abandon(t, fmt.Errorf("invoke %s@%d: %w", f.name, t.wanted, ErrNotDeployed))
		return
	}
	if t.ev == nil && !f.load(t) {
		return
	}
	c := t.call
	if c == nil || c.Grant() != v.Grant {
		if c == nil {
			c = f.takeCall()
			t.call = c
		}
		c.view.Reset()
		c.task = t
		if c.listener = nil; f.d.cfg.Recorder != nil {
			c.listener = f.d.cfg.Recorder.Listener(f.name, v.Version)
		}
		c.Reset(v.Grant, host.Invocation{
			Input: t.ev.Data, Meta: t, State: c.state(), Blobs: c.blobs(), Actuators: c.actuators(), Now: f.d.cfg.Now, Recorded: c.listener != nil,
		})
	} else {
		c.view.Reset()
		c.Rewind(c.state())
	}
	if t.out == nil {
		t.out = new(outcome)
	}
	*t.out = outcome{result: v.Pool.Invoke(f.d.ctx, &c.Calls), at: f.d.cfg.Now(), trust: f.d.cfg.Trust()}
	t.out.sent, t.out.received = c.Fetched()
	if c.listener != nil {
		c.listener.Cut(t.ev, t, &c.Calls, &t.out.result)
	}
	fault.Reached(fault.Invoked)
	f.decide(t)
	f.d.finish(t)
}

// load reads the event of a task that is on disk alone.
func (f *fn) load(t *task) bool {
	ev, params, err := f.d.cfg.Store.LoadEvent(context.Background(), t.row.ID)
	switch {
	case err == nil:
		t.ev, t.params = ev, loadedParams(params)
		t.row.Event, t.row.Params = ev, params
		f.d.loaded.Add(t.bytes())
		return true
	case errors.Is(err, store.ErrNotFound):
		f.d.log.Error("queued event is gone", "function", f.name, "row", int64(t.row.ID))
		f.drop(t)
	default:
		f.d.log.Error("queued event cannot be read, trying again later", "function", f.name, "row", int64(t.row.ID), "error", err)
		f.later(t, time.Now().Add(5*time.Second))
	}
	return false
}

// drop forgets a task.
func (f *fn) drop(t *task) {
	f.mu.Lock()
	f.leaveLocked(t)
	f.kickLocked()
	f.mu.Unlock()
}

// later runs a task again at the given time; until then it holds its key.
func (f *fn) later(t *task, at time.Time) {
	f.mu.Lock()
	f.leaveFreeLocked(t)
	f.napLocked(t, at)
	f.kickLocked()
	f.mu.Unlock()
}

// napLocked lets a task rest until the given time.
func (f *fn) napLocked(t *task, at time.Time) {
	f.naps++
	nap := f.naps
	t.nap = nap
	f.stats.Waiting++
	f.d.clock.at(at, func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if t.nap != nap {
			return // given up meanwhile
		}
		t.nap = 0
		f.stats.Waiting--
		f.readyLocked(t)
		f.kickLocked()
	})
}

func (f *fn) takeCall() *call {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := len(f.calls); n > 0 {
		c := f.calls[n-1]
		f.calls = f.calls[:n-1]
		return c
	}
	return &call{view: f.d.cfg.Store.View()}
}

// putCall gives back the call of a task whose effects nobody needs any more.
func (t *task) putCall() {
	c := t.call
	if c == nil {
		return
	}
	t.call, c.task = nil, nil
	c.view.Reset()
	c.ForgetFetched()
	f := t.fn
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.calls) < 16 {
		f.calls = append(f.calls, c)
		return
	}
	c.view.Release()
}

// decide turns the result into an outcome: what to settle, or what follows
// the failure.
func (f *fn) decide(t *task) {
	o, c := t.out, t.call
	if t.kind == reply {
		o.logs = append([]function.LogLine(nil), c.Logs()...)
	}
	if o.result.Outcome == function.OK {
		err := t.place(c.Effects())
		if err == nil {
			err = f.route(t, c.Effects())
		}
		if err == nil {
			var holds bool
			if holds, err = t.reserve(); !holds {
				o.asked = true
				return
			}
		}
		if err != nil {
			o.result.Outcome, o.result.Error = function.Failed, err.Error()
		}
	}
	if o.result.Outcome != function.OK {
		f.decideFailure(t)
		return
	}
	o.ok = true
	if t.kind == reply {
		o.output = append([]byte(nil), c.Output()...)
		o.attrs = append([]host.Attribute(nil), c.OutputMeta()...)
	}
}

// decideFailure says what follows a failed attempt.
func (f *fn) decideFailure(t *task) {
	o := t.out
	t.letGo()
	o.ok, o.retryAt, o.giveUp = false, time.Time{}, ""
	o.effects, o.starts = function.Effects{}, starts{}
	if t.kind != durable {
		return
	}
	o.steady = f.d.cfg.Steady()
	retry := t.version.Retry
	attempt := t.row.Attempt + 1
	switch {
	case attempt >= max(retry.Attempts, 1):
		o.giveUp = reasonAttempts
	case o.steady.Sub(t.row.Arrived) >= retry.MaxAge.Std():
		o.giveUp = reasonAge
	default:
		wait := backoff(retry, attempt)
		o.retryAt, o.due, o.wake = o.at.Add(wait), o.steady.Add(wait), time.Now().Add(wait)
	}
	f.reportFailure(t)
}

// Why an event is given up.
const (
	reasonAttempts = "attempts"
	reasonAge      = "max_age"
	reasonHops     = "hops"
)

// letter is the dead letter of a task that is given up.
func (t *task) letter() *store.DeadLetter {
	o := t.out
	l := &store.DeadLetter{
		Function: t.fn.name, Version: t.version.Version, Key: t.key, Attempt: t.attempts(),
		Arrived: t.row.Arrived, Died: o.steady, Reason: o.giveUp, Error: t.lastError(), Blocks: t.blocks(),
	}
	if t.ev == nil {
		l.Row = &t.row // moved on the disk, without being read
	} else {
		l.Event, l.Params = t.ev, storedParams(t.params)
	}
	return l
}

// attempts is how many were made, the one that is being settled included.
func (t *task) attempts() int {
	if t.out.untried {
		return t.row.Attempt
	}
	return t.row.Attempt + 1
}

// lastError is what the last attempt ended with.
func (t *task) lastError() string {
	switch {
	case !t.out.untried:
		return clip(errorText(&t.out.result))
	case t.row.Error != "":
		return t.row.Error
	}
	return fmt.Sprintf("it waited longer than retry.max_age, %v, for its first attempt", t.version.Retry.MaxAge)
}

func errorText(r *function.Result) string {
	if r.Error == "" {
		return r.Outcome.String()
	}
	return fmt.Sprintf("%s: %s", r.Outcome, r.Error)
}

// clip bounds error texts that are stored.
func clip(s string) string {
	const most = 1024
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
