package broker

import (
	"context"
	"fmt"
)

// loadMessages restores what durable sessions still have to get, and the
// retained messages. A row that cannot be read is left out, counted, logged
// and deleted.
func (s *Server) loadMessages(ctx context.Context) error {
	if s.messages == nil {
		return nil
	}
	all := map[uint64]*Message{}
	err := s.messages.LoadMessages(ctx, func(id uint64, body []byte) {
		m, err := s.storedMessage(body)
		if err != nil {
			s.damaged("message", "row", id, err)
			return
		}
		all[id] = m
	})
	if err != nil {
		return fmt.Errorf("load messages: %w", err)
	}
	err = s.messages.LoadOutgoing(ctx, func(rec OutgoingRecord) { s.restoreRow(rec, all[rec.Message]) })
	if err != nil {
		return fmt.Errorf("load outgoing messages: %w", err)
	}
	err = s.messages.LoadRetained(ctx, func(topic string, body []byte) {
		m, err := s.storedMessage(body)
		switch {
		case err != nil || m.Topic != topic:
			s.damaged("retained message", "topic", topic, errBadMessage)
			s.messages.Retain(&Message{Topic: topic})
		case m.expired():
			s.messages.Retain(&Message{Topic: topic})
		default:
			s.retained.load(m)
		}
	})
	if err != nil {
		return fmt.Errorf("load retained messages: %w", err)
	}
	return nil
}

func (s *Server) storedMessage(body []byte) (*Message, error) {
	m, err := decodeMessage(body)
	if err == nil && !m.Expires.IsZero() {
		m.Expires = s.messages.Runtime(m.Expires)
	}
	return m, err
}

func (s *Server) damaged(what, key string, value any, err error) {
	s.count.damaged.Add(1)
	s.log.Error("stored row is not usable and left out", "what", what, key, value, "error", err)
}

// restoreRow gives a session a message back. The first ones may have been sent
// before, and go out as what was in flight.
func (s *Server) restoreRow(rec OutgoingRecord, m *Message) {
	s.mu.Lock()
	sess := s.sessions[rec.Client]
	s.mu.Unlock()
	if sess == nil || sess.epoch != rec.Epoch {
		s.messages.Remove(rec.Client, rec.Epoch, rec.Seq)
		return
	}
	sess.mu.Lock()
	defer sess.mu.Unlock()
	o := &sess.out
	o.next = rec.Seq + 1
	q, share, err := decodeOptions(rec.Options)
	if err != nil || m == nil {
		s.damaged("message to a session", "client", rec.Client, errBadMessage)
		sess.removeRow(rec.Seq)
		return
	}
	q.msg, q.seq, q.stored, q.loaded = m, rec.Seq, true, true
	if share != "" {
		if q.group = s.groups[share]; q.group == nil {
			q.group = &shareGroup{filter: share}
		}
	}
	for rec.Releasing && !o.lossless.empty() { // nothing behind it was sent later
		one, _ := o.lossless.pop()
		o.ready--
		o.flights = append(o.flights, flight{queued: one})
	}
	w := o.window()
	sent := o.lossless.empty() && len(w) < s.cfg.MaxInflight && (len(w) == 0 || q.seq-w[0].seq < ids-1)
	switch {
	case rec.Releasing:
		o.flights = append(o.flights, flight{queued: q, state: releasing})
		sess.hold(&q)
	case sent:
		o.flights = append(o.flights, flight{queued: q})
		sess.hold(&q)
	default:
		sess.enqueue(q)
	}
}
