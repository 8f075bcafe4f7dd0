package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// reader is the pool of connections that read. Its methods are safe for
// concurrent use.
type reader struct {
	db                     *sql.DB
	getKey, keys, keysFrom *sql.Stmt
	event                  *sql.Stmt
	// The same of objects.
	object, objects, objectsFrom *sql.Stmt
	failed                       func(error) // told of errors
}

const readers = 3

func (s *Store) openReader() (_ *reader, err error) {
	r := &reader{failed: s.noteDamage}
	if r.db, err = sql.Open("sqlite", s.dsn(true)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = r.db.Close()
		}
	}()
	r.db.SetMaxOpenConns(readers)
	r.db.SetMaxIdleConns(readers)
	for _, p := range []struct {
		stmt **sql.Stmt
		sql  string
	}{
		{&r.getKey, `SELECT value, coalesce(expires, 0) FROM kv WHERE ns = ? AND key = ?`},
		{&r.keys, `SELECT key FROM kv WHERE ns = ?1 AND key >= ?2 AND key < ?3
			AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5`},
		{&r.keysFrom, `SELECT key FROM kv WHERE ns = ?1 AND key > ?2 AND key < ?3
			AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5`},
		{&r.object, `SELECT digest, size, type, modified, coalesce(expires, 0) FROM object WHERE ns = ? AND key = ?`},
		{&r.objects, `SELECT key FROM object WHERE ns = ?1 AND key >= ?2 AND key < ?3
			AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5`},
		{&r.objectsFrom, `SELECT key FROM object WHERE ns = ?1 AND key > ?2 AND key < ?3
			AND (expires IS NULL OR expires > ?4) ORDER BY key LIMIT ?5`},
		{&r.event, `SELECT event FROM queue WHERE id = ?`},
	} {
		if *p.stmt, err = r.db.PrepareContext(context.Background(), p.sql); err != nil {
			return nil, fmt.Errorf("prepare %q: %w", p.sql, err)
		}
	}
	return r, nil
}

// get reads one key.
func (r *reader) get(k kvKey) (*entry, error) {
	if isObjects(k.ns) {
		return r.getObject(k)
	}
	e := &entry{kvKey: k}
	err := r.getKey.QueryRowContext(context.Background(), k.ns, k.key).Scan(&e.value, &e.expires)
	return e.read(r, err)
}

// read takes the outcome of reading the entry's row.
func (e *entry) read(r *reader, err error) (*entry, error) {
	switch {
	case errors.Is(err, sql.ErrNoRows):
	case err != nil:
		r.failed(err)
		return nil, err
	default:
		e.found = true
	}
	return e, nil
}

// list reads up to limit keys with prefix that sort after after.
func (r *reader) list(ns uint32, prefix, after string, limit int, now int64) ([]string, error) {
	stmt, next, from := r.keys, r.keysFrom, prefix
	if isObjects(ns) {
		stmt, next = r.objects, r.objectsFrom
	}
	if after != "" && after >= prefix {
		stmt, from = next, after
	}
	rows, err := stmt.QueryContext(context.Background(), ns, from, prefixEnd(prefix), now, limit)
	if err != nil {
		r.failed(err)
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var keys []string
	for rows.Next() {
		var k string
		if err := rows.Scan(&k); err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	err = rows.Err()
	r.failed(err)
	return keys, err
}

// prefixEnd is the first text after all that start with prefix, or when there
// is none an empty blob, which SQLite sorts after every text.
func prefixEnd(prefix string) any {
	b := []byte(prefix)
	for len(b) > 0 {
		if last := len(b) - 1; b[last] < 0xff {
			b[last]++
			return string(b)
		}
		b = b[:len(b)-1]
	}
	return []byte{}
}

func (r *reader) sessions(ctx context.Context) (recs []broker.SessionRecord, ids []uint64, err error) {
	rows, err := r.db.QueryContext(ctx, `SELECT id, client, user, epoch, expiry, disconnected, subscriptions, will FROM session`)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var rec broker.SessionRecord
		var id, epoch, expiry int64
		var disconnected sql.NullInt64
		if err := rows.Scan(&id, &rec.Client, &rec.User, &epoch, &expiry, &disconnected, &rec.Subscriptions, &rec.Will); err != nil {
			return nil, nil, err
		}
		rec.Epoch, rec.Expiry = uint64(epoch), time.Duration(expiry)
		if disconnected.Valid {
			rec.Disconnected = time.Unix(0, disconnected.Int64)
		}
		recs, ids = append(recs, rec), append(ids, uint64(id))
	}
	return recs, ids, rows.Err()
}

func (r *reader) journal(ctx context.Context) ([]journalRow, error) {
	rows, err := r.db.QueryContext(ctx, `SELECT seq, records FROM journal ORDER BY seq`)
	if err != nil {
		return nil, err
	}
	return scanJournal(rows)
}

func appendUvarint(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }
