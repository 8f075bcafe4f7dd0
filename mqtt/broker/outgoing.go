package broker

import (
	"math/rand/v2"
	"sort"
	"strings"
	"sync/atomic"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/internal/fault"
)

// outgoing is the sending half of a session: what is in flight, and what waits
// behind it. It is guarded by session.mu.
//
// Every message of QoS 1 and 2 has a sequence number from the moment it is
// queued, and its packet id follows from that. The numbers in flight may have
// holes: what was dropped, or was never committed.
type outgoing struct {
	flights []flight // see window
	head    int
	next    uint64 // the next sequence number, at least 1
	resend  int    // index in window of the next one to be sent again on this connection
	sent    int    // sent on this connection and not done
	quota   int    // how large sent may become

	// QoS 0 does not wait for acknowledgements of QoS 1 and 2, only for room
	// in the buffer, so it has a queue of its own. MQTT orders messages of
	// one QoS [MQTT-4.6.0-5].
	lossless, volatile queue
	ready              int // of lossless; the others are reserved
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
	recording                    // PUBREC has come and is being committed
	releasing                    // PUBCOMP
	done
)

func newOutgoing() outgoing {
	// The first id is random: where the disk holds nothing a client may still
	// hold a QoS 2 id of the last run, and would take a new message with the
	// same id for that one.
	return outgoing{next: rand.Uint64N(ids) + 1}
}

// ids is how many packet ids there are.
const ids = 0xFFFF

func packetID(seq uint64) uint16 { return uint16(seq%ids) + 1 } // [MQTT-2.2.1-3]: never 0

// take gives out a sequence number.
func (o *outgoing) take() uint64 {
	o.next++
	return o.next - 1
}

// window is what is in flight, the oldest unacknowledged first; some within may
// be done.
func (o *outgoing) window() []flight { return o.flights[o.head:] }

// index is where in the window a sequence number is, or -1. It need not
// search where there are no holes.
func (o *outgoing) index(seq uint64) int {
	w := o.window()
	if len(w) == 0 || seq < w[0].seq {
		return -1
	}
	i := int(min(seq-w[0].seq, uint64(len(w)-1)))
	if w[i].seq != seq {
		i = sort.Search(i, func(i int) bool { return w[i].seq >= seq })
	}
	if w[i].seq != seq || w[i].state == done {
		return -1
	}
	return i
}

// flight returns what has the sequence number, or nil.
func (o *outgoing) flight(seq uint64) *flight {
	if i := o.index(seq); i >= 0 {
		return &o.window()[i]
	}
	return nil
}

// find returns the flight that id names, or nil. What was not sent on this
// connection yet cannot be acknowledged on it.
func (o *outgoing) find(id uint16) *flight {
	w := o.window()
	if id == 0 || len(w) == 0 {
		return nil
	}
	first := w[0].seq
	at := (uint64(id) - 1 + ids - first%ids) % ids
	if i := o.index(first + at); i >= 0 && i < o.resend {
		return &w[i]
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

// trim forgets what is done at the front. Where little may be sent again at a
// time, what is not its turn yet may be done since an earlier connection.
func (o *outgoing) trim() {
	for len(o.window()) > 0 && o.window()[0].state == done {
		o.head++
		o.resend = max(o.resend-1, 0)
	}
	if o.head == len(o.flights) {
		o.flights, o.head = o.flights[:0], 0
	}
}

// free reports whether the message with this number may be put in flight. The
// window may hold done entries behind an old one; a client that acknowledges
// everything but the first does not make it grow for ever, and no two messages
// in flight ever have one id.
func (o *outgoing) free(seq uint64) bool {
	w := o.window()
	return o.sent < o.quota && o.resend == len(w) && len(w) < 4*o.quota && (len(w) == 0 || seq-w[0].seq < ids-1)
}

func (o *outgoing) queuedLen() int { return o.ready + len(o.volatile.items) - o.volatile.at }

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

// received handles PUBREC. What is on disk has to say so before PUBREL.
func (s *session) received(c *conn, r *routing, id uint16, code ReasonCode) {
	s.mu.Lock()
	f := s.out.find(id)
	switch {
	case s.conn != c:
	case f == nil || f.qos != 2:
		c.ack(r, packets.Pubrel, id, PacketIdentifierNotFound)
	case code.Failed(): // [MQTT-4.3.3-4]
		s.land(f)
		s.pump(r)
	case f.state == recording: // its PUBREL follows the commit
	case f.stored && f.state == awaiting:
		f.state = recording
		seq := f.seq
		s.mu.Unlock()
		s.record(seq)
		return
	default:
		f.state = releasing
		fault.Reached(fault.Acknowledged)
		c.ack(r, packets.Pubrel, id, Success)
	}
	s.mu.Unlock()
}

// record commits that the client has a QoS 2 message; PUBREL follows.
func (s *session) record(seq uint64) {
	s.srv.storing.Add(1)
	s.srv.messages.Releasing(s.client, s.epoch, seq, func(err error) {
		defer s.srv.storing.Done()
		s.srv.storeFailed("store PUBREC", s.client, err)
		r := s.srv.borrow()
		s.recorded(r, seq, err)
		r.giveBack()
	})
}

func (s *session) recorded(r *routing, seq uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.out.index(seq)
	if i < 0 || s.out.window()[i].state != recording {
		return
	}
	f := &s.out.window()[i]
	if err != nil {
		f.state = awaiting // it is sent again to the next connection
		if s.conn != nil {
			s.conn.kick(UnspecifiedError)
		}
		return
	}
	f.state = releasing
	if s.conn != nil && i < s.out.resend {
		s.conn.ack(r, packets.Pubrel, packetID(seq), Success)
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
	s.finish(f)
	s.out.sent--
	s.out.trim()
}

// finish leaves a hole where a flight was.
func (s *session) finish(f *flight) {
	s.letGo(&f.queued)
	if f.stored {
		s.removeRow(f.seq)
	}
	f.queued, f.state = queued{seq: f.seq}, done
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
	if _, limit := s.maxQueued(); o.bytes > 0 && o.bytes+more > limit {
		return true
	}
	if s.srv.count.queuedBytes.Load()+int64(more) <= int64(cfg.MaxQueuedBytesTotal) {
		return false
	}
	return o.kept+more > cfg.MaxQueuedBytesTotal/int(max(s.srv.sessionCount.Load(), 1))
}

// maxQueued is how much may wait for the session: messages and bytes.
func (s *session) maxQueued() (messages, bytes int) {
	if r := s.resident; r != nil {
		return r.cfg.MaxQueuedMessages, r.cfg.MaxQueuedBytes
	}
	return s.srv.cfg.MaxQueuedMessages, s.srv.cfg.MaxQueuedBytes
}

// deliver takes a message for the session: it is sent, queued or dropped, all
// without waiting. What a durable session gets without a plan, because it came
// to its subscription after the plan was made, is stored when the routing is
// done with the message. deliver reports false when the session has ended.
func (s *session) deliver(r *routing, q queued) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	o := &s.out
	if q.qos == 0 {
		switch {
		case s.resident != nil && s.resident.taking:
			q.msg = r.keep()
			s.enqueue(q)
		case s.conn == nil:
			s.srv.count.dropOffline.Add(1)
		case o.volatile.empty() && s.conn.out.room():
			s.send(r, &q, 0, false)
		default:
			q.msg = r.keep()
			s.enqueue(q)
			s.retry(r)
		}
		return true
	}
	q.msg = r.keep()
	if s.persists() {
		s.reserveLocked(q, r.unplanned(s.srv, q.msg))
		return true
	}
	q.seq = o.take()
	if s.conn != nil && o.lossless.empty() && o.free(q.seq) && !s.over(q.msg.size()) && s.conn.out.room() {
		s.launch(r, q)
		return true
	}
	s.enqueue(q)
	s.retry(r)
	return true
}

// retry follows the queueing of a message for want of room: the writer may have
// made room, and looked for a backlog, before there was one to see.
func (s *session) retry(r *routing) {
	if c := s.conn; c != nil && c.out.room() {
		s.pump(r)
	}
}

// enqueue puts q behind the others.
func (s *session) enqueue(q queued) {
	if q.qos == 0 {
		s.out.volatile.push(q)
	} else {
		s.out.lossless.push(q)
	}
	s.admit(&q)
}

// admit counts a queued message that may be sent from now on, and drops the
// oldest while there is too much: QoS 0 first, then the oldest of the rest.
func (s *session) admit(q *queued) {
	o, cfg := &s.out, &s.srv.cfg
	if q.qos > 0 {
		o.ready++
	}
	s.hold(q)
	if q.replay && o.replays < cfg.MaxRetainedMessages {
		o.replays++
	}
	limit, _ := s.maxQueued()
	for o.queuedLen() > limit+o.replays || s.over(0) {
		if old, ok := o.volatile.pop(); ok {
			s.letGo(&old)
		} else if old := o.lossless.oldest(); old != nil {
			s.discard(old)
		} else {
			break // the rest is in flight, and bounded by that
		}
		s.srv.count.dropFull.Add(1)
		if s.resident != nil {
			s.resident.dropped++
		}
	}
	if s.resident != nil {
		s.resident.signal()
	}
	if s.conn != nil {
		s.conn.backlog.Store(o.queuedLen() > 0)
	}
}

// discard takes a message that is ready out of the queue, and off the disk.
func (s *session) discard(q *queued) {
	s.letGo(q)
	if q.stored {
		s.removeRow(q.seq)
	}
	s.out.ready--
	s.out.lossless.drop(q)
}

// pump moves on what may be sent now: first what was in flight on an earlier
// connection [MQTT-4.4.0-1], then the queues.
func (s *session) pump(r *routing) {
	if s.resident != nil {
		s.resident.signal()
	}
	for c := s.conn; c != nil; {
		s.pumpWhileRoom(r, c)
		// What stays behind for want of room is for the writer to come back
		// to. It may have written everything before it could see that.
		if !c.backlog.Load() || !s.out.movable() || !c.out.room() {
			return
		}
	}
}

// movable reports whether room is all that the next message waits for.
func (o *outgoing) movable() bool {
	if !o.volatile.empty() || o.resend < len(o.window()) && o.sent < o.quota {
		return true
	}
	q := o.lossless.head()
	return q != nil && q.state != reserved && o.free(q.seq)
}

// pumpWhileRoom is one round of pump.
func (s *session) pumpWhileRoom(r *routing, c *conn) {
	o := &s.out
	if o.resend < len(o.window()) {
		s.sendAgain(r, c)
	}
	for {
		q := o.lossless.head()
		if q == nil || q.state == reserved || !o.free(q.seq) || !c.out.room() {
			break
		}
		if s.expired(q) {
			s.discard(q)
			continue
		}
		one, _ := o.lossless.pop()
		o.ready--
		s.letGo(&one)
		s.launch(r, one)
	}
	for !o.volatile.empty() && c.out.room() {
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

// sendAgain sends what was in flight on an earlier connection. Of messages from
// disk it is not known whether they were ever sent.
func (s *session) sendAgain(r *routing, c *conn) {
	o := &s.out
	for o.resend < len(o.window()) && o.sent < o.quota && c.out.room() {
		f := &o.window()[o.resend]
		switch f.state {
		case awaiting:
			if f.loaded && s.expired(&f.queued) {
				s.finish(f)
				break
			}
			if !s.send(r, &f.queued, packetID(f.seq), true) { // [MQTT-3.3.1-1]
				s.finish(f) // [MQTT-3.1.2-25]
				break
			}
			o.sent++
		case recording:
			o.sent++
		case releasing:
			c.ack(r, packets.Pubrel, packetID(f.seq), Success)
			o.sent++
		}
		o.resend++
	}
	o.trim()
}

func (s *session) expired(q *queued) bool {
	if !q.msg.expired() {
		return false
	}
	s.srv.count.dropExpired.Add(1) // [MQTT-3.3.2-5]
	return true
}

// launch puts q in flight and sends it.
func (s *session) launch(r *routing, q queued) {
	if !s.send(r, &q, packetID(q.seq), q.loaded) {
		if q.stored {
			s.removeRow(q.seq)
		}
		return
	}
	s.out.add(flight{queued: q})
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
	if len(head)+len(q.msg.Payload) > c.max.packet {
		s.srv.count.dropTooLarge.Add(1)
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
	if c.bridge && !dup {
		s.srv.loops.Left(s.client, q.msg.Topic, q.msg.Payload)
	}
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
