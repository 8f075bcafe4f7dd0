package broker

import (
	"fmt"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/topic"
)

// ResidentConfig declares a session of the gateway's own: what it gets is kept
// as for a durable session, without a connection. It never expires, gives way
// to no other, and no client can have it.
type ResidentConfig struct {
	// Client and User are who it is among clients.
	Client, User string
	// Subscriptions are what it gets; those of an earlier run that are not
	// among them end.
	Subscriptions []ResidentSubscription
	// MaxQueuedMessages and MaxQueuedBytes bound its queue, MaxInflight what is
	// taken and not done.
	MaxQueuedMessages, MaxQueuedBytes, MaxInflight int
	// Transit makes it get what came through a bridge too; without it messages
	// take one bridge at most.
	Transit bool
	// Retained makes new subscriptions begin with the retained messages, and
	// each Begin with those of QoS 0: what changed meanwhile was not kept.
	Retained bool
}

// ResidentSubscription is one filter, and the QoS with which it is served: 0 or
// 1.
type ResidentSubscription struct {
	Filter string
	QoS    byte
}

func (c *ResidentConfig) validate() error {
	if c.Client == "" || c.User == "" {
		return fmt.Errorf("resident %q: it needs a client and a user", c.Client)
	}
	for _, s := range c.Subscriptions {
		if err := topic.DefaultLimits.CheckFilter(s.Filter); err != nil || s.QoS > 1 || strings.HasPrefix(s.Filter, "$share/") {
			return fmt.Errorf("resident %s: %q with QoS %d cannot be subscribed to: %w", c.Client, s.Filter, s.QoS, err)
		}
	}
	if c.MaxQueuedMessages < 1 || c.MaxQueuedBytes < 1 || c.MaxInflight < 1 || c.MaxInflight > ids/4 {
		return fmt.Errorf("resident %s: its bounds are not positive", c.Client)
	}
	return nil
}

// Resident is the hold on such a session. One goroutine takes; the other
// methods may be called from any.
type Resident struct {
	cfg  ResidentConfig
	sess *session
	wake chan struct{} // capacity 1

	// Guarded by session.mu.
	taking  bool
	dropped uint64
	fresh   []*subscription // of this run, until they have their retained messages
}

// Delivery is a message that was taken. With QoS 1 it is in flight until Done.
type Delivery struct {
	// Message is shared: see Message. QoS and Retain are those of this
	// delivery.
	Message *Message
	QoS     byte
	Retain  bool
	// Seq names it to Done.
	Seq uint64
	// Again is true when it may have been taken before.
	Again bool
}

// ResidentState is what waits for a resident.
type ResidentState struct {
	// Queued counts what waits to be taken, InFlight what is taken and not
	// done. Bytes are those of both.
	Queued, InFlight, Bytes int
	// Dropped counts what its bounds cost, since the start.
	Dropped uint64
}

// Resident returns the hold on a declared session, nil where there is none.
func (s *Server) Resident(client string) *Resident {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sess := s.sessions[client]; sess != nil {
		return sess.resident
	}
	return nil
}

// makeResident makes or resumes a declared session. It comes after the stored
// sessions and before their messages, for which it sets the bounds.
func (s *Server) makeResident(cfg ResidentConfig) {
	s.mu.Lock()
	sess := s.sessions[cfg.Client]
	s.mu.Unlock()
	if sess != nil && sess.user != cfg.User {
		s.end(sess)
		sess = nil
	}
	if sess == nil {
		s.mu.Lock()
		sess = s.makeSessionLocked(cfg.Client, cfg.User, newEpoch())
		s.mu.Unlock()
	}
	s.timers.stop(&sess.timer)
	sess.keeps.Store(true)
	sess.noteStored()
	r := &Resident{cfg: cfg, sess: sess, wake: make(chan struct{}, 1)}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	sess.resident, sess.expiry, sess.out.quota = r, NeverExpires, cfg.MaxInflight
	wanted := func(sub *subscription) bool {
		return slices.ContainsFunc(cfg.Subscriptions, func(w ResidentSubscription) bool { return w.Filter == sub.filter })
	}
	for filter, sub := range sess.subs {
		if !wanted(sub) {
			s.unsubscribeIndex(sub)
			delete(sess.subs, filter)
		}
	}
	for _, w := range cfg.Subscriptions {
		sub := &subscription{
			sess: sess, filter: w.Filter, match: w.Filter, qos: w.QoS, noLocal: true, asPublish: true, noBridged: !cfg.Transit, handling: 2,
		}
		old := sess.subs[w.Filter]
		if old == nil && cfg.Retained {
			r.fresh = append(r.fresh, sub)
		}
		s.subscribeIndex(sub, old)
		sess.subs[w.Filter] = sub
	}
	sess.persistLocked()
}

// replayResidents gives new subscriptions of residents what is retained.
func (s *Server) replayResidents(residents []ResidentConfig) {
	r := s.borrow()
	defer r.giveBack()
	for _, cfg := range residents {
		sess := s.Resident(cfg.Client).sess
		sess.mu.Lock()
		for _, sub := range sess.resident.fresh {
			sess.replayAll(r, sub, func(*Message) bool { return true })
		}
		sess.resident.fresh = nil
		sess.mu.Unlock()
	}
	r.storeLate()
}

// replayAll gives a subscription those of the retained messages that are chosen.
// The caller holds mu.
func (s *session) replayAll(r *routing, sub *subscription, chosen func(*Message) bool) {
	for _, m := range s.srv.retained.match(sub.match) {
		if chosen(m) && (!sub.noBridged || !m.bridged) {
			s.replay(r, sub, m)
		}
	}
}

// signal says that there may be something to take.
func (r *Resident) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Wake is sent on when there may be something to take.
func (r *Resident) Wake() <-chan struct{} { return r.wake }

// Begin starts taking: what was taken before and is not done is taken again
// first, and messages of QoS 0 are kept from now on.
func (r *Resident) Begin() {
	s := r.sess
	working := s.srv.borrow()
	defer working.giveBack()
	s.mu.Lock()
	defer s.mu.Unlock()
	r.taking = true
	s.out.resend, s.out.sent = 0, 0
	if r.cfg.Retained {
		for _, sub := range s.subs {
			s.replayAll(working, sub, func(m *Message) bool { return m.QoS == 0 })
		}
	}
	r.signal()
}

// End stops taking. Messages of QoS 0 are dropped until the next Begin.
func (r *Resident) End() {
	s := r.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	r.taking = false
	s.dropVolatile()
}

// Take returns the next message. It reports false when there is none, or none
// may be taken before another is done: Wake tells.
func (r *Resident) Take() (Delivery, bool) {
	s := r.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	o := &s.out
	defer o.trim()
	for o.resend < len(o.window()) && o.sent < o.quota {
		f := &o.window()[o.resend]
		o.resend++
		if f.state == done {
			continue
		}
		if f.loaded && s.expired(&f.queued) {
			s.finish(f)
			continue
		}
		o.sent++
		return f.delivery(true), true
	}
	for q := o.lossless.head(); q != nil && q.state != reserved && o.free(q.seq); q = o.lossless.head() {
		if s.expired(q) {
			s.discard(q)
			continue
		}
		one, _ := o.lossless.pop()
		o.ready--
		s.letGo(&one)
		o.add(flight{queued: one})
		s.hold(&one)
		s.srv.count.sent.Add(1)
		fault.Reached(fault.Delivered)
		return one.delivery(one.loaded), true
	}
	for q, ok := o.volatile.pop(); ok; q, ok = o.volatile.pop() {
		s.letGo(&q)
		if !s.expired(&q) {
			s.srv.count.sent.Add(1)
			return q.delivery(false), true
		}
	}
	if o.queuedLen() == 0 {
		o.replays = 0
	}
	return Delivery{}, false
}

func (q *queued) delivery(again bool) Delivery {
	return Delivery{Message: q.msg, QoS: q.qos, Retain: q.retain, Seq: q.seq, Again: again}
}

// Done says that whoever the message was for has it: it leaves the disk.
func (r *Resident) Done(seq uint64) {
	s := r.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.out.index(seq); i >= 0 && i < s.out.resend {
		s.land(&s.out.window()[i])
		fault.Reached(fault.Acknowledged)
		r.signal()
	}
}

// State returns what waits.
func (r *Resident) State() ResidentState {
	s := r.sess
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := 0
	for i := range s.out.window() {
		if s.out.window()[i].state != done {
			sent++
		}
	}
	return ResidentState{Queued: s.out.queuedLen(), InFlight: sent, Bytes: s.out.bytes, Dropped: r.dropped}
}

// Publish sends a message on the way that a client's takes: to the handler, in
// order, then to the subscribers. stored says that it is a retained message
// that was stored elsewhere and not published now. done is called once with how
// it was released, maybe before Publish returns, and must not block: with
// Success it is committed or on disk. Publish never blocks; its caller bounds
// what is not done. m must not change afterwards.
func (r *Resident) Publish(m *Message, stored bool, done func(ReasonCode)) {
	s := r.sess
	srv := s.srv
	in := &Inbound{Message: *m, Client: s.client, User: s.user, Stored: stored, session: s, own: &own{done: done}}
	in.Message.bridged = true
	srv.count.received.Add(1)
	if srv.count.pendingBytes.Load() > int64(srv.cfg.MaxPendingBytesTotal) {
		srv.count.pendingRefused.Add(1)
		done(QuotaExceeded)
		return
	}
	s.hand(in)
}

// hand puts what the broker itself brings in for a session into its lane, and
// hands it to the handler.
func (s *session) hand(in *Inbound) {
	r := s.srv.borrow()
	defer r.giveBack()
	in.Plan = r.plan(s.srv, &in.Message, in.Client, true)
	l := s.lane
	l.mu.Lock()
	in.released = s.srv.handler == nil && in.Plan == nil
	mine := !l.draining
	l.push(in)
	l.draining = true
	l.mu.Unlock()
	switch {
	case s.srv.handler != nil:
		s.srv.handler.Publish(in)
	case in.Plan != nil:
		in.Release(Success)
	}
	if mine {
		l.mu.Lock()
		l.drain(r)
	}
}
