package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/headgate-io/headgate/sync/usage"
)

// writer is the one connection that writes, with its prepared statements. The
// committer alone uses it.
type writer struct {
	s    *Store
	db   *sql.DB
	conn *sql.Conn
	stmt map[string]*sql.Stmt
	buf  []byte
	keys []outKey
	file os.FileInfo // what it has open
}

const (
	sqlBegin         = `BEGIN IMMEDIATE`
	sqlCommit        = `COMMIT`
	sqlName          = `INSERT OR IGNORE INTO name (id, name) VALUES (?, ?)`
	sqlJournal       = `INSERT INTO journal (seq, records) VALUES (?, ?)`
	sqlJournalMove   = `UPDATE journal SET seq = ?1, records = ?2 WHERE seq = ?3`
	sqlJournalTrim   = `DELETE FROM journal WHERE seq <= ?`
	sqlJournalOldest = `SELECT seq, records FROM journal ORDER BY seq LIMIT ?`
	sqlKVSet         = `INSERT INTO kv (ns, key, value, expires) VALUES (?, ?, ?, ?)
		ON CONFLICT (ns, key) DO UPDATE SET value = excluded.value, expires = excluded.expires`
	sqlKVDelete = `DELETE FROM kv WHERE ns = ? AND key = ?`
	sqlSession  = `INSERT INTO session (id, client, user, epoch, expiry, disconnected, subscriptions, will) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT (client) DO UPDATE SET id = excluded.id, user = excluded.user, epoch = excluded.epoch,
		expiry = excluded.expiry, disconnected = excluded.disconnected, subscriptions = excluded.subscriptions, will = excluded.will`
	sqlMessage           = `INSERT INTO message (id, body) VALUES (?, ?)`
	sqlMessageDelete     = `DELETE FROM message WHERE id = ?`
	sqlOutgoing          = `INSERT INTO outgoing (session, seq, message, releasing, options) VALUES (?, ?, ?, ?, ?)`
	sqlOutgoingReleasing = `UPDATE outgoing SET releasing = 1 WHERE session = ? AND seq = ?`
	sqlOutgoingDelete    = `DELETE FROM outgoing WHERE session = ? AND seq = ?`
	sqlRetained          = `INSERT INTO retained (topic, seq, body) VALUES (?, ?, ?)
		ON CONFLICT (topic) DO UPDATE SET seq = excluded.seq, body = excluded.body`
	sqlRetainedDelete = `DELETE FROM retained WHERE topic = ?`
	sqlSessionDelete  = `DELETE FROM session WHERE client = ?`
	sqlQueueInsert    = `INSERT INTO queue (id, key, due, attempt, arrived, error, event) VALUES (?, ?, ?, ?, ?, nullif(?, ''), ?)`
	sqlQueueUpdate    = `UPDATE queue SET due = ?, attempt = ?, error = nullif(?, '') WHERE id = ?`
	sqlQueueDelete    = `DELETE FROM queue WHERE id = ?`
	sqlDeadInsert     = `INSERT INTO dead_letter (function, version, key, attempt, arrived, died, reason, error, blocks, event)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	sqlDeadMove = `INSERT INTO dead_letter (function, version, key, attempt, arrived, died, reason, error, blocks, event)
		SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, event FROM queue WHERE id = ?`
	sqlDeadOldest = `DELETE FROM dead_letter WHERE id = (SELECT min(id) FROM dead_letter)
		RETURNING id, function, key, blocks, length(event)`
	sqlTimerAdvance = `UPDATE timer SET due = ?, seen = ? WHERE name = ? AND due = ?`
	sqlUsage        = `INSERT INTO usage VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET ok = ok + excluded.ok, failed = failed + excluded.failed,
		trapped = trapped + excluded.trapped, out_of_fuel = out_of_fuel + excluded.out_of_fuel,
		out_of_stack = out_of_stack + excluded.out_of_stack, out_of_memory = out_of_memory + excluded.out_of_memory,
		timed_out = timed_out + excluded.timed_out, refused = refused + excluded.refused,
		fuel = fuel + excluded.fuel,
		duration_nanos = duration_nanos + excluded.duration_nanos,
		memory_byte_millis = memory_byte_millis + excluded.memory_byte_millis,
		cold_starts = cold_starts + excluded.cold_starts, bytes_in = bytes_in + excluded.bytes_in,
		bytes_out = bytes_out + excluded.bytes_out, bytes_written = bytes_written + excluded.bytes_written,
		time_estimated = time_estimated + excluded.time_estimated, time_unknown = time_unknown + excluded.time_unknown`
)

var writerStatements = []string{
	sqlBegin, sqlCommit, sqlName, sqlJournal, sqlJournalMove, sqlJournalTrim, sqlJournalOldest, sqlKVSet, sqlKVDelete,
	sqlMessage, sqlMessageDelete, sqlOutgoing, sqlOutgoingReleasing, sqlOutgoingDelete, sqlRetained, sqlRetainedDelete,
	sqlSession, sqlSessionDelete, sqlQueueInsert, sqlQueueUpdate, sqlQueueDelete, sqlDeadInsert, sqlDeadMove, sqlDeadOldest, sqlTimerAdvance, sqlUsage, sqlObjectSet, sqlObjectDelete,
}

func (s *Store) openWriter() (_ *writer, err error) {
	ctx := context.Background()
	w := &writer{s: s, stmt: make(map[string]*sql.Stmt), buf: make([]byte, 0, 4096)}
	if w.db, err = sql.Open("sqlite", s.dsn(false)); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	w.db.SetMaxOpenConns(1)
	if w.conn, err = w.db.Conn(ctx); err != nil {
		return nil, err
	}
	if w.file, err = os.Stat(s.cfg.Path); err != nil {
		return nil, err
	}
	for _, q := range writerStatements {
		if w.stmt[q], err = w.conn.PrepareContext(ctx, q); err != nil {
			return nil, fmt.Errorf("prepare %q: %w", q, err)
		}
	}
	return w, nil
}

func (w *writer) close() {
	for _, st := range w.stmt {
		if st != nil {
			_ = st.Close()
		}
	}
	if w.conn != nil {
		_ = w.conn.Close()
	}
	_ = w.db.Close()
}

func (w *writer) run(query string, args ...any) error {
	_, err := w.stmt[query].ExecContext(context.Background(), args...)
	return err
}

// begin starts a transaction, unless its file is no longer the one that a
// restart would find: SQLite would write on into nowhere.
func (w *writer) begin() error {
	if err := w.s.checkPlace(w.file); err != nil {
		return err
	}
	return w.run(sqlBegin)
}

// checkPlace reports when the file that was opened is no longer at its path.
func (s *Store) checkPlace(opened os.FileInfo) error {
	now, err := os.Stat(s.cfg.Path)
	if err == nil && !os.SameFile(opened, now) {
		err = errReplaced
	}
	if err != nil {
		return fmt.Errorf("the database was removed while it was open: put it back, or restart the gateway: %w", err)
	}
	return nil
}

var errReplaced = errors.New("another file is in its place")

func (w *writer) commit() error { return w.run(sqlCommit) }

func (w *writer) names(g *group) error {
	for _, n := range g.names {
		if err := w.run(sqlName, n.id, n.name); err != nil {
			return fmt.Errorf("write name: %w", err)
		}
	}
	return nil
}

func (w *writer) sessions(g *group) error {
	for client, o := range g.sessions {
		var err error
		if o.id == 0 {
			err = w.run(sqlSessionDelete, client)
		} else {
			r := &o.rec
			subs := r.Subscriptions
			if subs == nil {
				subs = []byte{}
			}
			err = w.run(sqlSession, int64(o.id), r.Client, r.User, int64(r.Epoch), int64(r.Expiry), unixNanos(w.s.steadyOf(r.Disconnected)), subs, append([]byte{}, r.Will...))
		}
		if err != nil {
			return fmt.Errorf("write session: %w", err)
		}
	}
	return nil
}

// journal writes the group's row: it is also what says how far commits got.
func (w *writer) journal(g *group) error {
	j := &g.journal
	w.buf = w.buf[:0]
	if len(j.records) > 0 {
		w.buf = appendUvarint(w.buf, j.base)
		w.buf = append(w.buf, j.records...)
	}
	if j.compacted > 0 {
		if err := w.run(sqlJournalTrim, int64(j.compacted)); err != nil {
			return fmt.Errorf("trim journal: %w", err)
		}
	}
	var err error
	if j.replaces > 0 {
		err = w.run(sqlJournalMove, int64(g.last), w.buf, int64(j.replaces))
	} else {
		err = w.run(sqlJournal, int64(g.last), w.buf)
	}
	if err != nil {
		return fmt.Errorf("write journal: %w", err)
	}
	return nil
}

type journalRow struct {
	seq     uint64
	records []byte
}

func (w *writer) oldestJournal(limit int) ([]journalRow, error) {
	rows, err := w.stmt[sqlJournalOldest].QueryContext(context.Background(), limit)
	if err != nil {
		return nil, err
	}
	return scanJournal(rows)
}

func scanJournal(rows *sql.Rows) ([]journalRow, error) {
	defer func() { _ = rows.Close() }()
	var out []journalRow
	for rows.Next() {
		var r journalRow
		if err := rows.Scan(&r.seq, &r.records); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

func (w *writer) kv(g *group) error {
	for i := range g.writes {
		k := &g.writes[i]
		var err error
		switch {
		case isObjects(k.ns):
			err = w.object(g, k)
		case !k.found:
			err = w.run(sqlKVDelete, k.ns, k.key)
		default:
			var expires any
			if k.expires != 0 {
				expires = k.expires
			}
			value := k.value
			if value == nil {
				value = []byte{}
			}
			err = w.run(sqlKVSet, k.ns, k.key, value, expires)
		}
		if err != nil {
			return fmt.Errorf("write state: %w", err)
		}
	}
	return nil
}

func (w *writer) queue(g *group) error {
	for _, id := range g.queueOrder {
		o := g.queue[id]
		var err error
		switch o.change {
		case queueInsert:
			w.buf = appendEvent(w.buf[:0], o.event, o.params)
			err = w.run(sqlQueueInsert, int64(id), o.key, o.due, o.attempt, o.arrived, o.err, w.buf)
		case queueUpdate:
			err = w.run(sqlQueueUpdate, o.due, o.attempt, o.err, int64(id))
		case queueDelete:
			err = w.run(sqlQueueDelete, int64(id))
		}
		if err != nil {
			return fmt.Errorf("write queue: %w", err)
		}
	}
	return nil
}

func (w *writer) dead(g *group) error {
	for _, l := range g.dead {
		if err := w.deadLetter(g, l); err != nil {
			return fmt.Errorf("write dead letter: %w", err)
		}
	}
	if len(g.dead) == 0 {
		return nil
	}
	return w.trimDead(g)
}

func (w *writer) deadLetter(g *group, l *DeadLetter) error {
	args := []any{l.Function, l.Version, l.Key, l.Attempt, unixMillis(l.Arrived), unixMillis(l.Died), l.Reason, l.Error, l.Blocks}
	if l.Row == nil {
		w.buf = appendEvent(w.buf[:0], l.Event, l.Params)
		g.deadDrift += int64(len(w.buf)) - l.size()
		return w.run(sqlDeadInsert, append(args, w.buf)...)
	}
	res, err := w.stmt[sqlDeadMove].ExecContext(context.Background(), append(args, int64(l.Row.ID))...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err == nil && n == 0 {
		w.s.log.Error("queued event is gone, and with it its dead letter", "function", l.Function, "row", int64(l.Row.ID))
	}
	return nil
}

func (w *writer) usage(g *group) error {
	for k, t := range g.usage {
		if err := w.run(sqlUsage, usageArgs(k, t)...); err != nil {
			return fmt.Errorf("write usage: %w", err)
		}
	}
	return nil
}

func usageArgs(k usageKey, t *usage.Totals) []any {
	args := append(make([]any, 0, 21), k.minute, k.function, k.version, k.part)
	for _, f := range t.Fields() {
		args = append(args, clamp(*f))
	}
	return args
}

// clamp keeps sums of two rows within SQLite's integers.
func clamp(n uint64) int64 { return int64(min(n, math.MaxInt64/4)) }

// op runs a rare change below a savepoint.
func (w *writer) op(ctx context.Context, o *op) error {
	if _, err := w.conn.ExecContext(ctx, `SAVEPOINT op`); err != nil {
		return err
	}
	end := `RELEASE op`
	if o.err = o.run(ctx, w.conn); o.err != nil {
		end = `ROLLBACK TO op; RELEASE op`
	}
	_, err := w.conn.ExecContext(ctx, end)
	return err
}
