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
