package broker

import (
	"bytes"
	"slices"
	"strings"
	"time"
)

// routing is the working memory of whoever routes messages: a connection's
// reader has its own, others borrow one. It also collects the writers that have
// to be woken, so that a batch of messages costs each of them one system call.
type routing struct {
	srv     *Server
	subs    []*subscription
	targets []target
	stamps  []uint32 // by session slot: place in targets, plus one
	owed    []*conn
	head    []byte

	// Of the message in hand.
	msg   *Message
	owned bool // msg may be stored
	kept  *Message
	// late are what durable sessions get that were not planned for.
	late []*Plan
	// QoS 0 headers that are the same for every receiver, by version and
	// RETAIN: encoded once, shared by all.
	shared [2][2][]byte
}

// target is one session that gets the message once, though several of its
// subscriptions may match.
type target struct {
	sess *session
	queued
}

func (s *Server) borrow() *routing {
	r, _ := s.routings.Get().(*routing)
	if r == nil {
		r = &routing{srv: s}
	}
	return r
}

func (r *routing) giveBack() {
	r.flush()
	r.srv.routings.Put(r)
}

// owe notes that c's writer has to be woken at the next flush.
func (r *routing) owe(c *conn) { r.owed = append(r.owed, c) }

// flush wakes the writers.
func (r *routing) flush() {
	for i, c := range r.owed {
		c.out.signal()
		r.owed[i] = nil
	}
	r.owed = r.owed[:0]
}

// route stores m if it is retained and hands it to all subscribers, save those
// that have a place in its plan p, which may be nil: what they get goes through
// that. publisher is the client it is from, empty for the broker's own. owned
// is false when m's bytes are only lent: whoever keeps it takes a copy.
func (r *routing) route(s *Server, m *Message, publisher string, owned bool, p *Plan) {
	if m.expired() {
		s.count.dropExpired.Add(1)
	} else {
		r.take(m, owned)
		if m.Retain {
			s.retained.store(r.keep()) // before the subscribers: see session.subscribed
		}
		r.subs = s.subs.Match(m.Topic, r.subs[:0])
		if len(r.subs) == 1 && r.subs[0].group == nil {
			sub := r.subs[0]
			if sub.wants(m, publisher) && (p == nil || !p.has(sub.sess)) {
				sub.sess.deliver(r, sub.queued(m))
			}
		} else if len(r.subs) > 0 {
			r.fanOut(m, publisher, p)
		}
	}
	if p != nil {
		p.ready(r)
	}
	r.drop()
}

func (r *routing) take(m *Message, owned bool) { r.msg, r.owned, r.kept = m, owned, nil }

func (r *routing) drop() {
	r.msg, r.kept = nil, nil
	for i := range r.shared {
		r.shared[i][0], r.shared[i][1] = r.shared[i][0][:0], r.shared[i][1][:0]
	}
	if len(r.late) > 0 {
		r.storeLate()
	}
}

// unplanned is the plan that a durable session gets the message by, when it was
// not planned for: it is stored, but nobody waits for that.
func (r *routing) unplanned(s *Server, m *Message) *Plan {
	if n := len(r.late); n > 0 && r.late[n-1].Message == m {
		return r.late[n-1]
	}
	p := &Plan{Message: m, srv: s}
	r.late = append(r.late, p)
	return p
}

// storeLate stores what was not planned. No lock may be held.
func (r *routing) storeLate() {
	late := r.late
	r.late = nil
	for _, p := range late {
		p.store(r, nil)
	}
}

// keep returns the message in hand in a form that may be stored.
func (r *routing) keep() *Message {
	if r.kept == nil {
		r.kept = keep(r.msg, r.owned)
	}
	return r.kept
}

func keep(m *Message, owned bool) *Message {
	if owned {
		return m
	}
	return m.clone()
}

// fanOut delivers to more than one subscription: each session once, each
// shared subscription once, and nobody who has a place in the plan.
func (r *routing) fanOut(m *Message, publisher string, p *Plan) {
	if p != nil {
		r.planned(p)
	}
	r.collect(m, publisher, func(g *shareGroup) {
		if p == nil || !slices.Contains(p.groups, g) {
			g.deliver(r, m)
		}
	})
	for i := range r.targets {
		t := &r.targets[i]
		r.stamps[t.sess.slot] = 0
		if t.msg != nil {
			t.sess.deliver(r, t.queued)
		}
		*t = target{}
	}
	r.targets = r.targets[:0]
}

// planned makes targets without a message of the sessions that have a place,
// so that collect merges into them what is then left out.
func (r *routing) planned(p *Plan) {
	for i := range p.Rows {
		if row := &p.Rows[i]; row.q.group == nil {
			r.stamp(row.sess)
			r.targets = append(r.targets, target{sess: row.sess})
		}
	}
}

// stamp notes that the next target is sess.
func (r *routing) stamp(sess *session) {
	if n := sess.slot + 1; n > len(r.stamps) {
		r.stamps = append(r.stamps, make([]uint32, n-len(r.stamps))...)
	}
	r.stamps[sess.slot] = uint32(len(r.targets) + 1)
}

// collect makes targets of the subscriptions in r.subs; shared ones go to
// shared.
func (r *routing) collect(m *Message, publisher string, shared func(*shareGroup)) {
	for i, sub := range r.subs {
		r.subs[i] = nil
		switch {
		case sub.group != nil:
			shared(sub.group)
			continue
		case !sub.wants(m, publisher):
			continue
		}
		// Slots are reused: a session that is just ending may share its own.
		if slot := sub.sess.slot; slot < len(r.stamps) {
			if at := r.stamps[slot]; at != 0 && r.targets[at-1].sess == sub.sess {
				r.targets[at-1].merge(sub, m)
				continue
			}
		}
		r.stamp(sub.sess)
		r.targets = append(r.targets, target{sess: sub.sess, queued: sub.queued(m)})
	}
}

// merge adds an overlapping subscription: the largest QoS counts
// [MQTT-3.3.4-2], and every identifier is sent [MQTT-3.3.4-3].
func (t *target) merge(sub *subscription, m *Message) {
	q := sub.queued(m)
	t.qos = max(t.qos, q.qos)
	t.retain = t.retain || q.retain
	switch {
	case q.subID == 0:
	case t.subID == 0:
		t.subID = q.subID
	default:
		t.subIDs = append(t.subIDs, q.subID)
	}
}

// header encodes a PUBLISH up to its payload. The result is valid until the
// next call.
func (r *routing) header(version byte, q *queued, id uint16, dup bool, name string, alias uint16) []byte {
	d := delivery{msg: q.msg, qos: q.qos, dup: dup, retain: q.retain, id: id, subID: q.subID, subIDs: q.subIDs}
	var now time.Time
	if !q.msg.Expires.IsZero() {
		now = time.Now()
	}
	if q.qos > 0 || alias != 0 || q.subID != 0 || q.msg != r.msg {
		r.head = appendPublishHeader(r.head[:0], &d, version, name, alias, now)
		return r.head
	}
	cached := &r.shared[version&1][b2i(q.retain)]
	if len(*cached) == 0 {
		*cached = appendPublishHeader((*cached)[:0], &d, version, name, 0, now)
	}
	return *cached
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// clone copies a message whose bytes are lent.
func (m *Message) clone() *Message {
	out := *m
	out.holders = 0
	out.Topic = strings.Clone(m.Topic)
	out.Payload = bytes.Clone(m.Payload)
	if p := m.Properties; p != nil {
		props := *p
		props.ContentType = strings.Clone(p.ContentType)
		props.ResponseTopic = strings.Clone(p.ResponseTopic)
		props.CorrelationData = bytes.Clone(p.CorrelationData)
		props.User = make([]UserProperty, len(p.User))
		for i, u := range p.User {
			props.User[i] = UserProperty{Name: strings.Clone(u.Name), Value: strings.Clone(u.Value)}
		}
		out.Properties = &props
	}
	return &out
}

// clone makes an Inbound that may be stored from one whose bytes are lent.
func (in *Inbound) clone() *Inbound {
	out := *in
	out.Message = *in.Message.clone()
	return &out
}
