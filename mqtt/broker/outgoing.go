package broker

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/internal/fault"
)

// outgoing is the sending half of a session: what is in flight, and what waits
// behind it. It is guarded by session.mu.
//
// Packet ids of outgoing messages follow each other, so the window between the
// oldest unacknowledged and the newest one is an array, and an id names a place
// in it.
type outgoing struct {
	flights []flight // see window
	head    int
	first   uint64 // sequence number of window[0]; its packet id follows from it
	resend  int    // index in window of the next one to be sent again on this connection
	sent    int    // sent on this connection and not done
	quota   int    // how large sent may become

	// QoS 0 does not wait for acknowledgements of QoS 1 and 2, only for room
	// in the buffer, so it has a queue of its own. MQTT orders messages of
	// one QoS [MQTT-4.6.0-5].
	lossless, volatile queue
	bytes              int // of window and queues, without retained messages
	kept               int // the same with them
	// replays is by how much the queues may exceed their bound for retained
	// messages that a new subscription asked for; it ends with the backlog.
	replays int

	aliases    map[string]uint16 // topics by outbound alias on this connection
	aliasLimit int
}

type flight struct {
	queued
	state flightState
}

type flightState byte

const (
	awaiting  flightState = iota // PUBACK or PUBREC
	releasing                    // PUBCOMP
	done
)

func newOutgoing() outgoing {
	// The first id is random: after a restart without durable queues a client
	// may still hold a QoS 2 id of the last run, and would take a new message
	// with the same id for that one.
	return outgoing{first: rand.Uint64N(0xFFFF), lossless: &memoryQueue{}, volatile: &memoryQueue{}}
}

func packetID(seq uint64) uint16 { return uint16(seq%0xFFFF) + 1 } // [MQTT-2.2.1-3]: never 0

// window is what is in flight, the oldest unacknowledged first; some within may
// be done.
func (o *outgoing) window() []flight { return o.flights[o.head:] }

// find returns the flight that id names, or nil. What was not sent on this
// connection yet cannot be acknowledged on it.
func (o *outgoing) find(id uint16) *flight {
	if id == 0 {
		return nil
	}
	at := (int(id) - 1 - int(o.first%0xFFFF) + 0xFFFF) % 0xFFFF
	if w := o.window(); at < o.resend && w[at].state != done {
		return &w[at]
	}
	return nil
}

func (o *outgoing) add(f flight) {
	if o.head > 64 && o.head > len(o.flights)/2 {
		n := copy(o.flights, o.flights[o.head:])
		clear(o.flights[n:])
		o.flights, o.head = o.flights[:n], 0
	}
	o.flights = append(o.flights, f)
	o.resend++
	o.sent++
}

// trim forgets what is done at the front.
func (o *outgoing) trim() {
	for len(o.window()) > 0 && o.window()[0].state == done {
		o.head++
		o.first++
		o.resend--
	}
	if o.head == len(o.flights) {
		o.flights, o.head = o.flights[:0], 0
	}
}

// free reports whether one more message may be put in flight. The window may
// hold done entries behind an old one; a client that acknowledges everything
// but the first does not make it grow for ever.
func (o *outgoing) free() bool {
	n := len(o.window())
	return o.sent < o.quota && o.resend == n && n < 4*o.quota
}

func (o *outgoing) queuedLen() int { return o.lossless.len() + o.volatile.len() }

// acknowledged handles PUBACK.
func (s *session) acknowledged(c *conn, r *routing, id uint16, _ ReasonCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.out.find(id)
	if f == nil || f.qos != 1 || s.conn != c {
		return // late, or the client's mistake; there is nothing to answer
	}
	s.land(f)
	fault.Reached(fault.Acknowledged)
	s.pump(r)
}

// received handles PUBREC.
func (s *session) received(c *conn, r *routing, id uint16, code ReasonCode) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.out.find(id)
	switch {
	case s.conn != c:
	case f == nil || f.qos != 2:
		c.ack(r, packets.Pubrel, id, PacketIdentifierNotFound)
	case code.Failed(): // [MQTT-4.3.3-4]
		s.land(f)
		s.pump(r)
	default:
		f.state = releasing
		fault.Reached(fault.Acknowledged)
		c.ack(r, packets.Pubrel, id, Success)
	}
}

// completed handles PUBCOMP.
func (s *session) completed(c *conn, r *routing, id uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.out.find(id)
	if f == nil || f.qos != 2 || s.conn != c {
		return
	}
	s.land(f)
	fault.Reached(fault.Completed)
	s.pump(r)
}

// land takes a message out of flight.
func (s *session) land(f *flight) {
	s.letGo(&f.queued)
	f.state, f.msg, f.group, f.subIDs = done, nil, nil, nil
	s.out.sent--
	s.out.trim()
}

// hold counts a message that the session keeps. What many sessions keep is
// counted once for all of them together.
func (s *session) hold(q *queued) {
	s.out.bytes += q.size()
	s.out.kept += q.msg.size()
	s.srv.count.queuedMessages.Add(1)
	if atomic.AddInt32(&q.msg.holders, 1) == 1 {
		s.srv.count.queuedBytes.Add(int64(q.msg.size()))
	}
}

// letGo counts a message that the session keeps no longer.
func (s *session) letGo(q *queued) {
	s.out.bytes -= q.size()
	s.out.kept -= q.msg.size()
	s.srv.count.queuedMessages.Add(-1)
	if atomic.AddInt32(&q.msg.holders, -1) == 0 {
		s.srv.count.queuedBytes.Add(int64(-q.msg.size()))
	}
}

// over reports whether the session may not keep more bytes: it keeps as much as
// one may, or all together do and it has more than its share.
func (s *session) over(more int) bool {
	o, cfg := &s.out, &s.srv.cfg
	if o.bytes > 0 && o.bytes+more > cfg.MaxQueuedBytes {
		return true
	}
	if s.srv.count.queuedBytes.Load()+int64(more) <= int64(cfg.MaxQueuedBytesTotal) {
		return false
	}
	return o.kept+more > cfg.MaxQueuedBytesTotal/int(max(s.srv.sessionCount.Load(), 1))
}

// deliver takes a message for the session: it is sent, queued or dropped, all
// without waiting. It reports false when the session has ended.
func (s *session) deliver(r *routing, q queued) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	o := &s.out
	if q.qos == 0 {
		switch {
		case s.conn == nil:
			s.srv.count.dropOffline.Add(1)
		case o.volatile.len() == 0 && s.conn.out.room():
			s.send(r, &q, 0, false)
		default:
			q.msg = r.keep()
			s.enqueue(q)
		}
		return true
	}
	q.msg = r.keep()
	if s.conn != nil && o.lossless.len() == 0 && o.free() && !s.over(q.msg.size()) && s.conn.out.room() {
		s.launch(r, q)
		return true
	}
	s.enqueue(q)
	return true
}

// enqueue puts q behind the others and drops the oldest while there is too
// much: QoS 0 first, then the oldest of the rest.
func (s *session) enqueue(q queued) {
	o, cfg := &s.out, &s.srv.cfg
	if q.qos == 0 {
		o.volatile.push(q)
	} else {
		o.lossless.push(q)
	}
	s.hold(&q)
	if q.replay && o.replays < cfg.MaxRetainedMessages {
		o.replays++
	}
	for o.queuedLen() > cfg.MaxQueuedMessages+o.replays || s.over(0) {
		old, ok := o.volatile.pop()
		if !ok {
			old, ok = o.lossless.pop()
		}
		if !ok {
			break // the rest is in flight, and bounded by that
		}
		s.letGo(&old)
		s.srv.count.dropFull.Add(1)
	}
	if s.conn != nil {
		s.conn.backlog.Store(o.queuedLen() > 0)
	}
}

// pump moves on what may be sent now: first what was in flight on an earlier
// connection [MQTT-4.4.0-1], then the queues.
func (s *session) pump(r *routing) {
	c, o := s.conn, &s.out
	if c == nil {
		return
	}
	for o.resend < len(o.window()) && o.sent < o.quota && c.out.room() {
		f := &o.window()[o.resend]
		id := packetID(o.first + uint64(o.resend))
		switch f.state {
		case awaiting:
			s.send(r, &f.queued, id, true) // [MQTT-3.3.1-1]
			o.sent++
		case releasing:
			c.ack(r, packets.Pubrel, id, Success)
			o.sent++
		}
		o.resend++
	}
	for o.lossless.len() > 0 && o.free() && c.out.room() {
		q, _ := o.lossless.pop()
		s.letGo(&q)
		if s.expired(&q) {
			continue
		}
		s.launch(r, q)
	}
	for o.volatile.len() > 0 && c.out.room() {
		q, _ := o.volatile.pop()
		s.letGo(&q)
		if !s.expired(&q) {
			s.send(r, &q, 0, false)
		}
	}
	if o.queuedLen() == 0 {
		o.replays = 0
	}
	c.backlog.Store(o.queuedLen() > 0 || o.resend < len(o.window()))
}

func (s *session) expired(q *queued) bool {
	if q.msg.Expires.IsZero() || time.Now().Before(q.msg.Expires) {
		return false
	}
	s.srv.count.dropExpired.Add(1) // [MQTT-3.3.2-5]
	return true
}

// launch puts q in flight and sends it.
func (s *session) launch(r *routing, q queued) {
	o := &s.out
	id := packetID(o.first + uint64(len(o.window())))
	if !s.send(r, &q, id, false) {
		return
	}
	o.add(flight{queued: q})
	s.hold(&q)
}

// send encodes a PUBLISH into the connection's buffer. It reports false when
// the client does not take packets of this size [MQTT-3.1.2-24].
func (s *session) send(r *routing, q *queued, id uint16, dup bool) bool {
	c := s.conn
	name, alias, fresh := q.msg.Topic, uint16(0), false
	if s.out.aliasLimit > 0 {
		name, alias, fresh = s.out.alias(name)
	}
	head := r.header(c.version, q, id, dup, name, alias)
	if len(head)+len(q.msg.Payload) > c.max.packet && s.tooLarge(q, dup) {
		if fresh {
			delete(s.out.aliases, q.msg.Topic)
		}
		return false
	}
	owed, ok := c.out.append(head, q.msg.Payload)
	if !ok {
		s.srv.count.slowClients.Add(1)
		c.kick(QuotaExceeded)
	}
	if owed {
		r.owe(c)
	}
	s.srv.count.sent.Add(1)
	if q.qos > 0 {
		fault.Reached(fault.Delivered)
	}
	return true
}

// tooLarge counts a message that the client does not take. One that is in
// flight already was taken under an earlier connection's limit.
func (s *session) tooLarge(_ *queued, dup bool) bool {
	if dup {
		return false
	}
	s.srv.count.dropTooLarge.Add(1)
	return true
}

// alias returns how the topic goes on the wire: with a fresh alias, by a known
// one, or plainly once all are taken [MQTT-3.1.2-26].
func (o *outgoing) alias(name string) (onWire string, alias uint16, fresh bool) {
	if a, ok := o.aliases[name]; ok {
		return "", a, false
	}
	if len(o.aliases) >= o.aliasLimit {
		return name, 0, false
	}
	if o.aliases == nil {
		o.aliases = map[string]uint16{}
	}
	a := uint16(len(o.aliases) + 1)
	o.aliases[strings.Clone(name)] = a // name may be a view of the read buffer
	return name, a, true
}

// refill is called by the writer when its buffer has been written.
func (s *session) refill(c *conn) {
	r := s.srv.borrow()
	s.mu.Lock()
	if s.conn == c {
		s.pump(r)
	}
	s.mu.Unlock()
	r.giveBack()
}
