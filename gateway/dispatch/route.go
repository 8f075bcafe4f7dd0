package dispatch

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
)

// route finds what the effects of a task start: queue rows for durable
// triggers and invokes, which are part of the same unit, and volatile tasks
// that follow the commit.
func (f *fn) route(t *task, e *function.Effects) error {
	o := t.out
	o.rows, o.started, o.volatile, o.dead = nil, nil, nil, nil
	if len(e.Enqueues) > 0 {
		return fmt.Errorf("enqueue %s: no function of this gateway takes from that queue", e.Enqueues[0].Queue)
	}
	n := 0
	for i := range e.Publishes {
		p := &e.Publishes[i]
		matches := f.d.cfg.Router.Match(&trigger.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS}, nil)
		if len(matches) == 0 {
			continue
		}
		n++
		ev := t.caused(n, event.TypeMQTT, p.Topic, p.Payload)
		for j := range matches {
			f.start(t, ev, &matches[j])
		}
	}
	for i := range e.Invokes {
		in := &e.Invokes[i]
		target := f.d.lookup(in.Function)
		if target == nil || !target.deployed() {
			return fmt.Errorf("invoke %s: %w: deploy it first", in.Function, ErrNotDeployed)
		}
		n++
		ev := t.caused(n, event.TypeInvoke, in.Function, in.Payload)
		f.start(t, ev, &trigger.Match{Function: in.Function, Durable: true})
	}
	return nil
}

// caused is the n-th event that a task's effects, or its failure, cause.
func (t *task) caused(n int, kind, subject string, data []byte) *event.Event {
	e := &event.Event{
		ID: t.ev.ID + "/" + strconv.Itoa(n), Source: "/functions/" + t.fn.name, Type: kind, Subject: subject,
		Time: t.out.at, Trust: t.out.trust, Data: data, Hops: t.ev.Hops + 1, Retained: t.ev.Retained,
	}
	if t.out.giveUp != "" {
		e.ID = t.ev.ID + "/failed/" + t.fn.name
		e.Extensions = t.failedChain()
	}
	return e
}

func (f *fn) start(t *task, ev *event.Event, m *trigger.Match) {
	target := f.d.lookup(m.Function)
	if target == nil {
		return
	}
	o := t.out
	if o.giveUp != "" && t.failedBefore(m.Function) {
		return // a function hears neither of its own failure nor of what that led to
	}
	now := f.d.cfg.Steady()
	if ev.Hops > event.MaxHops {
		o.dead = append(o.dead, &store.DeadLetter{
			Function: target.name, Version: m.Version, Key: m.Key, Arrived: now, Died: now, Reason: reasonHops,
			Error: fmt.Sprintf("a chain of more than %d events: functions start each other in a loop", event.MaxHops),
			Event: ev, Params: storedParams(m.Params),
		})
		return
	}
	if !m.Durable {
		o.volatile = append(o.volatile, &task{fn: target, kind: volatile, ev: ev, params: m.Params, key: m.Key})
		return
	}
	child := &task{fn: target, kind: durable, ev: ev, params: m.Params, key: m.Key}
	child.stored.Store(true)
	child.setRow(target.ref.NextID(), now)
	o.rows = append(o.rows, &child.row)
	o.started = append(o.started, child)
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
