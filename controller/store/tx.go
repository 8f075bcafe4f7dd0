package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"time"
)

// Tx is a transaction. It is for one goroutine, and ends with the function that
// it was given to.
type Tx struct {
	tx         *sql.Tx
	dialect    dialect
	statements *statements
}

// attempts bounds how often a transaction that met another is begun again.
const attempts = 8

type counters struct{ views, updates, retries, failures, full atomic.Uint64 }

// Stats counts what the database did.
type Stats struct {
	// Views and Updates are transactions that ended well; Retries are attempts
	// that met another and were begun again, Failures those that were given up
	// for a fault of the database. Full counts updates that found no room on the
	// disk.
	Views, Updates, Retries, Failures, Full uint64
	// OpenConnections are those to the database now, BusyConnections those at
	// work; Waits counts requests that had to wait for one.
	OpenConnections, BusyConnections int
	Waits                            uint64
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	out := Stats{Views: s.stats.views.Load(), Updates: s.stats.updates.Load(), Retries: s.stats.retries.Load(), Failures: s.stats.failures.Load(), Full: s.stats.full.Load()}
	pools := []*sql.DB{s.read}
	if s.write != s.read {
		pools = append(pools, s.write)
	}
	for _, p := range pools {
		n := p.Stats()
		out.OpenConnections += n.OpenConnections
		out.BusyConnections += n.InUse
		out.Waits += uint64(max(n.WaitCount, 0))
	}
	return out
}

// View runs fn, which only reads, on one state of the database.
func (s *Store) View(ctx context.Context, fn func(*Tx) error) error {
	err := s.run(ctx, s.read, true, fn)
	if err == nil {
		s.stats.views.Add(1)
	}
	return err
}

// Update runs fn and commits what it did, or nothing of it when it returns an
// error. fn may run several times; what it does outside the transaction it must
// do after Update.
//
// On SQLite one update runs at a time. On PostgreSQL several do, each reading
// what others have committed (READ COMMITTED): where what is read decides what
// is written, let the statement itself check (UPDATE … WHERE), or take Lock
// before reading.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	for n := 1; ; n++ {
		err := s.run(ctx, s.write, false, fn)
		switch {
		case err == nil:
			s.stats.updates.Add(1)
			return nil
		case !again(err):
			if errors.Is(err, ErrFull) {
				s.stats.full.Add(1)
			}
			return err
		case n == attempts:
			s.stats.failures.Add(1)
			return fmt.Errorf("database: given up after %d attempts: %w", attempts, err)
		}
		s.stats.retries.Add(1)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(rand.N(time.Duration(n) * 10 * time.Millisecond)):
		}
	}
}

func (s *Store) run(ctx context.Context, db *sql.DB, readOnly bool, fn func(*Tx) error) error {
	tx, err := db.BeginTx(ctx, s.dialect.options(readOnly))
	if err != nil {
		return fmt.Errorf("database %s: %w", s.name, fault(err))
	}
	defer func() { _ = tx.Rollback() }() // of what was not committed
	prepared := s.prepared[db]
	if err := fn(&Tx{tx: tx, dialect: s.dialect, statements: prepared}); err != nil {
		return err
	}
	if err := fault(tx.Commit()); err != nil {
		return err
	}
	prepared.prepare(ctx, db)
	return nil
}

// Lock lets one transaction at a time have a name, over all replicas, until it
// ends. Take it before reading what it guards; take several in one order.
func (t *Tx) Lock(ctx context.Context, name ...string) error {
	if t.dialect == sqlite { // the whole database is ours
		return nil
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(strings.Join(name, "\x00"))) // never fails
	_, err := t.exec(ctx, `SELECT pg_advisory_xact_lock(?)`, int64(h.Sum64()))
	return err
}

// exec runs a statement and returns how many rows it changed.
func (t *Tx) exec(ctx context.Context, query string, args ...any) (int64, error) {
	var r sql.Result
	var err error
	if stmt := t.statements.of(ctx, t.tx, query); stmt != nil {
		r, err = stmt.ExecContext(ctx, args...)
	} else {
		r, err = t.tx.ExecContext(ctx, t.dialect.placeholders(query), args...)
	}
	if err != nil {
		return 0, fault(err)
	}
	return r.RowsAffected()
}

// change is exec of a statement that must change a row: ErrNotFound says that
// there was none.
func (t *Tx) change(ctx context.Context, query string, args ...any) error {
	n, err := t.exec(ctx, query, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// one reads one row into what fields points at, or returns ErrNotFound.
func one[T any](ctx context.Context, t *Tx, fields func(*T) []any, query string, args ...any) (T, error) {
	var v T
	var row *sql.Row
	if stmt := t.statements.of(ctx, t.tx, query); stmt != nil {
		row = stmt.QueryRowContext(ctx, args...)
	} else {
		row = t.tx.QueryRowContext(ctx, t.dialect.placeholders(query), args...)
	}
	return v, fault(row.Scan(fields(&v)...))
}

// all reads every row; the query bounds how many there are.
func all[T any](ctx context.Context, t *Tx, fields func(*T) []any, query string, args ...any) (out []T, err error) {
	rows, err := t.tx.QueryContext(ctx, t.dialect.placeholders(query), args...)
	if err != nil {
		return nil, fault(err)
	}
	defer rows.Close()
	for rows.Next() {
		var v T
		if err := rows.Scan(fields(&v)...); err != nil {
			return nil, fault(err)
		}
		out = append(out, v)
	}
	return out, fault(rows.Err())
}

// micros is how a time is stored.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// stamp scans a stored time.
type stamp struct{ t *time.Time }

// Scan implements sql.Scanner.
func (s stamp) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a time is stored as %T, not as microseconds", v)
	}
	*s.t = time.Time{}
	if n != 0 {
		*s.t = time.UnixMicro(n).UTC()
	}
	return nil
}

// unsigned scans a number of 64 bits that is stored as a signed one.
type unsigned struct{ n *uint64 }

// Scan implements sql.Scanner.
func (u unsigned) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a number is stored as %T", v)
	}
	*u.n = uint64(n)
	return nil
}

// boolean scans what is stored as 0 or 1.
type boolean struct{ b *bool }

// Scan implements sql.Scanner.
func (b boolean) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("a truth value is stored as %T", v)
	}
	*b.b = n != 0
	return nil
}

func (b boolean) int() int64 {
	if *b.b {
		return 1
	}
	return 0
}

// document scans what is stored as JSON.
type document struct{ v any }

// Scan implements sql.Scanner.
func (d document) Scan(v any) error {
	switch v := v.(type) {
	case string:
		return json.Unmarshal([]byte(v), d.v)
	case []byte:
		return json.Unmarshal(v, d.v)
	}
	return fmt.Errorf("a document is stored as %T, not as text", v)
}

// text makes JSON of what has no way to fail: maps and slices of strings.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a bug: not such a value
	}
	return string(b)
}
