package object

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// sourceExpiry is where the events of objects come from whose time has passed.
const sourceExpiry = "/objects/expiry"

// clear removes what nobody needs any more until ctx ends: files without a row,
// objects and uploads whose time has passed.
func (s *Service) clear(ctx context.Context) {
	t := time.NewTicker(s.cfg.Every)
	defer t.Stop()
	for {
		if err := s.blobs.collect(ctx, s.store.HoldsObject); err != nil && ctx.Err() == nil {
			s.cfg.Logger.Warn("clear away objects that nobody needs", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.blobs.wake:
		case <-t.C:
			if err := s.Expire(ctx); err != nil && ctx.Err() == nil {
				s.cfg.Logger.Warn("delete expired objects", "error", err)
			}
			s.uploads.expire()
		}
	}
}

// Expire deletes the objects whose time has passed.
func (s *Service) Expire(ctx context.Context) error {
	const batch = 64
	for {
		rows, err := s.store.ExpiredObjects(ctx, batch)
		if err != nil || len(rows) == 0 {
			return err
		}
		deleted := 0
		err = s.dispatcher.Decide(ctx, s.newID(), sourceExpiry, func(v *store.View) (e function.Effects, err error) {
			e.Objects, err = stillExpired(v, rows)
			deleted = len(e.Objects)
			return e, err
		})
		if err != nil {
			return err
		}
		s.stats.expired.Add(uint64(deleted))
		if len(rows) < batch || deleted == 0 {
			return nil
		}
	}
}

// stillExpired are the deletions of the rows that nobody has written since.
func stillExpired(v *store.View, rows []store.ObjectRow) ([]function.ObjectChange, error) {
	var gone []function.ObjectChange
	for _, row := range rows {
		_, alive, err := v.Get(function.ObjectSpace(row.Bucket), row.Key)
		if err != nil {
			return nil, err
		}
		if !alive {
			gone = append(gone, function.ObjectChange{Bucket: row.Bucket, Key: row.Key, Delete: true, Object: row.Object})
		}
	}
	return gone, nil
}

// Room are the deletions that make room for changes in buckets that drop their
// oldest objects. What it reads is part of the view's read set.
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
			return nil, fmt.Errorf("make room in bucket %s: %w", name, err)
		}
		evicted = append(evicted, gone...)
	}
	s.stats.evicted.Add(uint64(len(evicted)))
	return evicted, nil
}

func (s *Service) roomIn(v *store.View, b *Bucket, changes []function.ObjectChange) (gone []function.ObjectChange, err error) {
	use := s.store.BucketUse(b.Name)
	bytes, count := use.Bytes+use.Reserved-b.Quota, use.Objects-b.MaxObjects // by how much it is over
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
			bytes, count = bytes-old.Size, count-1
		}
		if !c.Delete {
			bytes, count = bytes+c.Object.Size, count+1
		}
	}
	if bytes <= 0 && count <= 0 {
		return nil, nil
	}
	const most = 256 // in one unit
	oldest, err := s.store.OldestObjects(context.Background(), b.Name, most)
	if err != nil {
		return nil, err
	}
	for _, row := range oldest {
		if bytes <= 0 && count <= 0 {
			return gone, nil
		}
		if now, found, err := lookUp(v, b.Name, row.Key); err != nil {
			return nil, err
		} else if changed[row.Key] || !found || now.Digest != row.Digest || !now.Modified.Equal(row.Modified) {
			continue // it is not the oldest any more
		}
		gone = append(gone, function.ObjectChange{Bucket: b.Name, Key: row.Key, Delete: true, Object: row.Object})
		bytes, count = bytes-row.Size, count-1
	}
	if bytes > 0 || count > 0 {
		return nil, ErrNoRoom
	}
	return gone, nil
}
