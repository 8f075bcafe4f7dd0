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
	handling  byte // retain handling
	id        int
	group     *shareGroup
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
			at := (first + i) % n
			if g.members[at].sess.online.Load() != online {
				continue
			}
			if len(dst) == 0 {
				g.next = at + 1
			}
			dst = append(dst, g.members[at])
		}
	}
	return dst
}

// deliver hands the message in hand to one member.
func (g *shareGroup) deliver(r *routing, m *Message) {
	var space [8]*subscription
	for _, sub := range g.pick(space[:0]) {
		q := sub.queued(m)
		q.group = g
		if sub.sess.deliver(r, q) {
			return
		}
	}
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
		g = &shareGroup{}
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
