package topic

import "sync/atomic"

// table is the hash table of a node's literal children: chained buckets that
// readers follow without a lock. A persistent map would copy a whole node on
// every insert (10 000 devices under one level make that quadratic), and a
// read-write lock would bounce between the cores on every message.
//
// The nil table is empty. Writers hold the tree's mutex.
type table[T any] struct {
	buckets []atomic.Pointer[entry[T]] // length is a power of two
	count   int                        // writers only
}

type entry[T any] struct {
	sum   uint64
	level string
	child *node[T]
	next  atomic.Pointer[entry[T]]
}

func (t *table[T]) get(sum uint64, level string) *node[T] {
	if t == nil {
		return nil
	}
	for e := t.buckets[sum&uint64(len(t.buckets)-1)].Load(); e != nil; e = e.next.Load() {
		if e.sum == sum && e.level == level {
			return e.child
		}
	}
	return nil
}

// put adds a child that is not there and returns the table that now holds it,
// which is another one when it had to grow.
func (t *table[T]) put(sum uint64, level string, child *node[T]) *table[T] {
	switch {
	case t == nil:
		t = &table[T]{buckets: make([]atomic.Pointer[entry[T]], 1)}
	case t.count >= len(t.buckets):
		t = t.grown()
	}
	t.insert(sum, level, child)
	return t
}

func (t *table[T]) insert(sum uint64, level string, child *node[T]) {
	head := &t.buckets[sum&uint64(len(t.buckets)-1)]
	e := &entry[T]{sum: sum, level: level, child: child}
	e.next.Store(head.Load())
	head.Store(e)
	t.count++
}

// grown returns a copy of twice the size. Readers may still follow the chains
// of the old one, so its entries are not reused.
func (t *table[T]) grown() *table[T] {
	bigger := &table[T]{buckets: make([]atomic.Pointer[entry[T]], 2*len(t.buckets))}
	for i := range t.buckets {
		for e := t.buckets[i].Load(); e != nil; e = e.next.Load() {
			bigger.insert(e.sum, e.level, e.child)
		}
	}
	return bigger
}

func (t *table[T]) remove(sum uint64, level string) {
	at := &t.buckets[sum&uint64(len(t.buckets)-1)]
	for e := at.Load(); e != nil; e = at.Load() {
		if e.sum == sum && e.level == level {
			at.Store(e.next.Load())
			t.count--
			return
		}
		at = &e.next
	}
}
