package store

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"github.com/headgate-io/headgate/sync/usage"
)

// rowsPerBatch is how many rows a batch has before the next closing begins
// another one.
const rowsPerBatch = 4096

// SealUsage makes numbered batches of what was metered until now and puts them
// into the outbox. It returns how many there are now.
func (s *Store) SealUsage(ctx context.Context) (batches int64, err error) {
	s.mu.Lock()
	m := &s.metering
	closings := m.closings || m.queued
	if !m.on || m.grain > m.finest && !m.due(usage.MinuteOf(s.cfg.Now())) && !closings {
		defer s.mu.Unlock()
		return m.batches, nil
	}
	if m.first == math.MaxInt64 && !closings {
		defer s.mu.Unlock()
		return m.batches, nil
	}
	if m.bytes >= s.cfg.MaxOutboxBytes {
		defer s.mu.Unlock()
		s.stats.UsageSealsRefused++
		return m.batches, nil
	}
	part, first := m.advance()
	m.queued = false // what is on its way is on disk before the batches are made
	s.mu.Unlock()
	err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error { return s.sealParts(ctx, c, part, first) })
	if err != nil {
		s.lookEverywhere()
		return 0, fmt.Errorf("seal usage: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.metering.batches, nil
}

// closing is a row of usage_closing.
type closing struct {
	part, first, last, rows int64
	link                    usage.Link
}

// sealParts closes what is open and puts all closings into batches.
func (s *Store) sealParts(ctx context.Context, c *sql.Conn, part, first int64) error {
	if err := s.closeParts(ctx, c, part, first); err != nil {
		return err
	}
	ch, found, err := readChain(ctx, c)
	if err != nil || !found {
		return err
	}
	all, err := readClosings(ctx, c)
	if err != nil {
		return err
	}
	for len(all) > 0 {
		n, rows := 1, all[0].rows
		for n < len(all) && rows+all[n].rows <= rowsPerBatch {
			rows += all[n].rows
			n++
		}
		if err := s.sealBatch(ctx, c, &ch, all[:n]); err != nil {
			return err
		}
		all = all[n:]
	}
	if _, err = c.ExecContext(ctx, `DELETE FROM usage_closing`); err == nil {
		s.mu.Lock()
		s.metering.closings = false
		s.mu.Unlock()
	}
	return err
}

func readClosings(ctx context.Context, c *sql.Conn) (out []closing, err error) {
	rows, err := c.QueryContext(ctx, `SELECT part, first, last, rows, link FROM usage_closing ORDER BY part`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var cl closing
		var link []byte
		if err := rows.Scan(&cl.part, &cl.first, &cl.last, &cl.rows, &link); err != nil {
			return nil, err
		}
		copy(cl.link[:], link)
		out = append(out, cl)
	}
	return out, rows.Err()
}

// sealBatch writes one batch. The links are those of the moments of closing:
// rows that were changed since do not fit them, and the controller sees it.
func (s *Store) sealBatch(ctx context.Context, c *sql.Conn, ch *chain, of []closing) error {
	closings := make([]usage.Closing, len(of))
	prev := ch.part
	for i, cl := range of {
		rows, err := partRows(ctx, c, prev, cl.part, cl.first, cl.last)
		if err != nil {
			return err
		}
		closings[i], prev = rows, cl.part
	}
	data, err := usage.EncodeClosings(closings)
	if err != nil {
		return err
	}
	last := of[len(of)-1]
	_, err = c.ExecContext(ctx, `INSERT INTO usage_batch (hardware, epoch, seq, gateway, prev, link, data) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		ch.Hardware, int64(ch.Epoch), int64(ch.seq+1), ch.Gateway, ch.link[:], last.link[:], data)
	if err != nil {
		return err
	}
	ch.seq++
	ch.link, ch.part = last.link, last.part
	s.countOutbox(1, int64(len(data)))
	return ch.write(ctx, c)
}

// countOutbox follows a change of the outbox in a transaction; where that is
// taken back the memory is read from disk again.
func (s *Store) countOutbox(batches, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := &s.metering
	m.batches += batches
	m.bytes += bytes
	if was := m.grain; m.on {
		if m.judge(s.cfg.MaxOutboxBytes); was != m.grain {
			m.closed = 0
			s.log.Warn("the grain of metering changed with the room in the outbox", "minutes", m.grain, "batches", m.batches, "bytes", m.bytes)
		}
	}
}

// UsageBatches returns batches that the controller has not acknowledged, the
// oldest first, from the one after epoch and seq on; they are not signed.
func (s *Store) UsageBatches(ctx context.Context, epoch, seq uint64, limit int) ([]usage.Batch, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT gateway, hardware, epoch, seq, prev, link, data FROM usage_batch
		WHERE (epoch, seq) > (?, ?) ORDER BY epoch, seq, hardware LIMIT ?`, int64(epoch), int64(seq), limit)
	if err != nil {
		return nil, fmt.Errorf("read batches of usage: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []usage.Batch
	for rows.Next() {
		var b usage.Batch
		var prev, link []byte
		if err := rows.Scan(&b.Gateway, &b.Hardware, &b.Epoch, &b.Seq, &prev, &link, &b.Data); err != nil {
			return nil, fmt.Errorf("read batches of usage: %w", err)
		}
		copy(b.Prev[:], prev)
		copy(b.Link[:], link)
		out = append(out, b)
	}
	return out, rows.Err()
}

// UsageAcknowledged drops the batches of a stream up to seq, which the
// controller has. It joins a later commit: what a crash brings back is sent
// again, and counted once.
func (s *Store) UsageAcknowledged(stream usage.Stream, seq uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	o := &looseOp{lazy: true, change: func(g *group) {
		g.ops = append(g.ops, &op{run: func(ctx context.Context, c *sql.Conn) error {
			return s.dropBatches(ctx, c, stream, seq)
		}})
	}}
	if s.recovering {
		s.deferred = append(s.deferred, o)
		return
	}
	s.sealOpLocked(o)
}

func (s *Store) dropBatches(ctx context.Context, c *sql.Conn, stream usage.Stream, seq uint64) error {
	const which = `FROM usage_batch WHERE hardware = ? AND epoch = ? AND seq <= ? AND gateway = ?`
	args := []any{stream.Hardware, int64(stream.Epoch), int64(seq), stream.Gateway}
	var n, bytes int64
	err := c.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(length(data)), 0) `+which, args...).Scan(&n, &bytes)
	if err != nil || n == 0 {
		return err
	}
	if _, err := c.ExecContext(ctx, `DELETE `+which, args...); err != nil {
		return err
	}
	s.countOutbox(-n, -bytes)
	return nil
}

// UsageHeld returns the streams that the controller has not all of, and the
// present one.
func (s *Store) UsageHeld(ctx context.Context) ([]usage.Held, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT c.gateway, c.hardware, c.epoch, coalesce(min(b.seq), c.seq + 1), c.seq + 1
		FROM usage_chain c LEFT JOIN usage_batch b ON b.hardware = c.hardware AND b.epoch = c.epoch GROUP BY c.id
		UNION ALL SELECT b.gateway, b.hardware, b.epoch, min(b.seq), max(b.seq) + 1 FROM usage_batch b, usage_chain c
		WHERE b.hardware <> c.hardware OR b.epoch <> c.epoch GROUP BY b.hardware, b.epoch ORDER BY 3`)
	if err != nil {
		return nil, fmt.Errorf("read what the controller does not have: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []usage.Held
	for rows.Next() {
		var h usage.Held
		if err := rows.Scan(&h.Gateway, &h.Hardware, &h.Epoch, &h.First, &h.Next); err != nil {
			return nil, fmt.Errorf("read what the controller does not have: %w", err)
		}
		out = append(out, h)
	}
	return out, rows.Err()
}
