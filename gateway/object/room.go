package object

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// sourceRoom is where the events of objects come from that make room for one
// that is larger than many of them.
const sourceRoom = "/objects/room"

// mostEvicted bounds the deletions that make room within the unit that needs
// it. Where more are needed, units of their own come before.
const mostEvicted = 256

// moreRoomError is that the oldest objects that one unit deletes are not
// enough.
type moreRoomError struct {
	bucket *Bucket
	// bytes and count are by how much the bucket is to grow.
	bytes, count int64
	// made is closed when there is room, or there can be none.
	made <-chan struct{}
}

// Error says what follows.
func (e *moreRoomError) Error() string {
	return fmt.Sprintf("more than %d of the oldest objects have to go before this one fits into bucket %s: they are being deleted, try again", mostEvicted, e.bucket.Name)
}

// Room are the deletions that make room for changes in buckets that drop their
// oldest objects. What it reads is part of the view's read set. Where they are
// too many for one unit, it is an error, and room is made meanwhile.
func (s *Service) Room(v *store.View, changes []function.ObjectChange) ([]function.ObjectChange, error) {
	var evicted []function.ObjectChange
	for i := range changes {
		name := changes[i].Bucket
		b := s.buckets[name]
		if b == nil || !b.DropOldest || slices.ContainsFunc(changes[:i], func(c function.ObjectChange) bool { return c.Bucket == name }) {
			continue
		}
		gone, err := s.roomIn(v, b, changes)
		if err != nil {
			var more *moreRoomError
			if errors.As(err, &more) {
				s.wanted.note(more)
			}
			return nil, fmt.Errorf("make room in bucket %s: %w", name, err)
		}
		evicted = append(evicted, gone...)
	}
	s.stats.evicted.Add(uint64(len(evicted)))
	return evicted, nil
}

func (s *Service) roomIn(v *store.View, b *Bucket, changes []function.ObjectChange) ([]function.ObjectChange, error) {
	need := &moreRoomError{bucket: b}
	var bytes, count int64 // of what is put, which stays
	changed := map[string]bool{}
	for i := range changes {
		c := &changes[i]
		if c.Bucket != b.Name {
			continue
		}
		changed[c.Key] = true
		old, found, err := lookUp(v, b.Name, c.Key)
		if err != nil {
			return nil, err
		}
		if found {
			need.bytes, need.count = need.bytes-old.Size, need.count-1
		}
		if !c.Delete {
			need.bytes, need.count = need.bytes+c.Object.Size, need.count+1
			bytes, count = bytes+c.Object.Size, count+1
		}
	}
	if !s.over(need) {
		return nil, nil
	}
	if s.store.BucketUse(b.Name).Reserved+bytes > b.Quota || count > b.MaxObjects {
		return nil, ErrNoRoom // and nothing is deleted for it
	}
	gone, all, err := s.oldest(v, need, changed)
	switch {
	case err != nil:
		return nil, err
	case gone == nil && !all:
		return nil, need
	case gone == nil:
		return nil, ErrNoRoom
	}
	return gone, nil
}

// excess is by how much a bucket would be over its bounds.
func (s *Service) excess(need *moreRoomError) (bytes, count int64) {
	use := s.store.BucketUse(need.bucket.Name)
	return use.Bytes + use.Reserved + need.bytes - need.bucket.Quota, use.Objects + need.count - need.bucket.MaxObjects
}

func (s *Service) over(need *moreRoomError) bool {
	bytes, count := s.excess(need)
	return bytes > 0 || count > 0
}

// oldest are the deletions of the oldest objects, other than those in except,
// that make the room; nil where they do not suffice, and then all says whether
// the bucket has no others.
func (s *Service) oldest(v *store.View, need *moreRoomError, except map[string]bool) (gone []function.ObjectChange, all bool, err error) {
	rows, err := s.store.OldestObjects(context.Background(), need.bucket.Name, mostEvicted)
	if err != nil {
		return nil, false, err
	}
	gone, enough, err := s.oldestOf(v, need, rows, except)
	if err != nil || !enough {
		return nil, len(rows) < mostEvicted, err
	}
	return gone, false, nil
}

// oldestOf are the deletions of as many of the rows as make the room, other than
// those in except; enough says whether they do.
func (s *Service) oldestOf(v *store.View, need *moreRoomError, rows []store.ObjectRow, except map[string]bool) (gone []function.ObjectChange, enough bool, err error) {
	bytes, count := s.excess(need)
	for i := range rows {
		row := &rows[i]
		if bytes <= 0 && count <= 0 {
			break
		}
		if except[row.Key] {
			continue
		}
		if is, err := unchanged(v, row); err != nil {
			return nil, false, err
		} else if !is {
			continue // it is not the oldest any more
		}
		gone = append(gone, deletion(row))
		bytes, count = bytes-row.Size, count-1
	}
	return gone, bytes <= 0 && count <= 0, nil
}

// unchanged reports whether a key still has what a row says.
func unchanged(v *store.View, row *store.ObjectRow) (bool, error) {
	now, found, err := lookUp(v, row.Bucket, row.Key)
	return found && now.Digest == row.Digest && now.Modified.Equal(row.Modified), err
}

// wanted are the buckets that need more room than one unit makes. One goroutine
// makes it, so that what two ask for at once is not made twice.
type wanted struct {
	mu    sync.Mutex // guards needs
	needs map[string]*want
	wake  chan struct{}
}

// want is the room that a bucket needs.
type want struct {
	moreRoomError
	made chan struct{} // closed when it was made, or cannot be
}

func newWanted() wanted { return wanted{needs: map[string]*want{}, wake: make(chan struct{}, 1)} }

// note keeps the greatest need of each bucket.
func (w *wanted) note(e *moreRoomError) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := w.needs[e.bucket.Name]
	if n == nil {
		n = &want{moreRoomError: *e, made: make(chan struct{})}
		w.needs[e.bucket.Name] = n
	}
	n.bytes, n.count, e.made = max(n.bytes, e.bytes), max(n.count, e.count), n.made
	select {
	case w.wake <- struct{}{}:
	default: // it is awake already
	}
}

func (w *wanted) take() map[string]*want {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.needs
	w.needs = map[string]*want{}
	return all
}

// makeRoom deletes oldest objects where Room could not.
func (s *Service) makeRoom(ctx context.Context) {
	for name, n := range s.wanted.take() {
		if err := s.dropOldest(ctx, &n.moreRoomError); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("make room in a bucket", "bucket", name, "error", err)
		}
		close(n.made)
	}
}

// dropOldest deletes oldest objects, some at a time, until there is room for
// what is needed, or nothing is left.
func (s *Service) dropOldest(ctx context.Context, need *moreRoomError) error {
	for s.over(need) {
		rows, err := s.store.OldestObjects(ctx, need.bucket.Name, mostEvicted)
		if err != nil || len(rows) == 0 {
			return err
		}
		deleted, err := s.drop(ctx, sourceRoom, func(v *store.View) ([]function.ObjectChange, error) {
			gone, _, err := s.oldestOf(v, need, rows, nil)
			return gone, err
		})
		s.stats.evicted.Add(uint64(deleted))
		if err != nil || deleted == 0 {
			return err
		}
	}
	return nil
}
