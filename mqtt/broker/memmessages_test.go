package broker

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// memMessages is a message store whose commits happen when the test says so.
type memMessages struct {
	*memStore
	mu       sync.Mutex
	bodies   map[uint64][]byte
	rows     map[rowKey]OutgoingRecord
	retained map[string][]byte
	next     uint64
}

type rowKey struct {
	client string
	seq    uint64
}

var _ MessageStore = (*memMessages)(nil)

func newMemMessages() *memMessages {
	return &memMessages{memStore: newMemStore(), bodies: map[uint64][]byte{}, rows: map[rowKey]OutgoingRecord{}, retained: map[string][]byte{}}
}

// killed is what a restart would find.
func (m *memMessages) killed() *memMessages {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.memStore.mu.Lock()
	defer m.memStore.mu.Unlock()
	n := newMemMessages()
	n.bodies, n.rows, n.retained, n.next = maps.Clone(m.bodies), maps.Clone(m.rows), maps.Clone(m.retained), m.next
	n.sessions = maps.Clone(m.sessions)
	return n
}

func (m *memMessages) LoadMessages(_ context.Context, fn func(uint64, []byte)) error {
	for id, body := range m.bodies {
		fn(id, body)
	}
	return nil
}

func (m *memMessages) LoadOutgoing(_ context.Context, fn func(OutgoingRecord)) error {
	keys := slices.SortedFunc(maps.Keys(m.rows), func(a, b rowKey) int { return int(a.seq) - int(b.seq) })
	for _, k := range keys {
		fn(m.rows[k])
	}
	return nil
}

func (m *memMessages) LoadRetained(_ context.Context, fn func(string, []byte)) error {
	for topic, body := range m.retained {
		fn(topic, body)
	}
	return nil
}

func (m *memMessages) Deliver(p *Plan, done func(error)) {
	m.later(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.next++
		m.bodies[m.next] = AppendMessage(nil, p.Message, p.Message.Expires)
		for i := range p.Rows {
			row := &p.Rows[i]
			m.rows[rowKey{row.Client, row.Seq}] = OutgoingRecord{
				Client: row.Client, Epoch: row.Epoch, Seq: row.Seq, Message: m.next, Options: row.AppendOptions(nil),
			}
		}
	}, done)
}

func (m *memMessages) Releasing(client string, _, seq uint64, done func(error)) {
	m.later(func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		if row, ok := m.rows[rowKey{client, seq}]; ok {
			row.Releasing = true
			m.rows[rowKey{client, seq}] = row
		}
	}, done)
}

func (m *memMessages) Remove(client string, _, seq uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.rows, rowKey{client, seq})
}

func (m *memMessages) Retain(msg *Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(msg.Payload) == 0 {
		delete(m.retained, msg.Topic)
		return
	}
	m.retained[msg.Topic] = AppendMessage(nil, msg, msg.Expires)
}

func (m *memMessages) stored() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.rows)
}

func (m *memMessages) Runtime(stored time.Time) time.Time { return stored }
