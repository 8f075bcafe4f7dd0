// Package tail keeps the newest things that happened (log lines, events,
// invocations) in memory, and lets people follow them as they come.
//
// It is for eyes, not for accounts: it is bounded, it forgets the oldest, and
// a follower that is too slow misses some, which is counted.
package tail

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
)

// followerBuffer is how many items a follower may lag behind.
const followerBuffer = 1024

// Ring holds the newest items of one kind. Its methods may be called from any
// goroutine; Add never blocks.
type Ring[T any] struct {
	mu        sync.Mutex
	items     []T
	next      uint64 // number of items ever added; items[next%len] is the oldest
	followers map[*follower[T]]struct{}
	missed    atomic.Uint64
}

type follower[T any] struct {
	items chan T
	keep  func(*T) bool
}

// NewRing makes a ring of the newest size items.
func NewRing[T any](size int) *Ring[T] {
	return &Ring[T]{items: make([]T, size), followers: map[*follower[T]]struct{}{}}
}

// Add puts item in, over the oldest.
func (r *Ring[T]) Add(item T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.items[r.next%uint64(len(r.items))] = item
	r.next++
	for f := range r.followers {
		if f.keep != nil && !f.keep(&item) {
			continue
		}
		select {
		case f.items <- item:
		default:
			r.missed.Add(1)
		}
	}
}

// Missed counts what slow followers did not get.
func (r *Ring[T]) Missed() uint64 { return r.missed.Load() }

// Last returns the newest items that keep accepts (all, when nil), oldest
// first, at most limit.
func (r *Ring[T]) Last(limit int, keep func(*T) bool) []T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last(limit, keep)
}

func (r *Ring[T]) last(limit int, keep func(*T) bool) []T {
	size := uint64(len(r.items))
	var found []T
	for n := r.next; n > 0 && r.next-n < size && len(found) < limit; n-- {
		item := &r.items[(n-1)%size]
		if keep == nil || keep(item) {
			found = append(found, *item)
		}
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

// Follow yields the newest limit items and then every new one until ctx ends.
func (r *Ring[T]) Follow(ctx context.Context, limit int, keep func(*T) bool) iter.Seq[T] {
	return func(yield func(T) bool) {
		f := &follower[T]{items: make(chan T, followerBuffer), keep: keep}
		r.mu.Lock()
		backlog := r.last(limit, keep)
		r.followers[f] = struct{}{}
		r.mu.Unlock()
		defer func() {
			r.mu.Lock()
			delete(r.followers, f)
			r.mu.Unlock()
		}()
		for _, item := range backlog {
			if !yield(item) {
				return
			}
		}
		for {
			select {
			case <-ctx.Done():
				return
			case item := <-f.items:
				if !yield(item) {
					return
				}
			}
		}
	}
}
