package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/function"
)

// The objects of a bucket are the keys of a namespace of its own
// (function.ObjectSpace): reads and writes of them are validated, sealed and
// committed as those of functions' state are. Only their rows are in another
// table, and their quota counts the bytes that they stand for.

// objectBit marks the numbers of such namespaces.
const objectBit = 1 << 31

func isObjects(ns uint32) bool { return ns&objectBit != 0 }

// BucketBounds is what a bucket may hold.
type BucketBounds struct {
	// Bytes bounds the sizes of its objects together, Objects how many there
	// are.
	Bytes, Objects int64
	// Keep is how long an object lives; 0 is for ever.
	Keep time.Duration
}

// SetBucket declares a bucket. What it holds already stays.
func (s *Store) SetBucket(bucket string, b BucketBounds) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaceLocked(function.ObjectSpace(bucket))
	n.quota, n.most, n.keep = b.Bytes, b.Objects, b.Keep
}

// BucketUse is what a bucket holds, what is reserved of it, and its bounds.
type BucketUse struct {
	Bytes, Objects, Reserved int64
	Bounds                   BucketBounds
}

// BucketUse tells what a bucket holds now, uncommitted changes included.
func (s *Store) BucketUse(bucket string) BucketUse {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaceLocked(function.ObjectSpace(bucket))
	return BucketUse{Bytes: n.bytes, Objects: n.count, Reserved: n.reserved, Bounds: BucketBounds{n.quota, n.most, n.keep}}
}

// Reserve keeps bytes of a bucket's quota for what is being uploaded, or gives
// them back where bytes is negative. spare is what will be free by the time it
// is there.
func (s *Store) Reserve(bucket string, bytes, spare int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.namespaceLocked(function.ObjectSpace(bucket))
	if bytes > 0 && s.space.stopped[Blobs] {
		s.stats.QuotaRefusals++
		return s.spaceError(Blobs)
	}
	if bytes > 0 && n.bytes+n.reserved+bytes > n.quota+spare {
		s.stats.QuotaRefusals++
		return n.bucketFull(-1, n.quota, "bytes")
	}
	n.reserved += bytes
	return nil
}

func (n *namespace) bucketFull(slot int, limit int64, unit string) *QuotaError {
	bucket, _ := function.ObjectSpaceBucket(n.name)
	return &QuotaError{What: "bucket", Namespace: bucket, Slot: slot, Limit: limit, Unit: unit}
}

// overLocked reports which bound a unit would break that changes the bucket.
func (n *namespace) overLocked(s *Store, slot int) *QuotaError {
	grows := n.delta > 0 || n.added > 0
	switch {
	case !grows:
		return nil
	case s.space.stopped[Blobs]:
		return s.spaceError(Blobs)
	case n.delta > 0 && n.bytes+n.reserved+n.delta > n.quota:
		return n.bucketFull(slot, n.quota, "bytes")
	case n.added > 0 && n.count+n.added > n.most:
		return n.bucketFull(slot, n.most, "objects")
	}
	return nil
}

// objectSize is what an object's key counts for in its bucket.
func objectSize(value []byte, found bool) int64 {
	if !found {
		return 0
	}
	o, err := function.DecodeObject(value)
	if err != nil {
		return 0
	}
	return o.Size
}

// freeLocked notes a digest that a key stands for no more.
func (g *group) freeLocked(old, now []byte) {
	was, err := function.DecodeObject(old)
	if err != nil {
		return
	}
	if is, err := function.DecodeObject(now); err == nil && is.Digest == was.Digest {
		return
	}
	g.freed = append(g.freed, was.Digest)
}

// OnObjectsFreed makes fn hear of digests that keys stood for until a commit.
// Others may still. It must not block.
func (s *Store) OnObjectsFreed(fn func(digests []string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.objectsFreed = fn
}

// tellFreed passes on what the group's commit freed.
func (s *Store) tellFreed(g *group) {
	if len(g.freed) == 0 {
		return
	}
	s.mu.Lock()
	fn := s.objectsFreed
	s.mu.Unlock()
	if fn != nil {
		fn(g.freed)
	}
}

const (
	sqlObjectSet = `INSERT INTO object (ns, key, digest, size, type, modified, seq, expires) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (ns, key) DO UPDATE SET digest = excluded.digest, size = excluded.size, type = excluded.type,
		modified = excluded.modified, seq = excluded.seq, expires = excluded.expires`
	sqlObjectDelete = `DELETE FROM object WHERE ns = ? AND key = ?`
)

// object writes a key of a bucket.
func (w *writer) object(g *group, k *kvWrite) error {
	if !k.found {
		return w.run(sqlObjectDelete, k.ns, k.key)
	}
	o, err := function.DecodeObject(k.value)
	if err != nil {
		return err
	}
	var expires any
	if k.expires != 0 {
		expires = k.expires
	}
	return w.run(sqlObjectSet, k.ns, k.key, o.Digest, o.Size, o.Type, unixMillis(o.Modified), int64(g.last), expires)
}

// getObject reads one key of a bucket.
func (r *reader) getObject(k kvKey) (*entry, error) {
	e := &entry{kvKey: k}
	var o function.Object
	var modified int64
	err := r.object.QueryRowContext(context.Background(), k.ns, k.key).Scan(&o.Digest, &o.Size, &o.Type, &modified, &e.expires)
	if err == nil {
		o.Modified = fromMillis(modified).UTC()
		e.value = o.Encode()
	}
	return e.read(r, err)
}

// ObjectRow is an object under its key.
type ObjectRow struct {
	Bucket, Key string
	function.Object
}

// OldestObjects lists the committed objects of a bucket that were written
// first.
func (s *Store) OldestObjects(ctx context.Context, bucket string, limit int) ([]ObjectRow, error) {
	s.mu.Lock()
	ns := s.namespaceLocked(function.ObjectSpace(bucket)).id
	s.mu.Unlock()
	return s.objectRows(ctx, `SELECT ns, key, digest, size, type, modified FROM object WHERE ns = ? ORDER BY seq LIMIT ?`, ns, limit)
}

// ExpiredObjects lists committed objects whose time has passed.
func (s *Store) ExpiredObjects(ctx context.Context, limit int) ([]ObjectRow, error) {
	return s.objectRows(ctx, `SELECT ns, key, digest, size, type, modified FROM object WHERE expires <= ? ORDER BY expires LIMIT ?`, s.now(), limit)
}

func (s *Store) objectRows(ctx context.Context, query string, args ...any) ([]ObjectRow, error) {
	rows, err := s.reader.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list objects: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []ObjectRow
	for rows.Next() {
		var ns uint32
		var modified int64
		var o ObjectRow
		if err := rows.Scan(&ns, &o.Key, &o.Digest, &o.Size, &o.Type, &modified); err != nil {
			return nil, fmt.Errorf("list objects: %w", err)
		}
		o.Modified = fromMillis(modified).UTC()
		s.mu.Lock()
		o.Bucket, _ = function.ObjectSpaceBucket(s.nameLocked(ns))
		s.mu.Unlock()
		out = append(out, o)
	}
	return out, rows.Err()
}

// HoldsObject reports whether a committed key stands for the digest.
func (s *Store) HoldsObject(ctx context.Context, digest string) (bool, error) {
	var one int
	err := s.reader.db.QueryRowContext(ctx, `SELECT 1 FROM object WHERE digest = ? LIMIT 1`, digest).Scan(&one)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return false, nil
	case err != nil:
		s.noteDamage(err)
		return false, fmt.Errorf("look for an object of %s: %w", digest, err)
	}
	return true, nil
}

// GetObject reads what a bucket has under a key, and returns once what it read
// has committed.
func (s *Store) GetObject(ctx context.Context, bucket, key string) (o function.Object, found bool, err error) {
	value, found, err := s.GetState(ctx, function.ObjectSpace(bucket), key)
	if err != nil || !found {
		return o, false, err
	}
	o, err = function.DecodeObject(value)
	return o, err == nil, err
}

// ListObjects lists up to limit objects of a bucket whose keys start with
// prefix and sort after after, and whether there are more.
func (s *Store) ListObjects(ctx context.Context, bucket, prefix, after string, limit int) (rows []ObjectRow, more bool, err error) {
	space := function.ObjectSpace(bucket)
	err = s.readCommitted(ctx, func(v *View) error {
		var keys []string
		rows = rows[:0]
		if keys, more, err = v.List(space, prefix, after, limit); err != nil {
			return err
		}
		for _, key := range keys {
			value, found, err := v.Get(space, key)
			if err != nil {
				return err
			}
			if !found {
				continue // deleted between the two
			}
			o, err := function.DecodeObject(value)
			if err != nil {
				return err
			}
			rows = append(rows, ObjectRow{bucket, key, o})
		}
		return nil
	})
	return rows, more, err
}

// CheckSpace reports when falling space has stopped a class.
func (s *Store) CheckSpace(c Class) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.space.stopped[c] {
		return s.spaceError(c)
	}
	return nil
}
