package broker

import (
	"context"
	"errors"
	"sync"
)

// memStore is a session store whose commits happen when the test says so. Like
// a gateway's store it also keeps the records of events, see commit.
type memStore struct {
	mu       sync.Mutex
	sessions map[string]SessionRecord
	inbound  map[string]map[[2]uint32]InboundRecord // by client, then QoS and slot
	held     []func()
	hold     bool
	fail     error
}

var _ SessionStore = (*memStore)(nil)

func newMemStore() *memStore {
	return &memStore{sessions: map[string]SessionRecord{}, inbound: map[string]map[[2]uint32]InboundRecord{}}
}

func (m *memStore) LoadSessions(context.Context) ([]SessionRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []SessionRecord
	for client, rec := range m.sessions {
		for _, in := range m.inbound[client] {
			rec.Inbound = append(rec.Inbound, in)
		}
		out = append(out, rec)
	}
	return out, nil
}

// later runs change and done, or keeps them until commit.
func (m *memStore) later(change func(), done func(error)) {
	m.mu.Lock()
	fail := m.fail
	run := func() {
		if fail == nil {
			change()
		}
	}
	if m.hold {
		m.held = append(m.held, func() {
			m.mu.Lock()
			run()
			m.mu.Unlock()
			done(fail)
		})
		m.mu.Unlock()
		return
	}
	run()
	m.mu.Unlock()
	done(fail)
}

func (m *memStore) SaveSession(rec SessionRecord, done func(error)) {
	m.later(func() {
		if m.sessions[rec.Client].Epoch != rec.Epoch {
			delete(m.inbound, rec.Client)
		}
		m.sessions[rec.Client] = rec
	}, done)
}

func (m *memStore) DeleteSession(client string, done func(error)) {
	m.later(func() {
		delete(m.sessions, client)
		delete(m.inbound, client)
	}, done)
}

func (m *memStore) ForgetID(client string, _ uint64, id uint16, done func(error)) {
	m.later(func() { delete(m.inbound[client], [2]uint32{2, uint32(id)}) }, done)
}

// record is what the event's commit does.
func (m *memStore) record(rec *InboundRecord) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.inbound[rec.Client] == nil {
		m.inbound[rec.Client] = map[[2]uint32]InboundRecord{}
	}
	m.inbound[rec.Client][[2]uint32{uint32(rec.QoS), rec.Slot}] = *rec
}

func (m *memStore) setHold(hold bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hold = hold
}

// commit runs what is held, and reports how much that was.
func (m *memStore) commit() int {
	m.mu.Lock()
	held := m.held
	m.held = nil
	m.mu.Unlock()
	for _, f := range held {
		f()
	}
	return len(held)
}

func (m *memStore) waiting() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.held)
}

func (m *memStore) get(client string) (SessionRecord, int, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.sessions[client]
	return rec, len(m.inbound[client]), ok
}

var errDisk = errors.New("disk on fire")
