package broker

import (
	"errors"
	"sync"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Inbound is one message that a client published and that its handler has not
// released yet. Only Release may be called on it from several goroutines.
type Inbound struct {
	// Message is what was published. It is immutable.
	Message Message
	// Client and User are the publisher.
	Client string
	User   string
	// Will is true for a last will: its publisher is gone.
	Will bool
	// Stored is true for a retained message that another broker had stored: it
	// is not published now, only made known.
	Stored bool
	// Record is what has to be durable together with the event's effects. It
	// is nil for QoS 0, for wills, and on sessions that end with their
	// connection.
	Record *InboundRecord
	// Plan is what durable subscribers are to get, and what is retained; nil
	// when nothing of that has to be on disk. A handler that commits something
	// for the message puts the plan into the same commit and calls Committed
	// on it before Release. Otherwise Release commits it before the
	// acknowledgement.
	Plan *Plan

	session  *session
	conn     *conn // gets the acknowledgement; guarded by lane.mu
	id       uint16
	hash     uint64
	size     int
	slot     *ringSlot
	record   InboundRecord
	released bool // guarded by lane.mu, as storing is
	storing  bool // released, but its plan is not on disk yet
	acked    bool // by the seeded fault
	echo     bool // only acknowledges: a duplicate, or refused before the handler
	code     ReasonCode
	own      *own // of what no packet brought
}

// own is what the broker itself brings in: a will, or what a resident publishes.
// It is apart, because every message of a client pays for the fields of Inbound.
type own struct {
	will *will
	done func(ReasonCode)
}

// Release ends the handler's part: with Success the message is routed to the
// subscribers and then acknowledged; with another code it is not routed, and a
// version 5 publisher gets the code in its PUBACK or PUBREC. A 3.1.1 publisher
// gets no answer, and after a few of these its connection closes, so that it
// retries.
//
// Messages of one session are routed and acknowledged in the order in which
// they arrived: one that is released early waits for those before it. Release
// may be called from any goroutine, and never waits for a socket. Calls after
// the first do nothing.
func (in *Inbound) Release(code ReasonCode) {
	l := in.session.lane
	l.mu.Lock()
	if in.released || in.storing {
		l.mu.Unlock()
		return
	}
	in.code = code
	if p := in.Plan; p != nil && (code.Failed() || !p.stored.Load()) {
		in.storing = true
		l.plans = append(l.plans, in)
	} else {
		in.released = true
	}
	l.proceed(in.session.srv, in)
}

// proceed drains the lane after in has changed, unless somebody is at it or
// nothing is to be done. The caller holds mu, which proceed gives up.
func (l *lane) proceed(s *Server, in *Inbound) {
	if l.draining || l.first() != in && !in.storing {
		l.mu.Unlock()
		return
	}
	l.draining = true
	r := s.borrow()
	l.drain(r)
	r.giveBack()
}

// settlePlan stores the plan of a released message, or gives it up.
func (in *Inbound) settlePlan(r *routing) {
	if in.code.Failed() {
		in.Plan.cancel(r)
		in.planSettled(in.code)
		return
	}
	in.Plan.store(r, func(err error) {
		code := in.code
		switch {
		case errors.Is(err, ErrRefused):
			code = QuotaExceeded
		case err != nil:
			code = UnspecifiedError
		}
		in.planSettled(code)
	})
}

func (in *Inbound) planSettled(code ReasonCode) {
	l := in.session.lane
	l.mu.Lock()
	in.code, in.released, in.storing = code, true, false
	l.proceed(in.session.srv, in)
}

// lane is the queue of what a client has published, in order of arrival. It
// outlives connections, and sessions too while it is not empty, so that the
// order holds across both.
type lane struct {
	mu       sync.Mutex // before output.mu; never held while routing
	queue    []*Inbound
	plans    []*Inbound // released ones whose plans are to be stored, or given up
	head     int
	bytes    int
	draining bool          // one goroutine at a time works on the queue's head
	room     chan struct{} // capacity 1: something left the queue
	orphan   func()        // called once it is empty, when its session has ended
}

func newLane() *lane { return &lane{room: make(chan struct{}, 1)} }

func (l *lane) len() int { return len(l.queue) - l.head }

func (l *lane) first() *Inbound {
	if l.head == len(l.queue) {
		return nil
	}
	return l.queue[l.head]
}

func (l *lane) push(in *Inbound) {
	if l.head > 64 && l.head > len(l.queue)/2 {
		n := copy(l.queue, l.queue[l.head:])
		clear(l.queue[n:])
		l.queue, l.head = l.queue[:n], 0
	}
	in.size = in.Message.size()
	l.bytes += in.size
	in.session.srv.count.pendingBytes.Add(int64(in.size))
	l.queue = append(l.queue, in)
}

func (l *lane) pop() {
	in := l.queue[l.head]
	l.queue[l.head] = nil
	if l.head++; l.head == len(l.queue) {
		l.queue, l.head = l.queue[:0], 0
		if cap(l.queue) > 256 {
			l.queue = nil
		}
	}
	l.bytes -= in.size
	in.session.srv.count.pendingBytes.Add(-int64(in.size))
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// drain finishes the released messages at the head. The caller holds mu and has
// set draining; drain gives both up.
func (l *lane) drain(r *routing) {
	for {
		if plans := l.plans; len(plans) > 0 {
			l.plans = nil
			l.mu.Unlock()
			for _, in := range plans {
				in.settlePlan(r)
			}
			l.mu.Lock()
			continue
		}
		in := l.first()
		if in == nil || !in.released {
			break
		}
		l.mu.Unlock()
		in.route(r, true)
		if in.own != nil && in.own.will != nil {
			in.session.willIsOut(in.own.will)
		}
		l.mu.Lock()
		in.finish(r)
		l.pop()
	}
	l.draining = false
	orphan := l.orphan
	empty := l.first() == nil
	l.mu.Unlock()
	if empty && orphan != nil {
		orphan()
	}
}

// route delivers a released message. owned is false when its bytes are only
// lent.
func (in *Inbound) route(r *routing, owned bool) {
	if in.echo || in.code.Failed() {
		return
	}
	if p := in.Plan; p != nil {
		r.route(in.session.srv, p.Message, in.Client, true, p)
		return
	}
	r.route(in.session.srv, &in.Message, in.Client, owned, nil)
}

// finish acknowledges a released message and moves its packet id on. The
// caller holds the lane's mutex.
func (in *Inbound) finish(r *routing) {
	s := in.session
	if in.id == 0 { // QoS 0, a will or a resident's: no packet waits
		if in.code.Failed() {
			s.srv.count.refusedMessages.Add(1)
		}
		if in.own != nil && in.own.done != nil {
			in.own.done(in.code)
		}
		return
	}
	if s.inbox.open[in.id] == in {
		delete(s.inbox.open, in.id)
	}
	if in.code.Failed() {
		in.refuse(r)
		return
	}
	if in.Message.QoS == 2 {
		if !in.echo {
			s.inbox.exactly[in.id] = &exactly{hash: in.hash, conn: in.conn}
		}
		in.answer(r, packets.Pubrec) // [MQTT-4.3.3-8]; the id stays in use until PUBREL
		return
	}
	in.answer(r, packets.Puback)
	in.settled()
}

func (in *Inbound) answer(r *routing, kind byte) {
	if in.conn != nil && !in.acked {
		in.conn.ack(r, kind, in.id, in.code)
		fault.Reached(fault.Answered)
	}
}

// settled gives the publisher its place in the receive maximum back.
func (in *Inbound) settled() {
	if in.conn != nil {
		in.conn.unacked--
	}
}

func (in *Inbound) refuse(r *routing) {
	s := in.session
	if !in.echo {
		s.srv.count.refusedMessages.Add(1)
	}
	if in.slot != nil {
		in.slot.forget()
	}
	if in.conn == nil {
		return
	}
	if in.conn.version == 5 {
		kind := packets.Puback
		if in.Message.QoS == 2 {
			kind = packets.Pubrec // with a failure it ends the exchange [MQTT-4.3.3-9]
		}
		in.conn.ack(r, kind, in.id, in.code)
		in.settled()
		return
	}
	in.conn.refusedOne()
}

// refusedOne counts a message that a 3.1.1 client will get no answer for. It
// does not resend on a living connection: closing it makes it retry.
func (c *conn) refusedOne() {
	c.refused++
	c.unacked--
	switch {
	case c.refused >= c.srv.cfg.RefusedLimit:
		c.kick(QuotaExceeded)
	case c.refused == 1:
		c.srv.timers.after(&c.timer, c.srv.cfg.RefusedTimeout, func() { c.kick(QuotaExceeded) })
	}
}
