package object

import (
	"context"
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
		case <-s.wanted.wake:
			s.makeRoom(ctx)
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
		deleted, err := s.drop(ctx, sourceExpiry, func(v *store.View) ([]function.ObjectChange, error) { return stillExpired(v, rows) })
		s.stats.expired.Add(uint64(deleted))
		if err != nil || len(rows) < batch || deleted == 0 {
			return err
		}
	}
}

// drop commits the deletions that choose makes, and returns how many.
func (s *Service) drop(ctx context.Context, source string, choose func(v *store.View) ([]function.ObjectChange, error)) (deleted int, err error) {
	err = s.dispatcher.Decide(ctx, s.newID(), source, func(v *store.View) (e function.Effects, err error) {
		e.Objects, err = choose(v)
		deleted = len(e.Objects)
		return e, err
	})
	if err != nil {
		return 0, err
	}
	return deleted, nil
}

// deletion is that of a committed object.
func deletion(row *store.ObjectRow) function.ObjectChange {
	return function.ObjectChange{Bucket: row.Bucket, Key: row.Key, Delete: true, Object: row.Object}
}

// stillExpired are the deletions of the rows that nobody has written since.
func stillExpired(v *store.View, rows []store.ObjectRow) ([]function.ObjectChange, error) {
	var gone []function.ObjectChange
	for i := range rows {
		row := &rows[i]
		_, alive, err := v.Get(function.ObjectSpace(row.Bucket), row.Key)
		if err != nil {
			return nil, err
		}
		if !alive {
			gone = append(gone, deletion(row))
		}
	}
	return gone, nil
}
