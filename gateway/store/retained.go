package store

import (
	"context"
	"fmt"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// retainedEntry is what must be known of a topic's stored message.
type retainedEntry struct {
	// last is what was written last; nil when that was before the last start
	// or rollback.
	last  *broker.Message
	bytes int64
}

// retainedOp is the newest change of a topic within a group.
type retainedOp struct {
	message *broker.Message // without a payload: a deletion
	seq     uint64
}

type retainedState struct {
	byTopic map[string]retainedEntry
	bytes   int64
}

// retainLocked writes what a topic retains. Changes of one topic within a group
// leave one.
func (s *Store) retainLocked(g *group, m *broker.Message) {
	old := s.retained.byTopic[m.Topic]
	s.retained.bytes -= old.bytes
	if len(m.Payload) == 0 {
		delete(s.retained.byTopic, m.Topic)
	} else {
		n := messageBytes(m)
		s.retained.byTopic[m.Topic] = retainedEntry{m, n}
		s.retained.bytes += n
		g.bytes += n
	}
	if g.retained == nil {
		g.retained = make(map[string]retainedOp)
	}
	g.retained[m.Topic] = retainedOp{m, s.seq}
}

// Retain implements broker.MessageStore.
func (s *Store) Retain(m *broker.Message) {
	s.sealOp(&looseOp{lazy: true, change: func(g *group) {
		old, there := s.retained.byTopic[m.Topic]
		if !there && len(m.Payload) == 0 || there && old.last == m {
			return
		}
		s.retainLocked(g, m)
	}})
}

// LoadRetained implements broker.MessageStore.
func (s *Store) LoadRetained(ctx context.Context, fn func(topic string, body []byte)) error {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT topic, body FROM retained ORDER BY seq, topic`)
	if err != nil {
		return fmt.Errorf("read retained messages: %w", err)
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var topic string
		var body []byte
		if err := rows.Scan(&topic, &body); err != nil {
			return fmt.Errorf("read retained messages: %w", err)
		}
		fn(topic, body)
	}
	return rows.Err()
}

// retained writes the group's retained messages.
func (w *writer) retained(g *group) error {
	for topic, o := range g.retained {
		var err error
		if len(o.message.Payload) == 0 {
			err = w.run(sqlRetainedDelete, topic)
		} else {
			w.buf = broker.AppendMessage(w.buf[:0], o.message, w.s.steadyOf(o.message.Expires))
			err = w.run(sqlRetained, topic, int64(o.seq), w.buf)
		}
		if err != nil {
			return fmt.Errorf("write retained message: %w", err)
		}
	}
	return nil
}
