package broker

import "sort"

// queued is one message for one session.
type queued struct {
	msg    *Message
	seq    uint64 // the place in the session's order of QoS 1 and 2; 0 for QoS 0
	qos    byte
	retain bool
	replay bool // of a retained message, which the broker holds anyway
	stored bool // has a row on disk, or is going to have one
	loaded bool // from disk: whether it was sent before is not known
	state  place
	subID  int
	subIDs []int
	group  *shareGroup // that it came through, for its return
}

// place says how far a queued message is.
type place byte

const (
	ready    place = iota // may be sent
	reserved              // waits for its commit, and everything behind it too
	gone                  // nothing is here any more
)

func (q *queued) size() int {
	if q.replay {
		return 96
	}
	return q.msg.size()
}

// queue holds one session's outgoing messages that are not in flight yet,
// oldest first, by sequence number where they have one. It is guarded by
// session.mu. Memory serves it; the disk remembers what a restart needs of it.
type queue struct {
	items []queued
	at    int // of the head, which is never gone
}

// empty reports whether nothing is in it, not even a reserved place.
func (m *queue) empty() bool { return m.at == len(m.items) }

// head is the oldest one, nil when there is none.
func (m *queue) head() *queued {
	if m.empty() {
		return nil
	}
	return &m.items[m.at]
}

func (m *queue) push(q queued) {
	if m.at > 64 && m.at > len(m.items)/2 {
		n := copy(m.items, m.items[m.at:])
		clear(m.items[n:])
		m.items, m.at = m.items[:n], 0
	}
	m.items = append(m.items, q)
}

// pop removes the head.
func (m *queue) pop() (queued, bool) {
	if m.empty() {
		return queued{}, false
	}
	q := m.items[m.at]
	m.drop(&m.items[m.at])
	return q, true
}

// drop leaves a hole where q, which must be in the queue, was.
func (m *queue) drop(q *queued) {
	*q = queued{seq: q.seq, state: gone}
	for m.at < len(m.items) && m.items[m.at].state == gone {
		m.items[m.at] = queued{}
		m.at++
	}
	if m.empty() {
		m.items, m.at = m.items[:0], 0
		if cap(m.items) > 256 {
			m.items = nil
		}
	}
}

// find returns what has the sequence number, or nil.
func (m *queue) find(seq uint64) *queued {
	live := m.items[m.at:]
	i := sort.Search(len(live), func(i int) bool { return live[i].seq >= seq })
	if i == len(live) || live[i].seq != seq || live[i].state == gone {
		return nil
	}
	return &live[i]
}

// oldest is the first one that is ready, nil when there is none.
func (m *queue) oldest() *queued {
	for i := m.at; i < len(m.items); i++ {
		if m.items[i].state == ready {
			return &m.items[i]
		}
	}
	return nil
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
