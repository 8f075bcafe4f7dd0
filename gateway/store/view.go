package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/sandbox/host"
)

// maxReads bounds the keys that one view may read.
const maxReads = 1 << 16

// View is what one invocation sees of the stored keys: the newest sealed
// values. It records what was read, for Seal to validate. It is used by one
// goroutine at a time and must be released, whether or not it was sealed.
type View struct {
	s *Store

	// All below is written under the store's mutex.
	active     bool
	gen        uint64
	begin      uint64 // sequence when the first read was made
	last       uint64 // greatest sequence that wrote what was read
	reads      []read
	index      map[kvKey]struct{} // of reads, once they are many
	lists      []listing
	prev, next *View // in the list of active views, oldest first

	space *namespace // last one used
}

type read struct {
	kvKey
	seq uint64
}

type listing struct {
	ns  *namespace
	seq uint64
}

var (
	_ host.State     = (*View)(nil)
	_ host.Committer = (*View)(nil)
)

// View returns a view that has read nothing. It costs the store nothing until
// its first read.
func (s *Store) View() *View {
	v := s.views.Get().(*View)
	v.s = s
	return v
}

// Release ends the view; it must not be used again.
func (v *View) Release() {
	v.Reset()
	v.s.views.Put(v)
}

// Reset forgets what was read, for a rerun.
func (v *View) Reset() {
	if v.active {
		v.s.mu.Lock()
		v.s.endViewLocked(v)
		v.s.mu.Unlock()
	}
	v.begin, v.last, v.gen = 0, 0, 0
	v.reads, v.lists, v.space = v.reads[:0], v.lists[:0], nil
	clear(v.index)
	if cap(v.reads) > 1024 {
		v.reads, v.index = nil, nil
	}
}

// Touched reports whether anything was read.
func (v *View) Touched() bool { return v.active }

// Get implements host.State. The value is shared and must not be changed.
func (v *View) Get(ns, key string) ([]byte, bool, error) {
	s := v.s
	s.mu.Lock()
	if err := s.startViewLocked(v); err != nil {
		s.mu.Unlock()
		return nil, false, err
	}
	k := kvKey{v.namespaceLocked(ns).id, key}
	e := s.overlay.get(k)
	if e == nil {
		s.stats.CacheMisses++
		s.mu.Unlock()
		loaded, err := s.reader.get(k)
		if err != nil {
			return nil, false, fmt.Errorf("read key %s:%s: %w", ns, key, err)
		}
		s.mu.Lock()
		if s.gen != v.gen {
			s.mu.Unlock()
			return nil, false, ErrRolledBack
		}
		if e = s.overlay.get(k); e == nil {
			e = loaded
			s.overlay.add(e)
			s.trimLocked()
		}
	}
	ok := v.recordLocked(k)
	v.last = max(v.last, e.seq)
	value, found, expires := e.value, e.found, e.expires
	s.mu.Unlock()
	if !ok {
		return nil, false, fmt.Errorf("an invocation may read at most %d keys", maxReads)
	}
	if expires != 0 && expires <= s.now() {
		return nil, false, nil
	}
	return value, found, nil
}

// List implements host.State.
func (v *View) List(ns, prefix, after string, limit int) (keys []string, more bool, err error) {
	s := v.s
	s.mu.Lock()
	if err := s.startViewLocked(v); err != nil {
		s.mu.Unlock()
		return nil, false, err
	}
	n := v.namespaceLocked(ns)
	if !slices.ContainsFunc(v.lists, func(l listing) bool { return l.ns == n }) {
		v.lists = append(v.lists, listing{n, s.seq})
	}
	v.last = max(v.last, n.changed)
	fresh := s.uncommittedLocked(n.id, prefix, after)
	s.mu.Unlock()
	return s.merge(n, prefix, after, limit, fresh)
}

// merge lists what is on disk with the changes of fresh applied.
func (s *Store) merge(n *namespace, prefix, after string, limit int, fresh map[string]bool) ([]string, bool, error) {
	limit = max(limit, 1)
	gone := 0
	for _, there := range fresh {
		if !there {
			gone++
		}
	}
	keys, err := s.reader.list(n.id, prefix, after, limit+gone+1, s.now())
	if err != nil {
		return nil, false, fmt.Errorf("list keys of %s: %w", n.name, err)
	}
	if len(fresh) > 0 {
		// Past the end of what was read, the disk's order is unknown: a full
		// answer hides later keys.
		full := len(keys) == limit+gone+1
		last := ""
		if full {
			last = keys[len(keys)-1]
		}
		keys = slices.DeleteFunc(keys, func(k string) bool { _, ok := fresh[k]; return ok })
		for k, there := range fresh {
			if there && (!full || k <= last) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
	}
	if len(keys) > limit {
		return keys[:limit], true, nil
	}
	return keys, false, nil
}

// uncommittedLocked returns the keys of a namespace that were written and may
// not be on disk yet, and whether each is there.
func (s *Store) uncommittedLocked(ns uint32, prefix, after string) map[string]bool {
	var out map[string]bool
	now := s.now()
	for _, g := range s.groups {
		for i := range g.writes {
			w := &g.writes[i]
			if w.ns != ns || w.key <= after && after != "" || !strings.HasPrefix(w.key, prefix) {
				continue
			}
			if out == nil {
				out = make(map[string]bool)
			}
			// The entry, not the write: a later group may have changed it.
			if e := s.overlay.entries[w.kvKey]; e != nil {
				out[w.key] = e.live(now)
			}
		}
	}
	return out
}

// Stale reports whether something that was read has been written since, so
// that a failure may be the fault of what was seen.
func (v *View) Stale() bool {
	if !v.active {
		return false
	}
	v.s.mu.Lock()
	defer v.s.mu.Unlock()
	return v.s.validateLocked(v, 0) != nil
}

// Last is the greatest sequence whose writes were read: nothing that the
// invocation says may leave before it has committed.
func (v *View) Last() uint64 { return v.last }

// Committed implements host.Committer.
func (v *View) Committed(ctx context.Context) error {
	if v.last == 0 {
		return nil
	}
	done := make(chan error, 1)
	v.s.AfterCommit(Ticket{Seq: v.last, Gen: v.gen}, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (v *View) namespaceLocked(ns string) *namespace {
	if v.space == nil || v.space.name != ns {
		v.space = v.s.namespaceLocked(ns)
	}
	return v.space
}

// recordLocked notes that k was read now. A repeated read keeps the first
// moment.
func (v *View) recordLocked(k kvKey) bool {
	const few = 16
	if len(v.reads) < few {
		for i := range v.reads {
			if v.reads[i].kvKey == k {
				return true
			}
		}
	} else {
		if len(v.index) == 0 {
			if v.index == nil {
				v.index = make(map[kvKey]struct{}, 2*few)
			}
			for i := range v.reads {
				v.index[v.reads[i].kvKey] = struct{}{}
			}
		}
		if _, ok := v.index[k]; ok {
			return true
		}
		if len(v.reads) >= maxReads {
			return false
		}
		v.index[k] = struct{}{}
	}
	v.reads = append(v.reads, read{k, v.s.seq})
	return true
}

func (s *Store) startViewLocked(v *View) error {
	for s.recovering && !s.closed {
		s.room.Wait()
	}
	switch {
	case s.closed:
		return ErrClosed
	case v.active && v.gen != s.gen:
		return ErrRolledBack
	case v.active:
		return nil
	}
	v.active, v.gen, v.begin = true, s.gen, s.seq
	v.prev, v.next = s.newestView, nil
	if s.newestView != nil {
		s.newestView.next = v
	} else {
		s.oldestView = v
	}
	s.newestView = v
	s.stats.ActiveViews++
	return nil
}

func (s *Store) endViewLocked(v *View) {
	if v.prev != nil {
		v.prev.next = v.next
	} else {
		s.oldestView = v.next
	}
	if v.next != nil {
		v.next.prev = v.prev
	} else {
		s.newestView = v.prev
	}
	v.prev, v.next, v.active = nil, nil, false
	s.stats.ActiveViews--
}

// validateLocked reports what v read that has been written since.
func (s *Store) validateLocked(v *View, slot int) error {
	if v == nil || !v.active {
		return nil
	}
	if v.gen != s.gen {
		return ErrRolledBack
	}
	for i := range v.reads {
		r := &v.reads[i]
		if e := s.overlay.entries[r.kvKey]; e != nil && e.seq > r.seq {
			return &ConflictError{Slot: slot, Namespace: s.nameLocked(r.ns), Key: r.key}
		}
	}
	for _, l := range v.lists {
		if l.ns.changed > l.seq {
			return &ConflictError{Slot: slot, Namespace: l.ns.name}
		}
	}
	return nil
}

// DropCache forgets committed state that is only kept for speed.
func (s *Store) DropCache() {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := s.committed
	if s.oldestView != nil {
		keep = min(keep, s.oldestView.begin)
	}
	s.overlay.trim(0, keep)
}

func (s *Store) trimLocked() {
	if s.overlay.bytes <= s.cfg.CacheBytes {
		return
	}
	keep := s.committed
	if s.oldestView != nil {
		keep = min(keep, s.oldestView.begin)
	}
	s.overlay.trim(s.cfg.CacheBytes, keep)
}
