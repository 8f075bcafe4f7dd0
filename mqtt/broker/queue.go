package broker

// queue holds one session's outgoing messages that are not in flight yet,
// oldest first. It is guarded by session.mu. It is the seam at which durable
// queues will replace memory.
type queue interface {
	push(queued)
	// pop removes the oldest one; ok is false when there is none.
	pop() (q queued, ok bool)
	len() int
}

// queued is one message for one session.
type queued struct {
	msg    *Message
	qos    byte
	retain bool
	subID  int
	subIDs []int
	group  *shareGroup // that it came through, for its return
	replay bool        // of a retained message, which the store holds anyway
}

func (q *queued) size() int {
	if q.replay {
		return 96
	}
	return q.msg.size()
}

// memoryQueue is a queue that a restart loses.
type memoryQueue struct {
	items []queued
	head  int
}

var _ queue = (*memoryQueue)(nil)

func (m *memoryQueue) len() int { return len(m.items) - m.head }

func (m *memoryQueue) push(q queued) {
	if m.head > 64 && m.head > len(m.items)/2 {
		n := copy(m.items, m.items[m.head:])
		clear(m.items[n:])
		m.items, m.head = m.items[:n], 0
	}
	m.items = append(m.items, q)
}

func (m *memoryQueue) pop() (queued, bool) {
	if m.head == len(m.items) {
		return queued{}, false
	}
	q := m.items[m.head]
	m.items[m.head] = queued{}
	if m.head++; m.head == len(m.items) {
		m.items, m.head = m.items[:0], 0
		if cap(m.items) > 256 {
			m.items = nil
		}
	}
	return q, true
}

// size is what a message counts against limits: its bytes and what it takes to
// hold them.
func (m *Message) size() int {
	const overhead = 96
	n := overhead + len(m.Topic) + len(m.Payload)
	if p := m.Properties; p != nil {
		n += len(p.ContentType) + len(p.ResponseTopic) + len(p.CorrelationData)
		for _, u := range p.User {
			n += 32 + len(u.Name) + len(u.Value)
		}
	}
	return n
}
