package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/function"
)

// GetState reads one key for an administrator, and returns once what it read
// has committed.
func (s *Store) GetState(ctx context.Context, ns, key string) (value []byte, found bool, err error) {
	err = s.readCommitted(ctx, func(v *View) error {
		value, found, err = v.Get(ns, key)
		return err
	})
	return value, found, err
}

// ListState lists keys for an administrator, as View.List and GetState do.
func (s *Store) ListState(ctx context.Context, ns, prefix, after string, limit int) (keys []string, more bool, err error) {
	err = s.readCommitted(ctx, func(v *View) error {
		keys, more, err = v.List(ns, prefix, after, limit)
		return err
	})
	return keys, more, err
}

// readCommitted reads, and waits until what was read has committed; what was
// taken back meanwhile is read again.
func (s *Store) readCommitted(ctx context.Context, read func(*View) error) error {
	v := s.View()
	defer v.Release()
	for {
		err := read(v)
		if err == nil {
			err = s.wait(ctx, Ticket{Seq: v.last, Gen: v.gen})
		}
		if !errors.Is(err, ErrRolledBack) || ctx.Err() != nil {
			return err
		}
		v.Reset()
	}
}

func (s *Store) wait(ctx context.Context, t Ticket) error {
	done := make(chan error, 1)
	s.AfterCommit(t, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// SetState writes one key and returns after the commit; a running function
// that has read it reruns.
func (s *Store) SetState(ctx context.Context, ns, key string, value []byte, ttl time.Duration) error {
	return s.sealAndWait(ctx, &Unit{Slots: []Slot{{Writes: []function.Write{{Namespace: ns, Key: key, Value: value, TTL: ttl}}}}})
}

// DeleteState deletes one key and returns after the commit.
func (s *Store) DeleteState(ctx context.Context, ns, key string) error {
	return s.sealAndWait(ctx, &Unit{Slots: []Slot{{Writes: []function.Write{{Namespace: ns, Key: key, Delete: true}}}}})
}

// StateBytes returns what a namespace holds, and its bound.
func (s *Store) StateBytes(ns string) (bytes, quota int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaceLocked(ns)
	return n.bytes, s.quotaOf(n)
}

// Namespaces lists the namespaces that hold something.
func (s *Store) Namespaces() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for name, n := range s.spaces {
		if n.bytes > 0 && !isObjects(n.id) {
			out = append(out, name)
		}
	}
	return out
}

// sealAndWait seals a unit and waits for its commit.
func (s *Store) sealAndWait(ctx context.Context, u *Unit) error {
	done := make(chan error, 1)
	u.Done = func(err error) { done <- err }
	t, err := s.Seal(u)
	if err != nil || !t.Written {
		return err
	}
	select {
	case err := <-done:
		return s.because(err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Sweep deletes the keys whose time has passed and the oldest usage and dead
// letters beyond their bounds, and returns after the commit.
func (s *Store) Sweep(ctx context.Context) error {
	if err := s.trimUsage(ctx); err != nil {
		return err
	}
	if s.lettersDue(ctx) {
		if err := s.expireDead(ctx); err != nil {
			return err
		}
	}
	const batch = 500
	for {
		n, err := s.sweepBatch(ctx, batch)
		if err != nil || n < batch {
			return err
		}
	}
}

func (s *Store) sweepBatch(ctx context.Context, batch int) (int, error) {
	now := s.now()
	rows, err := s.reader.db.QueryContext(ctx, `SELECT ns, key FROM kv WHERE expires <= ? ORDER BY expires LIMIT ?`, now, batch)
	if err != nil {
		return 0, fmt.Errorf("find expired keys: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var keys []kvKey
	for rows.Next() {
		var k kvKey
		if err := rows.Scan(&k.ns, &k.key); err != nil {
			return 0, fmt.Errorf("find expired keys: %w", err)
		}
		keys = append(keys, k)
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("find expired keys: %w", err)
	}
	u := &Unit{Slots: make([]Slot, 0, 1)}
	var writes []function.Write
	s.mu.Lock()
	for _, k := range keys {
		// A key that was written again meanwhile may not be expired any more.
		if e := s.overlay.entries[k]; e != nil && (e.live(now) || !e.found) {
			continue
		}
		writes = append(writes, function.Write{Namespace: s.nameLocked(k.ns), Key: k.key, Delete: true})
	}
	s.mu.Unlock()
	if len(writes) == 0 {
		return 0, nil
	}
	v := s.View()
	defer v.Release()
	for _, w := range writes {
		if _, found, err := v.Get(w.Namespace, w.Key); err != nil || found {
			return 0, err // written just now; the next sweep looks again
		}
	}
	u.Slots = append(u.Slots, Slot{View: v, Writes: writes})
	err = s.sealAndWait(ctx, u)
	var conflict *ConflictError
	if errors.As(err, &conflict) {
		return 0, nil
	}
	return len(writes), err
}
