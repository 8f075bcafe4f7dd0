package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/sync/usage"
)

// meterLocked adds one attempt to the group's rollups.
func (s *Store) meterLocked(g *group, r *usage.Record) {
	f := s.functionLocked(r.Function)
	s.saveNameLocked(g, f.id, f.name)
	g.totals(s.usageKeyLocked(f.id, r.Version, usage.MinuteOf(r.At))).Add(r)
}

// usageKeyLocked is the row that grows.
func (s *Store) usageKeyLocked(function uint32, version int, minute int64) usageKey {
	minute = s.metering.take(minute) // which may begin a part
	return usageKey{function, version, minute, s.metering.part}
}

func (g *group) totals(k usageKey) *usage.Totals {
	if g.usage == nil {
		g.usage = make(map[usageKey]*usage.Totals)
	}
	t := g.usage[k]
	if t == nil {
		t = new(usage.Totals)
		g.usage[k] = t
		g.bytes += 256
	}
	return t
}

// AddUsage merges rollups into the next commit; done, which may be nil, is
// called after it. It is how volatile usage is flushed.
func (s *Store) AddUsage(rollups []usage.Rollup, done func(error)) {
	if len(rollups) == 0 {
		if done != nil {
			done(nil)
		}
		return
	}
	s.sealOp(&looseOp{done: done, change: func(g *group) {
		for i := range rollups {
			r := &rollups[i]
			f := s.functionLocked(r.Function)
			s.saveNameLocked(g, f.id, f.name)
			g.totals(s.usageKeyLocked(f.id, r.Version, r.Minute)).Merge(&r.Totals)
		}
	}})
}

// UsageQuery selects rollups. Zero fields do not restrict.
type UsageQuery struct {
	Function string
	// From and To bound the minute's start: From ≤ minute < To.
	From, To time.Time
	// Limit bounds the answer; the oldest come first (10 000).
	Limit int
}

// Usage returns committed rollups, oldest first.
func (s *Store) Usage(ctx context.Context, q UsageQuery) ([]usage.Rollup, error) {
	from, to := int64(-1<<62), int64(1<<62)
	if !q.From.IsZero() {
		from = usage.MinuteOf(q.From.Add(time.Minute - time.Nanosecond))
	}
	if !q.To.IsZero() {
		to = usage.MinuteOf(q.To.Add(time.Minute - time.Nanosecond))
	}
	q.Limit = cmp.Or(q.Limit, 10_000)
	rows, err := s.reader.db.QueryContext(ctx, sqlUsageRows+`WHERE u.minute >= ? AND u.minute < ? AND (? = '' OR n.name = ?)
		GROUP BY u.minute, n.name, u.version ORDER BY u.minute, n.name, u.version LIMIT ?`, from, to, q.Function, q.Function, q.Limit)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	out, err := scanUsage(rows)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	return out, nil
}

// sqlUsageRows adds up the parts of minutes; its groups are minute, n.name and
// version.
const sqlUsageRows = `SELECT u.minute, n.name, u.version, sum(u.ok), sum(u.failed), sum(u.trapped), sum(u.out_of_fuel),
	sum(u.out_of_stack), sum(u.out_of_memory), sum(u.timed_out), sum(u.refused), sum(u.fuel), sum(u.duration_nanos),
	sum(u.memory_byte_millis), sum(u.cold_starts), sum(u.bytes_in), sum(u.bytes_out), sum(u.bytes_written),
	sum(u.time_estimated), sum(u.time_unknown) FROM usage u JOIN name n ON n.id = u.function `

func scanUsage(rows *sql.Rows) (out []usage.Rollup, err error) {
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var r usage.Rollup
		dest := []any{&r.Minute, &r.Function, &r.Version}
		for _, f := range r.Fields() {
			dest = append(dest, f)
		}
		if err := rows.Scan(dest...); err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// trimUsage drops the oldest rollups beyond the bound. What is in no batch for
// the controller yet stays as long again.
func (s *Store) trimUsage(ctx context.Context) error {
	var n int64
	if err := s.reader.db.QueryRowContext(ctx, `SELECT count(*) FROM usage`).Scan(&n); err != nil {
		return fmt.Errorf("count usage: %w", err)
	}
	over := n - s.cfg.MaxUsageRows
	if over <= 0 {
		return nil
	}
	dropped, err := s.dropUsage(ctx, over, `WHERE part <= coalesce((SELECT part FROM usage_chain), part)`)
	if err != nil {
		return err
	}
	s.log.Warn("oldest usage dropped", "rows", dropped)
	if over = n - dropped - 2*s.cfg.MaxUsageRows; over <= 0 {
		return nil
	}
	if dropped, err = s.dropUsage(ctx, over, ""); err == nil {
		s.log.Error("usage dropped that the controller never got: the outbox is full", "rows", dropped)
	}
	return err
}

func (s *Store) dropUsage(ctx context.Context, most int64, which string) (dropped int64, err error) {
	err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		res, err := c.ExecContext(ctx, `DELETE FROM usage WHERE (minute, function, version, part) IN
			(SELECT minute, function, version, part FROM usage `+which+` ORDER BY minute LIMIT ?)`, most)
		if err == nil {
			dropped, err = res.RowsAffected()
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("trim usage: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.UsageRowsDropped += uint64(dropped)
	if which == "" {
		s.stats.UsageUnsentDropped += uint64(dropped)
	}
	return dropped, nil
}
