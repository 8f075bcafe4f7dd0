package broker

import (
	"bytes"
	"strings"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/internal/fault"
)

// publish takes a PUBLISH from its bytes to the handler, or past it: what is
// a duplicate or refused is only acknowledged.
func (c *conn) publish(head byte, body []byte) error {
	c.srv.count.received.Add(1)
	if err := c.pace(); err != nil {
		return err
	}
	owned := c.srv.handler != nil
	in := &c.scratch
	if owned {
		body, in = bytes.Clone(body), new(Inbound)
	}
	if err := decode(&c.pk, c.version, head, body); err != nil {
		return err
	}
	*in = Inbound{Client: c.sess.client, User: c.sess.user, session: c.sess, conn: c, id: c.pk.PacketID}
	m := &in.Message
	messageOf(m, &c.pk)
	m.bridged = c.bridge
	if err := c.resolveAlias(m); err != nil {
		return err
	}
	allowed, err := c.mayPublish(m.Topic)
	if err != nil {
		return err
	}
	if p := m.Properties; p != nil && p.ResponseTopic != "" && c.srv.cfg.Topics.CheckName(p.ResponseTopic) != nil {
		return violation("response topic is not a topic name") // [MQTT-3.3.2-14]
	}
	if !allowed {
		c.srv.count.deniedPublishes.Add(1)
		c.srv.log.Debug("publish denied", "client", in.Client, "user", in.User, "topic", m.Topic)
		if m.QoS == 0 {
			return nil
		}
		if c.version != 5 {
			// It can only be acknowledged, which would lie, or closed [MQTT-3.3.5-2].
			return &wireError{NotAuthorized, "publish to a topic that the ACL denies"}
		}
		in.released, in.echo, in.code = true, true, NotAuthorized
	}
	return c.submit(in, owned)
}

// submit puts in into the lane, in its place, and hands it to the handler.
func (c *conn) submit(in *Inbound, owned bool) error {
	l := c.sess.lane
	l.mu.Lock()
	for c.mustWait(l) {
		l.mu.Unlock()
		c.srv.count.pendingStalls.Add(1)
		c.routing.flush()
		select {
		case <-l.room:
		case <-c.closing:
			return nil
		}
		l.mu.Lock()
	}
	if in.id != 0 && !in.echo {
		if drop, err := c.identify(in); drop || err != nil {
			l.mu.Unlock()
			return err
		}
	} else if in.id != 0 {
		c.unacked++
	}
	if !in.echo && c.srv.handler != nil && (c.srv.count.pendingBytes.Load() > int64(c.srv.cfg.MaxPendingBytesTotal) || c.refusesRest(in)) {
		c.srv.count.pendingRefused.Add(1)
		in.released, in.echo, in.code = true, true, QuotaExceeded
	}
	if c.bridge && !in.echo && c.srv.loops.Came(in.Client, in.Message.Topic, in.Message.Payload) {
		in.released, in.echo = true, true // it is here already: only acknowledged
	}
	if !in.echo && c.srv.messages != nil && in.Message.QoS > 0 {
		// Only this goroutine appends to the lane: what is planned now keeps
		// its place before what comes next.
		l.mu.Unlock()
		if in.Plan = c.routing.plan(c.srv, &in.Message, in.Client, owned); in.Plan != nil && !owned {
			in, owned = in.clone(), true
		}
		l.mu.Lock()
	}
	handled := !in.echo && c.srv.handler != nil
	in.released = !handled && in.Plan == nil
	mine := !l.draining
	if mine && in.released && l.first() == nil {
		// Nothing before it, nothing to wait for.
		l.draining = true
		l.mu.Unlock()
		in.route(c.routing, owned)
		l.mu.Lock()
		in.finish(c.routing)
		l.drain(c.routing)
		return nil
	}
	if !owned {
		in = in.clone()
	}
	l.push(in)
	// While this goroutine is in the handler, releases leave the rest to it:
	// what is released at once is written together with the packets around it.
	l.draining = true
	l.mu.Unlock()
	switch {
	case handled:
		fault.Reached(fault.Received)
		c.srv.handler.Publish(in)
		if fault.On(fault.AckBeforeCommit) {
			in.ackEarly(c.routing)
		}
	case in.Plan != nil:
		in.Release(Success)
	}
	if mine {
		l.mu.Lock()
		l.drain(c.routing)
	}
	return nil
}

// refusesRest reports whether a 3.1.1 client has had a message refused: it
// will send that one again after it has reconnected, and what came behind it
// has to stay behind it. The caller holds lane.mu.
func (c *conn) refusesRest(in *Inbound) bool {
	return in.id != 0 && c.version != 5 && c.refused > 0
}

// mustWait reports whether the client has to wait for releases before more is
// read from it.
func (c *conn) mustWait(l *lane) bool {
	cfg := &c.srv.cfg
	return l.len() > 0 && (l.len() >= cfg.MaxPendingMessages || l.bytes >= cfg.MaxPendingBytes ||
		(c.version != 5 && len(c.sess.inbox.open) >= int(cfg.ReceiveMaximum)))
}

// identify applies the rules of packet ids and duplicates to a QoS 1 or 2
// message. drop means that there is nothing to hand on: the acknowledgement of
// another one will do. The caller holds lane.mu.
func (c *conn) identify(in *Inbound) (drop bool, err error) {
	s, dup := c.sess, c.pk.FixedHeader.Dup
	b := &s.inbox
	in.hash = hashOf(&in.Message)
	if first := b.open[in.id]; first != nil {
		switch {
		case first.hash == in.hash && dup && !fault.On(fault.NoDuplicateCheck):
			s.srv.count.duplicates.Add(1)
			if first.conn != c {
				first.acked = false
				first.conn = c // the acknowledgement goes where it was asked for last
				err = c.oneMore()
			}
			return true, err
		case first.conn == c: // [MQTT-2.2.1-3]
			return true, &wireError{PacketIdentifierInUse, "packet id is still in use"}
		}
		// A client that lost its memory reuses the id: never acknowledge the
		// new message for the old one.
	}
	if err := c.oneMore(); err != nil {
		return true, err
	}
	if c.duplicate(in, dup) {
		s.srv.count.duplicates.Add(1)
		in.echo = true
		return false, nil
	}
	if s.durable() {
		in.record = InboundRecord{
			Client: s.client, Epoch: s.epoch, PacketID: in.id, QoS: in.Message.QoS, Hash: in.hash, Slot: uint32(in.id),
		}
		if in.Message.QoS == 1 {
			in.slot = b.recent.next(in.id, in.hash)
			in.record.Slot = in.slot.number
		}
		in.Record = &in.record
	}
	if c.srv.handler != nil {
		b.open[in.id] = in
	}
	return false, nil
}

// duplicate recognises a redelivery of what was released already.
func (c *conn) duplicate(in *Inbound, dup bool) bool {
	b := &c.sess.inbox
	if in.Message.QoS == 1 {
		return dup && c.resumed && !fault.On(fault.NoDuplicateCheck) && b.recent.seen(in.id, in.hash)
	}
	known := b.exactly[in.id]
	if known == nil || fault.On(fault.NoDuplicateCheck) {
		return false
	}
	if known.hash == in.hash && (dup || known.conn == c) { // [MQTT-4.3.3-10]
		if known.conn == c {
			c.unacked-- // its place is taken already
		}
		known.conn = c
		return true
	}
	delete(b.exactly, in.id) // the client's memory is gone, and with it the old exchange
	return false
}

// oneMore takes a place in the receive maximum.
func (c *conn) oneMore() error {
	c.unacked++
	if c.version == 5 && c.unacked > int(c.srv.cfg.ReceiveMaximum) { // [MQTT-3.3.4-9]
		return &wireError{ReceiveMaximumExceeded, "more unacknowledged messages than the receive maximum"}
	}
	return nil
}

// release handles PUBREL: the id's record goes first, then PUBCOMP.
func (c *conn) release(id uint16) error {
	s := c.sess
	l := s.lane
	l.mu.Lock()
	if first := s.inbox.open[id]; first != nil && first.conn == c {
		early := first.acked // by the seeded fault
		l.mu.Unlock()
		if !early {
			return violation("PUBREL before PUBREC")
		}
		c.ack(c.routing, packets.Pubcomp, id, Success)
		return nil
	}
	known := s.inbox.exactly[id]
	if known == nil {
		l.mu.Unlock()
		c.ack(c.routing, packets.Pubcomp, id, PacketIdentifierNotFound)
		return nil
	}
	if known.releasing && known.conn == c {
		l.mu.Unlock()
		return nil // its PUBCOMP is on the way
	}
	mine := known.conn == c
	known.conn, known.releasing = c, true
	l.mu.Unlock()
	if s.srv.store == nil || !s.durable() {
		c.released(known, id, mine, c.routing)
		return nil
	}
	s.srv.storing.Add(1)
	s.srv.store.ForgetID(s.client, s.epoch, id, func(err error) {
		defer s.srv.storing.Done()
		if err != nil {
			// No PUBCOMP: the client asks again when it comes back.
			s.srv.storeFailed("forget packet id", s.client, err)
			l.mu.Lock()
			known.releasing = false
			l.mu.Unlock()
			return
		}
		c.released(known, id, mine, nil)
	})
	return nil
}

func (c *conn) released(known *exactly, id uint16, mine bool, r *routing) {
	l := c.sess.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.sess.inbox.exactly[id] == known {
		delete(c.sess.inbox.exactly, id)
	}
	to := known.conn
	if mine && to == c {
		c.unacked--
	}
	to.ack(r, packets.Pubcomp, id, Success) // [MQTT-4.3.3-11]
	fault.Reached(fault.Completed)
}

// resolveAlias sets the topic of a version 5 PUBLISH by its alias
// [MQTT5 3.3.2.3.4], [MQTT-3.1.2-26].
func (c *conn) resolveAlias(m *Message) error {
	alias := int(c.pk.Properties.TopicAlias)
	if alias == 0 {
		if m.Topic == "" {
			return &wireError{ProtocolError, "PUBLISH without topic"} // [MQTT-4.7.3-1]
		}
		return nil
	}
	if alias > int(c.srv.cfg.TopicAliasMaximum) { // [MQTT-3.3.2-9]
		return &wireError{TopicAliasInvalid, "topic alias out of range"}
	}
	if m.Topic == "" {
		if alias < len(c.aliases) {
			m.Topic = c.aliases[alias]
		}
		if m.Topic == "" {
			return violation("topic alias is not set")
		}
		return nil
	}
	if c.aliases == nil {
		c.aliases = make([]string, c.srv.cfg.TopicAliasMaximum+1)
	}
	c.aliases[alias] = strings.Clone(m.Topic)
	return nil
}

// pace holds a client to its publish rate by not reading on.
func (c *conn) pace() error {
	limit := c.srv.cfg.PublishRate
	if limit == 0 {
		return nil
	}
	const slice = 100 * time.Millisecond
	if c.inWindow++; c.inWindow <= limit/10+1 {
		return nil
	}
	now := time.Now()
	if rest := slice - now.Sub(c.window); rest > 0 {
		c.srv.count.rateStalls.Add(1)
		c.routing.flush()
		t := time.NewTimer(rest)
		defer t.Stop()
		select {
		case <-t.C:
		case <-c.closing:
		}
		now = time.Now()
	}
	c.window, c.inWindow = now, 1
	return nil
}

// ackEarly is the seeded fault AckBeforeCommit.
func (in *Inbound) ackEarly(r *routing) {
	l := in.session.lane
	l.mu.Lock()
	defer l.mu.Unlock()
	if in.id == 0 || in.acked || in.released {
		return
	}
	kind := packets.Puback
	if in.Message.QoS == 2 {
		kind = packets.Pubrec
	}
	in.answer(r, kind)
	in.acked = true
}

// publishWill sends a session's will on its way. The lane's order puts it
// behind what the client published before.
func (s *session) publishWill(w *will) {
	in := &Inbound{Message: w.msg, Client: s.client, User: s.user, Will: true, session: s, own: &own{will: w}}
	if w.life >= 0 {
		in.Message.Expires = time.Now().Add(w.life)
	}
	s.hand(in)
}
