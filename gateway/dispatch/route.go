package dispatch

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
)

// cause is what events come from inside the gateway: an invocation, the
// failure of one, or an operator's hand. It collects what they start.
type cause struct {
	d *Dispatcher
	// id is what the ids of its events begin with, source where they come from.
	id, source string
	at         time.Time
	trust      event.Trust
	hops       int // of its events
	retained   bool
	extensions map[string]string
	// of is the task whose age its events tell; nil where nothing is old.
	of *task
	// failed, where set, is the task whose failure it is: what that task's
	// event came of is not started by it.
	failed *task
	n      int // events so far

	starts
}

// starts is what effects start: the queue rows of functions with a promise, with
// their tasks, what is a dead letter at once, and volatile tasks that follow
// the commit.
type starts struct {
	rows     []*store.QueueRow
	started  []*task
	volatile []*task
	dead     []*store.DeadLetter
}

// cause is the task's invocation, or its failure once it is given up.
func (t *task) cause() cause {
	c := cause{
		d: t.fn.d, id: t.ev.ID, source: t.fn.source, at: t.out.at, trust: t.out.trust, hops: t.ev.Hops + 1, retained: t.ev.Retained, of: t,
	}
	if t.out.giveUp != "" {
		c.id, c.extensions, c.failed = t.ev.ID+"/failed/"+t.fn.name, t.failedChain(), t
	}
	return c
}

// route finds what the effects of a task start, which is part of the same
// unit.
func (f *fn) route(t *task, e *function.Effects) error {
	t.out.starts = starts{}
	if e.Empty() {
		return nil
	}
	c := t.cause()
	var v *store.View
	if t.call != nil {
		v = t.call.view
	}
	if err := c.route(v, e); err != nil {
		return err
	}
	t.out.starts = c.starts
	return nil
}

// route finds what effects start. The view is what they were decided on.
func (c *cause) route(v *store.View, e *function.Effects) error {
	for i := range e.Publishes {
		p := &e.Publishes[i]
		matches := c.d.cfg.Router.Match(&trigger.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Source: c.source}, nil)
		if len(matches) > 0 {
			c.startAll(c.event(event.TypeMQTT, p.Topic, p.Payload), matches, 0)
		}
	}
	for i := range e.Invokes {
		in := &e.Invokes[i]
		target := c.d.lookup(in.Function)
		if target == nil || !target.deployed() {
			return fmt.Errorf("invoke %s: %w: deploy it first", in.Function, ErrNotDeployed)
		}
		c.start(c.event(event.TypeInvoke, in.Function, in.Payload), &trigger.Match{Function: in.Function, Durable: true}, 0)
	}
	for i := range e.Enqueues {
		if err := c.enqueue(&e.Enqueues[i]); err != nil {
			return err
		}
	}
	if err := c.objects(v, e); err != nil {
		return err
	}
	return c.changes(v, e.Writes)
}

// ErrNoTaker is returned for a queue that no function takes from.
var ErrNoTaker = errors.New("no function of this gateway takes from that queue")

// MaxDelay is the longest delay of a queue's message.
const MaxDelay = 366 * 24 * time.Hour

// enqueue starts what takes from a queue.
func (c *cause) enqueue(q *function.Enqueue) error {
	if q.Delay < 0 || q.Delay > MaxDelay {
		return fmt.Errorf("enqueue %s: a delay of %v is outside 0 to %v", q.Queue, q.Delay, MaxDelay)
	}
	if !c.d.cfg.Router.Any(trigger.Queue, q.Queue) {
		return fmt.Errorf("enqueue %s: %w", q.Queue, ErrNoTaker)
	}
	c.match(trigger.Queue, q.Queue, c.event(event.TypeQueue, q.Queue, q.Payload), q.Delay)
	return nil
}

// match starts what an event of a kind other than MQTT is for.
func (c *cause) match(kind trigger.Kind, subject string, ev *event.Event, delay time.Duration) {
	m := trigger.Message{Kind: kind, Topic: subject, Payload: ev.Data, QoS: 1, Event: ev}
	c.startAll(ev, c.d.cfg.Router.Match(&m, nil), delay)
}

func (c *cause) startAll(ev *event.Event, matches []trigger.Match, delay time.Duration) {
	for i := range matches {
		c.start(ev, &matches[i], delay)
	}
}

// event is the next event that the cause makes. A failure's own has no number.
func (c *cause) event(kind, subject string, data []byte) *event.Event {
	c.n++
	id := c.id
	if c.failed == nil || c.n > 1 {
		id += "/" + strconv.Itoa(c.n)
	}
	return &event.Event{
		ID: id, Source: c.source, Type: kind, Subject: subject, Time: c.at, Trust: c.trust, Data: data,
		Hops: c.hops, Retained: c.retained, Extensions: c.tellAge(),
	}
}

// start starts one function, after the delay.
func (c *cause) start(ev *event.Event, m *trigger.Match, delay time.Duration) {
	if c.failed != nil && c.failed.failedBefore(m.Function) {
		return // a function hears neither of its own failure nor of what that led to
	}
	now := c.d.cfg.Steady()
	// A function that is matched but not set yet gets its events later.
	target := c.d.function(m.Function)
	if ev.Hops > event.MaxHops {
		c.dead = append(c.dead, &store.DeadLetter{
			Function: target.name, Version: m.Version, Key: m.Key, Arrived: now, Died: now, Reason: reasonHops,
			Error: fmt.Sprintf("a chain of more than %d events: functions start each other in a loop", event.MaxHops),
			Event: ev, Params: storedParams(m.Params),
		})
		return
	}
	if !m.Durable {
		c.volatile = append(c.volatile, &task{fn: target, kind: volatile, ev: ev, params: m.Params, key: m.Key})
		return
	}
	child := &task{fn: target, kind: durable, ev: ev, params: m.Params, key: m.Key}
	child.stored.Store(true)
	// What is delayed arrives when it is due: its age counts from then.
	child.setRow(target.ref.NextID(), now.Add(delay))
	if delay > 0 {
		child.row.Due = child.row.Arrived
	}
	c.rows = append(c.rows, &child.row)
	c.started = append(c.started, child)
}

// setRow prepares the task's place in the queue.
func (t *task) setRow(id store.RowID, arrived time.Time) {
	t.row = store.QueueRow{ID: id, Function: t.fn.ref, Key: t.key, Arrived: arrived, Event: t.ev, Params: storedParams(t.params)}
}

// backoff is the wait after the given attempt: doubling, capped, and between
// half and all of that, so that what failed together is not retried together.
func backoff(r function.Retry, attempt int) time.Duration {
	d := time.Duration(r.Backoff)
	for range min(attempt-1, 40) {
		if d *= 2; d >= time.Duration(r.MaxBackoff) {
			break
		}
	}
	d = min(d, time.Duration(r.MaxBackoff))
	if d <= 1 {
		return d
	}
	return d/2 + rand.N(d/2)
}
