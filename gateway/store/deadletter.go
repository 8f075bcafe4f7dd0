package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
)

// DeadLetter is an event that was given up. It is kept until somebody drops or
// redrives it.
type DeadLetter struct {
	// ID is given at the commit.
	ID       int64
	Function string
	// Version is the one that made the last attempt.
	Version int
	// Key is the ordering key of the event, empty for none.
	Key     string
	Attempt int
	Arrived time.Time
	Died    time.Time
	// Reason is why: "attempts", "max_age", "hops", …
	Reason string
	// Error is what the last attempt ended with.
	Error string
	// Blocks is true while later events of the key wait for a redrive.
	Blocks bool
	Event  *event.Event
	// Params are the captures of the trigger.
	Params []Param
}

// deadState counts the dead letters.
type deadState struct {
	rows, bytes int64
}

func (d *deadState) install(g *group, letters []*DeadLetter) {
	for _, l := range letters {
		d.rows++
		d.bytes += eventSize(l.Event, l.Params)
		g.dead = append(g.dead, l)
		g.bytes += eventSize(l.Event, l.Params)
	}
}

// DeadLetters returns up to limit dead letters with ids greater than after,
// their events without the data; function "" is all.
func (s *Store) DeadLetters(ctx context.Context, function string, after int64, limit int) ([]DeadLetter, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT id, function, version, key, attempt, arrived, died, reason, error, blocks, event
		FROM dead_letter WHERE id > ? AND (? = '' OR function = ?) ORDER BY id LIMIT ?`, after, function, function, limit)
	if err != nil {
		return nil, fmt.Errorf("list dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []DeadLetter
	for rows.Next() {
		var l DeadLetter
		var arrived, died int64
		var blob []byte
		if err := rows.Scan(&l.ID, &l.Function, &l.Version, &l.Key, &l.Attempt, &arrived, &died, &l.Reason, &l.Error, &l.Blocks, &blob); err != nil {
			return nil, fmt.Errorf("list dead letters: %w", err)
		}
		if l.Event, l.Params, err = decodeEvent(blob); err != nil {
			return nil, fmt.Errorf("dead letter %d: %w", l.ID, err)
		}
		l.Event.Data = nil // it may be large, and there may be many
		l.Arrived, l.Died = fromMillis(arrived), fromMillis(died)
		out = append(out, l)
	}
	return out, rows.Err()
}

// DeadLetter returns one dead letter with its event, or ErrNotFound.
func (s *Store) DeadLetter(ctx context.Context, id int64) (*DeadLetter, error) {
	l := DeadLetter{ID: id}
	var arrived, died int64
	var blob []byte
	err := s.reader.db.QueryRowContext(ctx, `SELECT function, version, key, attempt, arrived, died, reason, error, blocks, event
		FROM dead_letter WHERE id = ?`, id).
		Scan(&l.Function, &l.Version, &l.Key, &l.Attempt, &arrived, &died, &l.Reason, &l.Error, &l.Blocks, &blob)
	if err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", id, notFound(err))
	}
	l.Arrived, l.Died = fromMillis(arrived), fromMillis(died)
	if l.Event, l.Params, err = decodeEvent(blob); err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", id, err)
	}
	return &l, nil
}

// DropDeadLetter deletes a dead letter, or returns ErrNotFound.
func (s *Store) DropDeadLetter(ctx context.Context, id int64) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return s.deleteDead(ctx, c, id)
	})
	if err != nil {
		return fmt.Errorf("dead letter %d: %w", id, err)
	}
	return nil
}

func (s *Store) deleteDead(ctx context.Context, c *sql.Conn, id int64) error {
	var size int64
	if err := c.QueryRowContext(ctx, `DELETE FROM dead_letter WHERE id = ? RETURNING length(event)`, id).Scan(&size); err != nil {
		return notFound(err)
	}
	s.mu.Lock()
	s.dead.rows--
	s.dead.bytes = max(s.dead.bytes-size, 0)
	s.mu.Unlock()
	return nil
}

// Redrive moves a dead letter to the tail of its function's queue with its
// attempts and age counted anew, and returns the committed row.
func (s *Store) Redrive(ctx context.Context, id int64) (*QueueRow, error) {
	l, err := s.DeadLetter(ctx, id)
	if err != nil {
		return nil, err
	}
	ref := s.Function(l.Function)
	r := &QueueRow{ID: ref.NextID(), Function: ref, Key: l.Key, Arrived: s.cfg.Now(), Event: l.Event, Params: l.Params}
	u := Unit{Insert: []*QueueRow{r}}
	s.mu.Lock()
	err = s.queue.admit(&u, s)
	s.mu.Unlock()
	if err == nil {
		err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error { return s.redrive(ctx, c, id, r) })
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letter %d: %w", id, err)
	}
	return r, nil
}

func (s *Store) redrive(ctx context.Context, c *sql.Conn, id int64, r *QueueRow) error {
	if err := s.deleteDead(ctx, c, id); err != nil {
		return err
	}
	if _, err := c.ExecContext(ctx, `INSERT OR IGNORE INTO name (id, name) VALUES (?, ?)`, r.Function.id, r.Function.name); err != nil {
		return err
	}
	blob := appendEvent(nil, r.Event, r.Params)
	if _, err := c.ExecContext(ctx, `INSERT INTO queue (id, key, due, attempt, arrived, event) VALUES (?, ?, 0, 0, ?, ?)`,
		int64(r.ID), r.Key, unixMillis(r.Arrived), blob); err != nil {
		return err
	}
	r.bytes = int64(len(blob)+len(r.Key)) + rowOverhead
	s.mu.Lock()
	s.queue.count(r.Function.id, 1, r.bytes)
	s.mu.Unlock()
	return nil
}

// DeadLettersOf returns how many dead letters each function has.
func (s *Store) DeadLettersOf(ctx context.Context) (map[string]int64, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT function, count(*) FROM dead_letter GROUP BY function`)
	if err != nil {
		return nil, fmt.Errorf("count dead letters: %w", err)
	}
	defer rows.Close()
	out := make(map[string]int64)
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("count dead letters: %w", err)
		}
		out[name] = n
	}
	return out, rows.Err()
}

// BlockedKeys returns the ordering keys that wait for a redrive.
func (s *Store) BlockedKeys(ctx context.Context) ([]DeadLetter, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT id, function, key FROM dead_letter WHERE blocks`)
	if err != nil {
		return nil, fmt.Errorf("list blocked keys: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []DeadLetter
	for rows.Next() {
		l := DeadLetter{Blocks: true}
		if err := rows.Scan(&l.ID, &l.Function, &l.Key); err != nil {
			return nil, fmt.Errorf("list blocked keys: %w", err)
		}
		out = append(out, l)
	}
	return out, rows.Err()
}

func notFound(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNotFound
	}
	return err
}
