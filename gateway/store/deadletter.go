package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
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
	// Arrived and Died are on the steady scale in a new letter, and wall times
	// in one that was read.
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
	// Row, in a new letter in place of Event and Params, is the committed row
	// of the queue that has them, which the same unit deletes.
	Row *QueueRow
}

func (l *DeadLetter) size() int64 {
	if l.Row != nil {
		return l.Row.bytes - rowOverhead - int64(len(l.Row.Key))
	}
	return eventSize(l.Event, l.Params)
}

// deadState counts the dead letters.
type deadState struct {
	rows, bytes int64
}

func (d *deadState) install(g *group, letters []*DeadLetter) {
	for _, l := range letters {
		d.rows++
		d.bytes += l.size()
		g.dead = append(g.dead, l)
		if g.bytes += rowOverhead; l.Row == nil {
			g.bytes += l.size()
		}
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
		l.Arrived, l.Died = s.cfg.Wall(fromMillis(arrived)), s.cfg.Wall(fromMillis(died))
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
	l.Arrived, l.Died = s.cfg.Wall(fromMillis(arrived)), s.cfg.Wall(fromMillis(died))
	if l.Event, l.Params, err = decodeEvent(blob); err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", id, err)
	}
	return &l, nil
}

// DeadLetterQuery selects dead letters, oldest first.
type DeadLetterQuery struct {
	// ID, where not zero, is the one that is meant.
	ID int64
	// Function is whose; empty is all.
	Function string
	// After and UpTo bound the ids: After < id ≤ UpTo; UpTo 0 is no bound.
	After, UpTo int64
}

// Bounds of what one commit does to dead letters.
const (
	deadBatch      = 64
	deadBatchBytes = 1 << 20
)

// LetterKey is what remains of a dead letter that has left: whose it was, and
// whether its key waited for it.
type LetterKey struct {
	ID            int64
	Function, Key string
	Blocks        bool
	bytes         int64
}

const lettersWhere = ` FROM dead_letter WHERE (?1 = 0 OR id = ?1) AND (?2 = '' OR function = ?2) AND id > ?3 AND id <= ?4`

func (q *DeadLetterQuery) args() []any {
	upTo := q.UpTo
	if upTo == 0 {
		upTo = math.MaxInt64
	}
	return []any{q.ID, q.Function, q.After, upTo}
}

// LastDeadLetter returns the greatest id that the query selects, 0 for none,
// and how many it selects. It gives work on all of them an end, though some
// may come back meanwhile.
func (s *Store) LastDeadLetter(ctx context.Context, q DeadLetterQuery) (last, n int64, err error) {
	err = s.reader.db.QueryRowContext(ctx, `SELECT coalesce(max(id), 0), count(*)`+lettersWhere, q.args()...).Scan(&last, &n)
	if err != nil {
		return 0, 0, fmt.Errorf("find dead letters: %w", err)
	}
	return last, n, nil
}

// DropDeadLetters deletes the oldest that the query selects, at most a batch
// in one commit, and returns them; none is the end.
func (s *Store) DropDeadLetters(ctx context.Context, q DeadLetterQuery) ([]LetterKey, error) {
	var gone []LetterKey
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, `DELETE FROM dead_letter WHERE id IN (SELECT id`+lettersWhere+` ORDER BY id LIMIT ?5)
			RETURNING id, function, key, blocks, length(event)`, append(q.args(), deadBatch)...)
		if err != nil {
			return err
		}
		gone, err = scanLetterKeys(rows)
		s.forgetLetters(gone)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("drop dead letters: %w", err)
	}
	slices.SortFunc(gone, func(a, b LetterKey) int { return cmp.Compare(a.ID, b.ID) })
	return gone, nil
}

func scanLetterKeys(rows *sql.Rows) ([]LetterKey, error) {
	defer func() { _ = rows.Close() }()
	var out []LetterKey
	for rows.Next() {
		var k LetterKey
		if err := rows.Scan(&k.ID, &k.Function, &k.Key, &k.Blocks, &k.bytes); err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, rows.Err()
}

// forgetLetters takes letters out of the count.
func (s *Store) forgetLetters(gone []LetterKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range gone {
		s.dead.rows--
		s.dead.bytes = max(s.dead.bytes-gone[i].bytes, 0)
	}
}

// Redriven is a dead letter that waits in the queue again.
type Redriven struct {
	LetterKey
	Row *QueueRow
}

// RedriveDeadLetters moves the oldest that the query selects to the tail of
// their functions' queues, at most a batch in one commit, with attempts and age
// counted anew. It returns the committed rows in order; none is the end.
func (s *Store) RedriveDeadLetters(ctx context.Context, q DeadLetterQuery) ([]Redriven, error) {
	batch, err := s.readRedrive(ctx, q)
	if err != nil || len(batch) == 0 {
		return nil, err
	}
	u := Unit{Insert: make([]*QueueRow, len(batch))}
	for i := range batch {
		u.Insert[i] = batch[i].Row
	}
	s.mu.Lock()
	err = s.queue.admit(&u, s)
	s.mu.Unlock()
	if err == nil {
		err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
			batch, err = s.redrive(ctx, c, batch)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("redrive dead letters: %w", err)
	}
	return batch, nil
}

// readRedrive prepares the rows of one batch.
func (s *Store) readRedrive(ctx context.Context, q DeadLetterQuery) ([]Redriven, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT id, function, key, blocks, event`+lettersWhere+` ORDER BY id LIMIT ?5`, append(q.args(), deadBatch)...)
	if err != nil {
		return nil, fmt.Errorf("redrive dead letters: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Redriven
	for size := 0; size < deadBatchBytes && rows.Next(); {
		var r Redriven
		var blob []byte
		if err := rows.Scan(&r.ID, &r.Function, &r.Key, &r.Blocks, &blob); err != nil {
			return nil, fmt.Errorf("redrive dead letters: %w", err)
		}
		e, params, err := decodeEvent(blob)
		if err != nil {
			return nil, fmt.Errorf("redrive dead letter %d: %w: drop it", r.ID, err)
		}
		ref := s.Function(r.Function)
		r.Row = &QueueRow{ID: ref.NextID(), Function: ref, Key: r.Key, Arrived: s.cfg.Steady(), Event: e, Params: params}
		r.bytes = int64(len(blob))
		size += len(blob)
		out = append(out, r)
	}
	return out, rows.Err()
}

// redrive moves what is still there.
func (s *Store) redrive(ctx context.Context, c *sql.Conn, batch []Redriven) ([]Redriven, error) {
	var moved []Redriven
	for i := range batch {
		b := &batch[i]
		r := b.Row
		res, err := c.ExecContext(ctx, `DELETE FROM dead_letter WHERE id = ?`, b.ID)
		if err != nil {
			return nil, err
		}
		if n, err := res.RowsAffected(); err != nil || n == 0 {
			continue // dropped meanwhile
		}
		if _, err := c.ExecContext(ctx, `INSERT OR IGNORE INTO name (id, name) VALUES (?, ?)`, r.Function.id, r.Function.name); err != nil {
			return nil, err
		}
		blob := appendEvent(nil, r.Event, r.Params)
		if _, err := c.ExecContext(ctx, `INSERT INTO queue (id, key, due, attempt, arrived, event) VALUES (?, ?, 0, 0, ?, ?)`,
			int64(r.ID), r.Key, unixMillis(r.Arrived), blob); err != nil {
			return nil, err
		}
		r.bytes = int64(len(blob)+len(r.Key)) + rowOverhead
		moved = append(moved, *b)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range moved {
		s.dead.rows--
		s.dead.bytes = max(s.dead.bytes-moved[i].bytes, 0)
		s.queue.count(moved[i].Row.Function.id, 1, moved[i].Row.bytes)
	}
	return moved, nil
}

// OnLettersDropped makes fn hear of the dead letters that bounds push out, after
// their commit. It must not block. Set it before anything is sealed.
func (s *Store) OnLettersDropped(fn func([]LetterKey)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lettersDropped = fn
}

// trimDead deletes the oldest dead letters beyond the bounds, a batch in one
// commit. The caller counts what is gone once that has committed.
func (w *writer) trimDead(g *group) error {
	s := w.s
	s.mu.Lock()
	rows, bytes := s.dead.rows, s.dead.bytes
	s.mu.Unlock()
	for range max(deadBatch, 2*len(g.dead)) {
		if rows <= s.cfg.MaxDeadLetters && (bytes <= s.cfg.MaxDeadLetterBytes || rows <= 1) {
			break
		}
		var k LetterKey
		err := w.stmt[sqlDeadOldest].QueryRowContext(context.Background()).Scan(&k.ID, &k.Function, &k.Key, &k.Blocks, &k.bytes)
		if errors.Is(err, sql.ErrNoRows) {
			break // the others are in later groups
		}
		if err != nil {
			return fmt.Errorf("drop oldest dead letter: %w", err)
		}
		g.dropped = append(g.dropped, k)
		rows, bytes = rows-1, bytes-k.bytes
	}
	return nil
}

// droppedLocked counts the letters that the group's commit pushed out.
func (s *Store) droppedLocked(g *group) {
	s.dead.bytes += g.deadDrift
	for i := range g.dropped {
		s.dead.rows--
		s.dead.bytes = max(s.dead.bytes-g.dropped[i].bytes, 0)
	}
	s.stats.DeadLettersDropped += uint64(len(g.dropped))
}

// lettersDue reports whether expireDead has something to do, without a write.
func (s *Store) lettersDue(ctx context.Context) bool {
	s.mu.Lock()
	over := s.dead.rows > s.cfg.MaxDeadLetters || s.dead.bytes > s.cfg.MaxDeadLetterBytes && s.dead.rows > 1
	some := s.dead.rows > 0
	s.mu.Unlock()
	if over || !some || s.cfg.MaxDeadLetterAge <= 0 {
		return over
	}
	var due bool
	// The oldest was the first to die, but for a clock that was set.
	err := s.reader.db.QueryRowContext(ctx, `SELECT coalesce((SELECT died FROM dead_letter ORDER BY id LIMIT 1) < ?, 0)`, unixMillis(s.cfg.Steady().Add(-s.cfg.MaxDeadLetterAge))).Scan(&due)
	return err == nil && due
}

// expireDead deletes the dead letters beyond their age, and those beyond the
// other bounds that no commit of a letter has pushed out, a batch at a time.
func (s *Store) expireDead(ctx context.Context) error {
	for {
		before := int64(math.MinInt64)
		if s.cfg.MaxDeadLetterAge > 0 {
			before = unixMillis(s.cfg.Steady().Add(-s.cfg.MaxDeadLetterAge))
		}
		s.mu.Lock()
		over := max(s.dead.rows-s.cfg.MaxDeadLetters, 0)
		if s.dead.bytes > s.cfg.MaxDeadLetterBytes && s.dead.rows > 1 {
			over = max(over, 1)
		}
		notify := s.lettersDropped
		s.mu.Unlock()
		var gone []LetterKey
		err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
			rows, err := c.QueryContext(ctx, `DELETE FROM dead_letter WHERE id IN (
				SELECT id FROM (SELECT id FROM dead_letter ORDER BY id LIMIT ?1)
				UNION SELECT id FROM (SELECT id, died FROM dead_letter ORDER BY id LIMIT ?3) WHERE died < ?2)
				RETURNING id, function, key, blocks, length(event)`, min(over, deadBatch), before, deadBatch)
			if err != nil {
				return err
			}
			gone, err = scanLetterKeys(rows)
			s.forgetLetters(gone)
			return err
		})
		if err != nil {
			return fmt.Errorf("drop old dead letters: %w", err)
		}
		if len(gone) == 0 {
			return nil
		}
		s.mu.Lock()
		s.stats.DeadLettersDropped += uint64(len(gone))
		s.mu.Unlock()
		s.log.Warn("oldest dead letters dropped", "letters", len(gone))
		if notify != nil {
			notify(gone)
		}
	}
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
