package broker

import (
	"bytes"
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

// route stores m if it is retained and hands it to all subscribers. publisher
// is the client it is from, empty for the broker's own. owned is false when
// m's bytes are only lent: whoever keeps it takes a copy.
func (r *routing) route(s *Server, m *Message, publisher string, owned bool) {
	if !m.Expires.IsZero() && !time.Now().Before(m.Expires) {
		s.count.dropExpired.Add(1)
		return
	}
	r.take(m, owned)
	if m.Retain {
		s.retained.store(r.keep()) // before the subscribers: see session.subscribe
	}
	r.subs = s.subs.Match(m.Topic, r.subs[:0])
	if len(r.subs) == 1 && r.subs[0].group == nil {
		if sub := r.subs[0]; !sub.noLocal || sub.sess.client != publisher {
			sub.sess.deliver(r, sub.queued(m))
		}
	} else if len(r.subs) > 0 {
		r.fanOut(m, publisher)
	}
	r.drop()
}

func (r *routing) take(m *Message, owned bool) { r.msg, r.owned, r.kept = m, owned, nil }

func (r *routing) drop() {
	r.msg, r.kept = nil, nil
	for i := range r.shared {
		r.shared[i][0], r.shared[i][1] = r.shared[i][0][:0], r.shared[i][1][:0]
	}
}

// keep returns the message in hand in a form that may be stored.
func (r *routing) keep() *Message {
	switch {
	case r.owned:
		return r.msg
	case r.kept == nil:
		r.kept = r.msg.clone()
	}
	return r.kept
}

// fanOut delivers to more than one subscription: each session once, each
// shared subscription once.
func (r *routing) fanOut(m *Message, publisher string) {
	for i, sub := range r.subs {
		r.subs[i] = nil
		switch {
		case sub.group != nil:
			sub.group.deliver(r, m)
			continue
		case sub.noLocal && sub.sess.client == publisher: // [MQTT-3.8.3-3]
			continue
		}
		slot := sub.sess.slot
		if slot >= len(r.stamps) {
			r.stamps = append(r.stamps, make([]uint32, slot+1-len(r.stamps))...)
		}
		// Slots are reused: a session that is just ending may share its own.
		if at := r.stamps[slot]; at != 0 && r.targets[at-1].sess == sub.sess {
			r.targets[at-1].merge(sub, m)
			continue
		}
		r.targets = append(r.targets, target{sess: sub.sess, queued: sub.queued(m)})
		r.stamps[slot] = uint32(len(r.targets))
	}
	for i := range r.targets {
		t := &r.targets[i]
		r.stamps[t.sess.slot] = 0
		t.sess.deliver(r, t.queued)
		*t = target{}
	}
	r.targets = r.targets[:0]
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
