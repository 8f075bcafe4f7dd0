package broker

import (
	"errors"
	"fmt"
	"maps"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// subscribe handles SUBSCRIBE: what is granted is stored first (on durable
// sessions), then takes effect, then is acknowledged, then retained messages
// follow.
func (c *conn) subscribe() error {
	if err := c.fits(len(c.pk.Filters)); err != nil {
		return err
	}
	s := c.sess
	id := 0
	if ids := c.pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		id = ids[0]
	}
	subs := maps.Clone(s.subs) // the reader is the only writer
	codes, reason := make([]byte, len(c.pk.Filters)), ""
	granted := make([]*subscription, len(c.pk.Filters))
	for i, f := range c.pk.Filters {
		sub, err := c.grant(f, id, subs)
		var refused *wireError
		switch {
		case errors.As(err, &refused) && refused.code == ProtocolError:
			return err
		case errors.As(err, &refused):
			codes[i] = byte(refused.code)
			if reason == "" {
				reason = refused.text
			}
			if c.version != 5 {
				codes[i] = 0x80 // [MQTT3 3.9.3]
			}
			continue
		}
		codes[i] = sub.qos
		granted[i] = sub
		subs[sub.filter] = sub
	}
	packetID := c.pk.PacketID
	if err := s.save(c, subs); err != nil {
		for i := range codes {
			codes[i] = byte(UnspecifiedError)
		}
		return c.suback(packets.Suback, packetID, codes, "the session cannot be stored")
	}
	return s.subscribed(c, granted, func() error { return c.suback(packets.Suback, packetID, codes, reason) })
}

// grant decides on one filter. The errors are wireErrors; a protocol error ends
// the connection, others only refuse the filter.
func (c *conn) grant(f packets.Subscription, id int, have map[string]*subscription) (*subscription, error) {
	group, match, err := topic.SplitShare(f.Filter)
	if err == nil {
		err = c.srv.cfg.Topics.CheckFilter(match)
	}
	if err != nil {
		return nil, &wireError{TopicFilterInvalid, err.Error()}
	}
	if group != "" && f.NoLocal { // [MQTT-3.8.3-4]
		return nil, violation("no local on a shared subscription")
	}
	if !covered(c.subACL, match) {
		c.srv.count.deniedSubscribes.Add(1)
		c.srv.notice("subscription denied", "client", c.sess.client, "user", c.sess.user, "topic", f.Filter)
		return nil, &wireError{NotAuthorized, fmt.Sprintf("%.80q is not allowed", f.Filter)}
	}
	if have[f.Filter] == nil && len(have) >= c.srv.cfg.MaxSubscriptions {
		c.srv.count.refusedSubs.Add(1)
		return nil, &wireError{QuotaExceeded, "too many subscriptions"}
	}
	sub := &subscription{
		sess: c.sess, filter: f.Filter, match: match, qos: f.Qos,
		noLocal: f.NoLocal, asPublish: f.RetainAsPublished, handling: f.RetainHandling, id: id,
	}
	switch {
	case group != "":
		sub.group = &shareGroup{} // its real one is found when it takes effect
	case c.bridge:
		sub.noLocal, sub.asPublish = true, true
	}
	return sub, nil
}

// revoke takes subscriptions away that what c may subscribe to no longer
// covers: permissions may have changed since the session was left. What waits
// in the queue may have come through one of them, so then it goes too.
func (s *session) revoke(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	revoked := 0
	for filter, sub := range s.subs {
		if covered(c.subACL, sub.match) {
			continue
		}
		s.srv.unsubscribeIndex(sub)
		delete(s.subs, filter)
		s.srv.count.deniedSubscribes.Add(1)
		revoked++
	}
	if revoked == 0 {
		return
	}
	s.srv.notice("subscriptions of a resumed session are no longer allowed", "client", s.client, "user", s.user, "subscriptions", revoked)
	for q := s.out.lossless.head(); q != nil; q = s.out.lossless.head() {
		if q.state == reserved {
			s.out.lossless.drop(q) // its row goes when its plan is ready
			continue
		}
		s.discard(q)
		s.srv.count.dropSessionEnd.Add(1)
	}
}

func covered(acl []string, filter string) bool {
	for _, f := range acl {
		if topic.Covers(f, filter) {
			return true
		}
	}
	return false
}

// subscribed makes subscriptions effective. Retained messages are read and sent
// under the session's lock: one that is published meanwhile is stored before it
// is delivered, so the client never sees the older one last.
func (s *session) subscribed(c *conn, granted []*subscription, acknowledge func() error) error {
	defer c.routing.storeLate()
	s.mu.Lock()
	defer s.mu.Unlock()
	fresh := make([]bool, len(granted))
	for i, sub := range granted {
		if sub == nil {
			continue
		}
		old := s.subs[sub.filter]
		fresh[i] = old == nil
		s.srv.subscribeIndex(sub, old)
		s.subs[sub.filter] = sub
	}
	if err := acknowledge(); err != nil {
		return err
	}
	for i, sub := range granted {
		if sub == nil || sub.group != nil || sub.handling == 2 || (sub.handling == 1 && !fresh[i]) {
			continue // [MQTT-3.3.1-9] to [MQTT-3.3.1-11]
		}
		for _, m := range s.srv.retained.match(sub.match) {
			s.replay(c.routing, sub, m)
		}
	}
	return nil
}

// replay sends one retained message to a new subscription.
func (s *session) replay(r *routing, sub *subscription, m *Message) {
	q := sub.queued(m)
	q.retain, q.replay = true, true // [MQTT-3.3.1-8]
	if q.qos > 0 && s.persists() {
		s.reserveLocked(q, r.unplanned(s.srv, m))
		return
	}
	if q.qos > 0 {
		q.seq = s.out.take()
	}
	s.enqueue(q)
	s.pump(r)
}

// unsubscribe handles UNSUBSCRIBE.
func (c *conn) unsubscribe() error {
	if err := c.fits(len(c.pk.Filters)); err != nil {
		return err
	}
	s := c.sess
	subs := maps.Clone(s.subs)
	codes := make([]byte, len(c.pk.Filters))
	var gone []*subscription
	for i, f := range c.pk.Filters {
		sub := subs[f.Filter]
		if sub == nil {
			codes[i] = byte(NoSubscriptionExisted)
			continue
		}
		delete(subs, f.Filter)
		gone = append(gone, sub)
	}
	packetID := c.pk.PacketID
	if len(gone) > 0 {
		if err := s.save(c, subs); err != nil {
			for i := range codes {
				codes[i] = byte(UnspecifiedError)
			}
			return c.suback(packets.Unsuback, packetID, codes, "the session cannot be stored")
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range gone {
		s.srv.unsubscribeIndex(sub)
		delete(s.subs, sub.filter)
	}
	return c.suback(packets.Unsuback, packetID, codes, "") // [MQTT-3.10.4-4]
}

// fits reports why the client could not be answered: an acknowledgement with
// this many codes is larger than the packets that it takes [MQTT-3.1.2-24].
func (c *conn) fits(codes int) error {
	remaining := 2 + 1 + codes // packet id, property length
	if size := 1 + varintLen(remaining) + remaining; c.version == 5 && size > c.max.packet {
		return &wireError{PacketTooLarge, fmt.Sprintf("the answer to %d filters is larger than the client takes", codes)}
	}
	return nil
}

// suback acknowledges. reason is what a client of version 5 reads about the
// first filter that was refused.
func (c *conn) suback(kind byte, id uint16, codes []byte, reason string) error {
	b, err := c.encode(&packets.Packet{
		FixedHeader: packets.FixedHeader{Type: kind}, ProtocolVersion: c.version, PacketID: id, ReasonCodes: codes,
		Properties: packets.Properties{ReasonString: reason},
	})
	if err != nil {
		return err
	}
	c.control(b)
	return nil
}
