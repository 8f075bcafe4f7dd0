package topic

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
)

// Tree is an index from filters to values. Looking up the values whose filters
// match a name takes no lock and no allocation, and its cost depends on the
// levels of the name, not on the number of filters. Writers exclude each other
// only. A lookup during a change sees each filter either before or after it.
//
// The zero Tree is not usable; call NewTree.
type Tree[T any] struct {
	mu   sync.Mutex // guards all writes
	seed maphash.Seed
	root node[T]
	size atomic.Int64
}

// A node stands for the levels on the way to it. Readers load its pointers,
// writers replace what they point to.
type node[T any] struct {
	plus     atomic.Pointer[node[T]] // child for level +
	hash     atomic.Pointer[[]T]     // values of filters that end here in #
	here     atomic.Pointer[[]T]     // values of filters that end here
	children atomic.Pointer[table[T]]
}

// NewTree returns an empty index.
func NewTree[T any]() *Tree[T] { return &Tree[T]{seed: maphash.MakeSeed()} }

// Len returns the number of values in the index.
func (t *Tree[T]) Len() int { return int(t.size.Load()) }

// Add puts v under a valid filter, behind those that are there.
func (t *Tree[T]) Add(filter string, v T) {
	t.Update(filter, func(old []T) []T { return append(old, v) })
}

// Remove takes away the values under filter for which gone is true, and
// returns how many there were.
func (t *Tree[T]) Remove(filter string, gone func(T) bool) int {
	n := 0
	t.Update(filter, func(old []T) []T {
		kept := old[:0]
		for _, v := range old {
			if gone(v) {
				n++
				continue
			}
			kept = append(kept, v)
		}
		return kept
	})
	return n
}

// Update replaces the values under filter by what change makes of a copy of
// them, in one step: a lookup sees the old or the new ones. change must not
// call the tree.
func (t *Tree[T]) Update(filter string, change func(values []T) []T) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.update(&t.root, filter, true, change)
}

// update walks down to the end of the filter and prunes on the way back.
// more is false when the filter is used up.
func (t *Tree[T]) update(n *node[T], rest string, more bool, change func([]T) []T) {
	if !more {
		t.replace(&n.here, change)
		return
	}
	level, rest, more := strings.Cut(rest, "/")
	if level == "#" {
		t.replace(&n.hash, change)
		return
	}
	if level == "+" {
		child := n.plus.Load()
		if child == nil {
			child = &node[T]{}
		}
		t.update(child, rest, more, change)
		if child.empty() {
			child = nil
		}
		n.plus.Store(child)
		return
	}
	h := maphash.String(t.seed, level)
	children := n.children.Load()
	child := children.get(h, level)
	fresh := child == nil
	if fresh {
		child = &node[T]{}
	}
	t.update(child, rest, more, change)
	switch {
	case child.empty() && !fresh:
		if children.remove(h, level); children.count == 0 {
			n.children.Store(nil)
		}
	case !child.empty() && fresh:
		n.children.Store(children.put(h, level, child))
	}
}

func (t *Tree[T]) replace(p *atomic.Pointer[[]T], change func([]T) []T) {
	var old []T
	if have := p.Load(); have != nil {
		old = *have
	}
	values := change(append(make([]T, 0, len(old)+1), old...))
	t.size.Add(int64(len(values) - len(old)))
	if len(values) == 0 {
		p.Store(nil)
		return
	}
	p.Store(&values)
}

func (n *node[T]) empty() bool {
	return n.plus.Load() == nil && n.hash.Load() == nil && n.here.Load() == nil && n.children.Load() == nil
}

// Match appends to dst the values of all filters that match the valid name,
// and returns it.
func (t *Tree[T]) Match(name string, dst []T) []T {
	if !reserved(name) {
		return t.match(&t.root, name, dst)
	}
	// Wildcards at the first level do not match $ [MQTT-4.7.2-1].
	level, rest, more := strings.Cut(name, "/")
	child := t.root.children.Load().get(maphash.String(t.seed, level), level)
	if child == nil {
		return dst
	}
	if !more {
		return child.ending(dst)
	}
	return t.match(child, rest, dst)
}

func (t *Tree[T]) match(n *node[T], name string, dst []T) []T {
	if v := n.hash.Load(); v != nil {
		dst = append(dst, *v...)
	}
	level, rest, more := strings.Cut(name, "/")
	if child := n.plus.Load(); child != nil {
		if more {
			dst = t.match(child, rest, dst)
		} else {
			dst = child.ending(dst)
		}
	}
	children := n.children.Load()
	if children == nil {
		return dst
	}
	child := children.get(maphash.String(t.seed, level), level)
	switch {
	case child == nil:
		return dst
	case more:
		return t.match(child, rest, dst)
	}
	return child.ending(dst)
}

// ending appends the values of filters that match a name whose last level led
// here: those that end here, and "here/#" [MQTT5 4.7.1.2].
func (n *node[T]) ending(dst []T) []T {
	if v := n.here.Load(); v != nil {
		dst = append(dst, *v...)
	}
	if v := n.hash.Load(); v != nil {
		dst = append(dst, *v...)
	}
	return dst
}
