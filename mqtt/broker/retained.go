package broker

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// retained holds the last retained message of each topic, bounded: what
// overflows is dropped, least recently published first.
type retained struct {
	maxMessages, maxBytes int
	dropped               func()
	// changed hears of every change, in order: an empty payload is the end of
	// what a topic retained. It is called with mu held.
	changed func(*Message)

	mu             sync.RWMutex // after session.mu
	root           retainedNode
	oldest, newest *retainedNode // by time of publication
	count, bytes   int
}

type retainedNode struct {
	parent       *retainedNode
	level        string
	children     map[string]*retainedNode
	msg          *Message
	older, newer *retainedNode
	// own is true below $SYS: the broker's own few topics take nobody's place.
	own bool
}

// store keeps m, or clears its topic when m has no payload [MQTT-3.3.1-6].
func (t *retained) store(m *Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed(m)
	if len(m.Payload) == 0 {
		if n := t.find(m.Topic); n != nil && n.msg != nil {
			t.clear(n)
		}
		return
	}
	t.put(m)
}

// load keeps a message that is on disk already.
func (t *retained) load(m *Message) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(m)
}

// put keeps m as the youngest, and drops the oldest while there is too much.
func (t *retained) put(m *Message) {
	n := &t.root
	for rest, more := m.Topic, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		child := n.children[level]
		if child == nil {
			child = &retainedNode{parent: n, level: level}
			if n.children == nil {
				n.children = map[string]*retainedNode{}
			}
			n.children[level] = child
		}
		n = child
	}
	if n.msg != nil {
		t.unlink(n)
	}
	n.msg = m
	if n.own = strings.HasPrefix(m.Topic, sysPrefix); n.own {
		return
	}
	n.older = t.newest
	if t.newest != nil {
		t.newest.newer = n
	} else {
		t.oldest = n
	}
	t.newest = n
	t.count++
	t.bytes += m.size()
	for t.count > t.maxMessages || t.bytes > t.maxBytes {
		t.forget(t.oldest)
		t.dropped()
	}
}

func (t *retained) find(name string) *retainedNode {
	n := &t.root
	for rest, more := name, true; more && n != nil; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		n = n.children[level]
	}
	return n
}

// unlink takes n's message out of the list and the counts.
func (t *retained) unlink(n *retainedNode) {
	if n.own {
		return
	}
	if n.older != nil {
		n.older.newer = n.newer
	} else {
		t.oldest = n.newer
	}
	if n.newer != nil {
		n.newer.older = n.older
	} else {
		t.newest = n.older
	}
	n.older, n.newer = nil, nil
	t.count--
	t.bytes -= n.msg.size()
}

// clear removes n's message and the branch that held only it.
func (t *retained) clear(n *retainedNode) {
	t.unlink(n)
	n.msg = nil
	for n.msg == nil && len(n.children) == 0 && n.parent != nil {
		delete(n.parent.children, n.level)
		n = n.parent
	}
}

// forget clears what nobody asked to clear.
func (t *retained) forget(n *retainedNode) {
	t.changed(&Message{Topic: n.msg.Topic})
	t.clear(n)
}

func (t *retained) size() (messages, bytes int) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.count, t.bytes
}

// match returns the messages whose topics match filter, in order of topic.
func (t *retained) match(filter string) []*Message {
	var found []*Message
	var stale []*retainedNode
	t.mu.RLock()
	if len(t.root.children) > 0 {
		now := time.Now()
		t.root.walk(filter, true, func(n *retainedNode) {
			if n.msg.Expires.IsZero() || now.Before(n.msg.Expires) {
				found = append(found, n.msg)
			} else {
				stale = append(stale, n)
			}
		})
	}
	t.mu.RUnlock()
	if len(stale) > 0 { // [MQTT5 3.3.2.3.3]
		t.expire(stale)
	}
	slices.SortFunc(found, func(a, b *Message) int { return strings.Compare(a.Topic, b.Topic) })
	return found
}

func (t *retained) expire(nodes []*retainedNode) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	for _, n := range nodes {
		if n.msg != nil && !n.msg.Expires.IsZero() && !now.Before(n.msg.Expires) {
			t.forget(n)
		}
	}
}

func (n *retainedNode) walk(filter string, first bool, visit func(*retainedNode)) {
	level, rest, more := strings.Cut(filter, "/")
	switch level {
	case "#":
		n.all(first, visit)
	case "+":
		for name, child := range n.children {
			if first && strings.HasPrefix(name, "$") { // [MQTT-4.7.2-1]
				continue
			}
			child.step(rest, more, visit)
		}
	default:
		if child := n.children[level]; child != nil {
			child.step(rest, more, visit)
		}
	}
}

// step goes on below n, which matched the level before rest.
func (n *retainedNode) step(rest string, more bool, visit func(*retainedNode)) {
	if more {
		n.walk(rest, false, visit)
	} else if n.msg != nil {
		visit(n)
	}
}

// all visits n and everything below: "a/#" matches "a" too.
func (n *retainedNode) all(first bool, visit func(*retainedNode)) {
	if n.msg != nil {
		visit(n)
	}
	for name, child := range n.children {
		if first && strings.HasPrefix(name, "$") {
			continue
		}
		child.all(false, visit)
	}
}
