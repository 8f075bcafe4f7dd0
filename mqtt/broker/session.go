package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// session is what the broker knows of one client, with or without a
// connection.
//
// Lock order: Server.mu is never held together with another but records.mu,
// which is a leaf. session.mu comes
// before retained.mu, the index's and shareGroup.mu, and those before
// output.mu; lane.mu comes before output.mu and is never held with session.mu.
type session struct {
	srv    *Server
	client string
	user   string
	epoch  uint64
	slot   int // small number for routing.stamps

	// owner is the connection that has claimed the session, maybe still
	// before its CONNACK. Guarded by Server.mu.
	owner *conn

	lane   *lane
	inbox  inbox // guarded by lane.mu
	online atomic.Bool
	keeps  atomic.Bool // see durable
	// resident, where it is set, takes what the session gets; constant after New.
	resident *Resident
	stored   atomic.Bool // the session store has a record
	// forgotten is set once its user is gone: nobody resumes it.
	forgotten atomic.Bool
	leftAt    atomic.Int64 // since, in Unix nanoseconds
	records   records

	mu     sync.Mutex
	conn   *conn // nil while offline
	ended  bool
	expiry time.Duration // after the connection; 0 ends with it
	since  time.Time     // when it went offline
	// subs is written with mu held by the connection's reader only, which may
	// therefore read it without.
	subs map[string]*subscription
	out  outgoing
	will *will // pending its delay
	// leaving is the will from the end of the connection until it is safe.
	leaving *will
	timer   timer
	// ends is when the session expires; guarded by mu, valid while offline.
	ends time.Time
}

// longest stands for never where an instant is needed.
const longest = 100 * 365 * 24 * time.Hour

// durable reports whether the session outlives its connection.
func (s *session) durable() bool { return s.keeps.Load() }

// activate connects the session to c, with the CONNACK as the first packet.
func (s *session) activate(c *conn, h *hello, connack []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.srv.timers.stop(&s.timer)
	s.expiry = h.expiry
	s.keeps.Store(h.expiry > 0)
	s.conn = c
	o := &s.out
	o.resend, o.sent = 0, 0
	o.quota = min(s.srv.cfg.MaxInflight, int(c.max.receive))
	o.aliases, o.aliasLimit = nil, int(min(c.max.aliases, s.srv.cfg.TopicAliasMaximum))
	s.will = nil // a resumed session cancels the delayed will [MQTT-3.1.3-9]
	c.control(connack)
	s.pump(c.routing)
	s.online.Store(true)
}

// detach lets go of c. dirty is true when the connection ended without a
// DISCONNECT, which is what a will is for.
func (s *session) detach(c *conn, dirty bool) {
	s.mu.Lock()
	s.online.Store(false)
	s.conn = nil
	s.since = time.Now()
	s.leftAt.Store(s.since.UnixNano())
	s.dropVolatile()
	w := c.will
	if !dirty {
		w = nil // [MQTT-3.14.4-3]
	}
	expiry := s.expiry
	s.leaving = w
	// The process ends before its clients do: the next one publishes what is
	// stored [MQTT5 3.1.2.5], if they are not back by then.
	deferred := w != nil && expiry > 0 && s.stored.Load() && c.kicked() && c.closeCode == ServerShuttingDown
	delayed := deferred || w != nil && w.delay > 0 && expiry > 0
	if delayed {
		s.will = w
	}
	s.ends = s.since.Add(min(expiry, longest))
	s.mu.Unlock()
	if w != nil && !delayed {
		s.publishWill(w)
	}
	if expiry == 0 {
		s.srv.retire(s, c)
		return
	}
	// The record and the timer come before the session may be claimed again:
	// what the next connection does has to come after them.
	s.persist()
	wait := expiry
	if delayed && !deferred {
		wait = min(wait, w.delay)
	}
	s.srv.timers.after(&s.timer, wait, s.timeUp)
	s.srv.unclaim(s, c)
}

// dropVolatile forgets queued QoS 0 messages.
func (s *session) dropVolatile() {
	for q, ok := s.out.volatile.pop(); ok; q, ok = s.out.volatile.pop() {
		s.letGo(&q)
		s.srv.count.dropOffline.Add(1)
	}
}

// timeUp runs when the session has expired or its will is due.
func (s *session) timeUp() {
	s.mu.Lock()
	if s.conn != nil || s.ended {
		s.mu.Unlock()
		return
	}
	w := s.will
	s.will = nil
	left := time.Until(s.ends)
	if w != nil && left > 0 {
		s.srv.timers.after(&s.timer, left, s.timeUp)
	}
	s.mu.Unlock()
	if w != nil {
		s.publishWill(w)
	}
	if left > 0 {
		return
	}
	s.returnShared()
	if s.srv.unlink(s) {
		s.srv.count.expired.Add(1)
		s.finishEnd()
	}
}

// finishEnd ends a session that nobody can find any more: its subscriptions go,
// what was queued through a shared subscription goes to the others, the rest is
// dropped.
func (s *session) finishEnd() {
	s.srv.timers.stop(&s.timer)
	s.mu.Lock()
	s.ended = true
	for _, sub := range s.subs {
		s.srv.unsubscribeIndex(sub)
	}
	s.subs = nil
	w := s.will
	s.will, s.leaving = nil, nil
	orphans := s.abandon()
	s.mu.Unlock()
	if w != nil { // the session's end is the end of the delay [MQTT-3.1.3-9]
		s.publishWill(w)
	}
	r := s.srv.borrow()
	for _, q := range orphans {
		r.take(q.msg, true)
		q.group.deliver(r, q.msg)
		r.drop()
	}
	r.giveBack()
	s.srv.settleLane(s)
}

// returnShared gives QoS 1 messages that came through shared subscriptions to
// other members [MQTT5 4.8.2], before the session and its rows go: after a crash
// somebody has them, twice at worst.
func (s *session) returnShared() {
	s.mu.Lock()
	var all []queued
	note := func(q *queued) {
		if q.group != nil && q.qos == 1 && !q.msg.expired() {
			all = append(all, *q)
		}
	}
	for i := range s.out.window() {
		if f := &s.out.window()[i]; f.state != done {
			note(&f.queued)
		}
	}
	for i := range s.out.lossless.items {
		if q := &s.out.lossless.items[i]; q.state == ready && q.msg != nil {
			note(q)
		}
	}
	s.mu.Unlock()
	if len(all) == 0 {
		return
	}
	r := s.srv.borrow()
	defer r.giveBack()
	for _, q := range all {
		r.take(q.msg, true)
		given := q.group.deliverPast(r, q.msg, s)
		r.drop()
		if given {
			s.handedOn(q.seq)
		}
	}
}

// handedOn forgets a message that somebody else has now.
func (s *session) handedOn(seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := s.out.index(seq); i >= 0 {
		f := &s.out.window()[i]
		if s.out.sent > 0 && i < s.out.resend {
			s.out.sent--
		}
		s.finish(f)
		s.out.trim()
		return
	}
	if q := s.out.lossless.find(seq); q != nil && q.state == ready {
		s.discard(q)
	}
}

// abandon empties the sending half. QoS 1 messages of shared subscriptions are
// returned, for other members [MQTT5 4.8.2].
func (s *session) abandon() (orphans []queued) {
	keep := func(q queued) {
		s.letGo(&q)
		switch {
		case s.expired(&q):
		case q.group != nil && q.qos == 1:
			orphans = append(orphans, q)
		default:
			s.srv.count.dropSessionEnd.Add(1)
		}
	}
	for _, f := range s.out.window() {
		if f.state != done {
			keep(f.queued)
		}
	}
	s.out.flights, s.out.head, s.out.resend, s.out.ready = nil, 0, 0, 0
	for q, ok := s.out.lossless.pop(); ok; q, ok = s.out.lossless.pop() {
		if q.state == ready {
			keep(q)
		}
	}
	s.dropVolatile()
	return orphans
}

// changeExpiry applies the expiry of a DISCONNECT. It reports false when that
// is not allowed.
func (s *session) changeExpiry(d time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expiry == 0 && d > 0 {
		return false
	}
	s.expiry = d
	return true
}

// describe is the session as Clients lists it.
func (s *session) describe() Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Client{
		ID: s.client, User: s.user, Connected: s.conn != nil || s.resident != nil && s.resident.taking, Durable: s.durable(), Expiry: s.expiry,
		Subscriptions: len(s.subs), Queued: s.out.queuedLen(), InFlight: s.out.sent, QueuedBytes: s.out.bytes,
	}
	if c := s.conn; c != nil {
		out.RemoteAddr, out.Listener, out.Since = c.remote, c.listener, c.since
		out.Version, out.KeepAlive = c.version, c.keepAlive
	} else {
		out.Since = s.since
	}
	return out
}
