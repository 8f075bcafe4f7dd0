package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"

	"github.com/headgate-io/headgate/sync/usage"
)

// What is metered on a gateway that belongs to a controller goes through four
// stations, each a transaction: rows of the open part, which still grow; a
// closing, which puts the rows of a part under a link of the chain; a batch of
// closings, numbered, in the outbox; and gone, when the controller has it.

// metering is what the memory knows of it. It is guarded by the store's mutex.
type metering struct {
	on     bool
	stream usage.Stream
	// part is the one that grows, 0 while metering is off.
	part int64
	// first is the earliest minute metered since the last closing that is on
	// disk; at most that.
	first int64
	// grain is how many minutes share a row: more than finest, which is
	// configured, while the outbox has little room. closed is the grain's moment
	// that was closed last.
	grain, finest, closed int64
	// newest is the latest minute of the open part. Where a coarser grain's
	// moment has passed in it, split is true: the part before can be closed, and
	// the open one goes on growing.
	newest int64
	split  bool
	// closings is false when none is on disk that is in no batch; queued is true
	// where one may be on its way there.
	closings, queued bool
	// batches and bytes are what is in the outbox.
	batches, bytes int64
}

// Grains of metering, in minutes.
const (
	grainMinute = 1
	grainHour   = 60
	grainDay    = 24 * 60
)

// anyMinute is before all minutes.
const anyMinute = math.MinInt64

// take returns the minute under which something is counted, and notes it.
func (m *metering) take(minute int64) int64 {
	if !m.on {
		return minute
	}
	if m.grain > 1 {
		minute = floor(minute, m.grain) * m.grain
		if m.first != math.MaxInt64 && m.newest != 0 && minute > m.newest {
			m.part++
			m.split = true
		}
	}
	m.newest = max(m.newest, minute)
	m.first = min(m.first, minute)
	return minute
}

func floor(n, by int64) int64 {
	if n < 0 {
		n -= by - 1
	}
	return n / by
}

// advance ends the open part, and returns what to close: parts up to part, of
// minutes from first on.
func (m *metering) advance() (part, first int64) {
	part, first = m.part, m.first
	m.part++
	m.first, m.newest, m.split = math.MaxInt64, 0, false
	return part, first
}

// advanceTo is advance at a minute: the part whose moment has just begun stays
// open.
func (m *metering) advanceTo(now int64) (part, first int64) {
	if !m.split || m.newest != floor(now, m.grain)*m.grain {
		return m.advance()
	}
	part, first = m.part-1, m.first
	m.first, m.split = m.newest, false
	return part, first
}

// judge says how finely to meter with that much in the outbox.
func (m *metering) judge(most int64) {
	switch {
	case m.bytes >= most/4*3:
		m.grain = grainDay
	case m.bytes >= most/2:
		m.grain = grainHour
	default:
		m.grain = m.finest
	}
}

// due reports whether it is time to close what was metered until now: every
// minute, or with a coarser grain when that has ended.
func (m *metering) due(now int64) bool {
	if !m.on || m.first == math.MaxInt64 {
		return false
	}
	if m.grain == grainMinute {
		return true
	}
	moment := floor(now, m.grain)
	if m.closed == 0 || m.closed == moment {
		m.closed = moment
		return false
	}
	m.closed = moment
	return true
}

// chain is the row of usage_chain.
type chain struct {
	usage.Stream
	seq  uint64
	link usage.Link
	part int64
}

func readChain(ctx context.Context, c *sql.Conn) (ch chain, found bool, err error) {
	var link []byte
	err = c.QueryRowContext(ctx, `SELECT gateway, hardware, epoch, seq, link, part FROM usage_chain`).
		Scan(&ch.Gateway, &ch.Hardware, &ch.Epoch, &ch.seq, &link, &ch.part)
	if errors.Is(err, sql.ErrNoRows) {
		return ch, false, nil
	}
	copy(ch.link[:], link)
	return ch, err == nil, err
}

func (ch *chain) write(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO usage_chain (id, gateway, hardware, epoch, seq, link, part) VALUES (1, ?, ?, ?, ?, ?, ?)`,
		ch.Gateway, ch.Hardware, int64(ch.Epoch), int64(ch.seq), ch.link[:], ch.part)
	return err
}

// MeterFor begins to keep usage for the controller, under the id that it gave
// this gateway. What was metered before stays the gateway's own. A gateway that
// is enrolled says so in Config.Gateway when it opens the store.
func (s *Store) MeterFor(ctx context.Context, gateway string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error { return s.beginMetering(ctx, c, gateway) })
	if err != nil {
		return fmt.Errorf("begin to meter for the controller: %w", err)
	}
	return nil
}

// resumeMetering does that for a gateway that is enrolled, before anything is
// metered.
func (s *Store) resumeMetering(ctx context.Context) error {
	c, gateway := s.writer.conn, s.cfg.Gateway
	if gateway == "" {
		ch, found, err := readChain(ctx, c)
		if err != nil || !found {
			return err
		}
		gateway = ch.Gateway
	}
	if _, err := c.ExecContext(ctx, sqlBegin); err != nil {
		return err
	}
	if err := s.beginMetering(ctx, c, gateway); err != nil {
		_, undone := c.ExecContext(ctx, `ROLLBACK`)
		return errors.Join(fmt.Errorf("resume metering for the controller: %w", err), undone)
	}
	_, err := c.ExecContext(ctx, sqlCommit)
	return err
}

// beginMetering finds or makes the chain of the present stream. What is left of
// an earlier epoch is sealed under that epoch's own numbers: where the
// controller has those already it counts nothing twice.
func (s *Store) beginMetering(ctx context.Context, c *sql.Conn, gateway string) error {
	now := usage.Stream{Gateway: gateway, Hardware: s.identity.ID, Epoch: s.identity.Epoch}
	ch, found, err := readChain(ctx, c)
	if err != nil {
		return err
	}
	last, err := lastPart(ctx, c, ch.part)
	if err != nil {
		return err
	}
	switch {
	case found && ch.Stream == now:
	case found && ch.Gateway == gateway:
		if err := s.sealParts(ctx, c, last, anyMinute); err != nil {
			return fmt.Errorf("seal what is left of epoch %d: %w", ch.Epoch, err)
		}
		s.log.Warn("a new usage epoch begins", "epoch", now.Epoch, "before", ch.Epoch)
		found = false
	case found:
		if err := s.abandon(ctx, c, ch.Gateway); err != nil {
			return err
		}
		found = false
	}
	if !found {
		ch = chain{Stream: now, link: now.Genesis(), part: last}
		if err := ch.write(ctx, c); err != nil {
			return err
		}
	}
	var batches, bytes int64
	if err := c.QueryRowContext(ctx, `SELECT count(*), coalesce(sum(length(data)), 0) FROM usage_batch`).Scan(&batches, &bytes); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metering = metering{on: true, finest: s.cfg.UsageGrain, stream: now, part: last + 1, first: anyMinute, closings: true, batches: batches, bytes: bytes}
	s.metering.judge(s.cfg.MaxOutboxBytes)
	return nil
}

// lastPart is the last part that anything speaks of.
func lastPart(ctx context.Context, c *sql.Conn, of int64) (part int64, err error) {
	err = c.QueryRowContext(ctx, `SELECT max(?, (SELECT coalesce(max(part), 0) FROM usage), (SELECT coalesce(max(part), 0) FROM usage_closing))`, of).Scan(&part)
	return part, err
}

// abandon drops what was for another controller, or for another gateway of this
// one: nobody would take it under the new name.
func (s *Store) abandon(ctx context.Context, c *sql.Conn, gateway string) error {
	res, err := c.ExecContext(ctx, `DELETE FROM usage_batch`)
	if err != nil {
		return err
	}
	if _, err := c.ExecContext(ctx, `DELETE FROM usage_closing`); err != nil {
		return err
	}
	n, err := res.RowsAffected()
	if n > 0 {
		s.log.Warn("batches of usage that the earlier controller never acknowledged are dropped", "gateway", gateway, "batches", n)
		s.mu.Lock()
		s.stats.UsageBatchesAbandoned += uint64(n)
		s.mu.Unlock()
	}
	return err
}

// CloseUsage puts what was metered until now under a link of the chain: from
// then on a change of it shows. It joins the next commit, and does nothing
// where nothing was metered.
func (s *Store) CloseUsage() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.recovering || !s.metering.due(usage.MinuteOf(s.cfg.Now())) {
		return
	}
	s.sealOpLocked(&looseOp{lazy: true, change: func(g *group) {
		part, first := s.metering.advanceTo(usage.MinuteOf(s.cfg.Now()))
		s.metering.queued = true
		g.ops = append(g.ops, &op{run: func(ctx context.Context, c *sql.Conn) error {
			err := s.closeParts(ctx, c, part, first)
			if err != nil {
				s.log.Error("close usage", "error", err)
				s.lookEverywhere()
			}
			return err
		}})
	}})
}

// lookEverywhere has the next closing look at all minutes.
func (s *Store) lookEverywhere() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metering.first, s.metering.closings = anyMinute, true
}

// closeParts links the rows of all parts since the last closing, up to part.
func (s *Store) closeParts(ctx context.Context, c *sql.Conn, part, first int64) error {
	ch, found, err := readChain(ctx, c)
	if err != nil || !found {
		return err
	}
	prev, link := ch.part, ch.link
	var raw []byte
	switch err := c.QueryRowContext(ctx, `SELECT part, link FROM usage_closing ORDER BY part DESC LIMIT 1`).Scan(&prev, &raw); {
	case err == nil:
		copy(link[:], raw)
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	rows, err := partRows(ctx, c, prev, part, first, math.MaxInt64)
	if err != nil || len(rows) == 0 {
		return err
	}
	s.mu.Lock()
	s.metering.closings = true
	s.mu.Unlock()
	next := link.Next(rows)
	_, err = c.ExecContext(ctx, `INSERT INTO usage_closing (part, link, first, last, rows) VALUES (?, ?, ?, ?, ?)`,
		part, next[:], rows[0].Minute, rows[len(rows)-1].Minute, len(rows))
	return err
}

// partRows reads the rows of the parts after prev up to part, sorted; they lie
// within the minutes first to last.
func partRows(ctx context.Context, c *sql.Conn, prev, part, first, last int64) (usage.Closing, error) {
	rows, err := c.QueryContext(ctx, sqlUsageRows+`WHERE u.minute >= ? AND u.minute <= ? AND u.part > ? AND u.part <= ?
		GROUP BY u.minute, n.name, u.version`, first, last, prev, part)
	if err != nil {
		return nil, err
	}
	out, err := scanUsage(rows)
	closing := usage.Closing(out)
	closing.Sort()
	return closing, err
}
