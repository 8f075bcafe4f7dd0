package broker

import (
	"slices"
	"sync"
)

// subscription is one entry of a session's subscriptions, or the place of a
// share group in the index (then only group is set).
type subscription struct {
	sess      *session
	filter    string // as in SUBSCRIBE, with $share
	match     string // without
	qos       byte
	noLocal   bool
	asPublish bool // retain as published
	noBridged bool // nothing that came through a bridge; residents' alone
	handling  byte // retain handling
	id        int
	group     *shareGroup
}

// wants reports whether a message of this publisher is for the subscription
// [MQTT-3.8.3-3].
func (sub *subscription) wants(m *Message, publisher string) bool {
	return (!sub.noLocal || sub.sess.client != publisher) && (!sub.noBridged || !m.bridged)
}

// queued is m as this subscription gets it.
func (sub *subscription) queued(m *Message) queued {
	return queued{
		msg: m, qos: min(m.QoS, sub.qos), // [MQTT-3.8.4-8]
		retain: m.Retain && sub.asPublish, // [MQTT-3.3.1-12], [MQTT-3.3.1-13]
		subID:  sub.id,
	}
}

// shareGroup is the set of sessions behind one $share filter; each message goes
// to one of them [MQTT5 4.8.2].
type shareGroup struct {
	filter  string     // with $share
	mu      sync.Mutex // leaf
	members []*subscription
	next    int
}

// pick returns the members in the order in which they are to be tried: round
// robin, online ones first.
func (g *shareGroup) pick(dst []*subscription) []*subscription {
	g.mu.Lock()
	defer g.mu.Unlock()
	n, first := len(g.members), g.next
	for _, online := range [...]bool{true, false} {
		for i := range n {
			if sub := g.members[(first+i)%n]; sub.sess.online.Load() == online {
				dst = append(dst, sub)
			}
		}
	}
	return dst
}

// took makes the one after sub the next to be tried first.
func (g *shareGroup) took(sub *subscription) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if i := slices.Index(g.members, sub); i >= 0 {
		g.next = i + 1
	}
}

// deliver hands the message in hand to one member.
func (g *shareGroup) deliver(r *routing, m *Message) { g.deliverPast(r, m, nil) }

// deliverPast does so without asking one session. It reports whether somebody
// took the message.
func (g *shareGroup) deliverPast(r *routing, m *Message, not *session) bool {
	var space [8]*subscription
	for _, sub := range g.pick(space[:0]) {
		if sub.sess != not && sub.sess.deliver(r, g.queued(sub, m)) {
			g.took(sub)
			return true
		}
	}
	return false
}

// plan reserves a place with the member whose turn it is, when that is a
// durable session. Otherwise the member is chosen at the delivery.
func (g *shareGroup) plan(r *routing, m *Message, p **Plan) {
	var space [8]*subscription
	for _, sub := range g.pick(space[:0]) {
		q := g.queued(sub, m)
		if q.qos == 0 || !sub.sess.persists() {
			return
		}
		if sub.sess.reserve(r, q, p) {
			(*p).groups = append((*p).groups, g)
			g.took(sub)
			return
		}
	}
}

func (g *shareGroup) queued(sub *subscription, m *Message) queued {
	q := sub.queued(m)
	q.group = g
	return q
}

// subscribeIndex puts sub into the index, in one step with the one it replaces:
// no message slips between them [MQTT-3.8.4-3].
func (s *Server) subscribeIndex(sub, old *subscription) {
	if old == nil {
		s.subCount.Add(1)
	}
	if sub.group == nil {
		s.subs.Update(sub.match, func(subs []*subscription) []*subscription {
			return replace(subs, sub, old)
		})
		return
	}
	s.shares.Lock()
	defer s.shares.Unlock()
	g := s.groups[sub.filter]
	if g == nil {
		g = &shareGroup{filter: sub.filter}
		s.groups[sub.filter] = g
		s.subs.Add(sub.match, &subscription{group: g})
	}
	sub.group = g
	g.mu.Lock()
	g.members = replace(g.members, sub, old)
	g.mu.Unlock()
}

func replace(subs []*subscription, sub, old *subscription) []*subscription {
	if i := slices.Index(subs, old); old != nil && i >= 0 {
		subs[i] = sub
		return subs
	}
	return append(subs, sub)
}

func (s *Server) unsubscribeIndex(sub *subscription) {
	s.subCount.Add(-1)
	is := func(other *subscription) bool { return other == sub }
	if sub.group == nil {
		s.subs.Remove(sub.match, is)
		return
	}
	s.shares.Lock()
	defer s.shares.Unlock()
	g := sub.group
	g.mu.Lock()
	g.members = slices.DeleteFunc(g.members, is)
	empty := len(g.members) == 0
	g.mu.Unlock()
	if empty && s.groups[sub.filter] == g {
		delete(s.groups, sub.filter)
		s.subs.Remove(sub.match, func(other *subscription) bool { return other.group == g && other.sess == nil })
	}
}
