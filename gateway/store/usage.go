package store

import (
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
	g.totals(usageKey{f.id, r.Version, usage.MinuteOf(r.At)}).Add(r)
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
			g.totals(usageKey{f.id, r.Version, r.Minute}).Merge(&r.Totals)
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
	def(&q.Limit, 10_000)
	rows, err := s.reader.db.QueryContext(ctx, `SELECT u.minute, n.name, u.version, u.ok, u.failed, u.trapped, u.out_of_fuel,
		u.out_of_stack, u.out_of_memory, u.timed_out, u.refused, u.fuel, u.duration_nanos, u.memory_byte_millis,
		u.cold_starts, u.bytes_in, u.bytes_out, u.bytes_written, u.time_estimated, u.time_unknown
		FROM usage u JOIN name n ON n.id = u.function
		WHERE u.minute >= ? AND u.minute < ? AND (? = '' OR n.name = ?)
		ORDER BY u.minute, n.name, u.version LIMIT ?`, from, to, q.Function, q.Function, q.Limit)
	if err != nil {
		return nil, fmt.Errorf("read usage: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []usage.Rollup
	for rows.Next() {
		var r usage.Rollup
		dest := []any{&r.Minute, &r.Function, &r.Version}
		for i := range r.Outcomes {
			dest = append(dest, &r.Outcomes[i])
		}
		dest = append(dest, &r.Fuel, &r.DurationNanos, &r.MemoryByteMillis, &r.ColdStarts, &r.BytesIn, &r.BytesOut, &r.BytesWritten, &r.TimeEstimated, &r.TimeUnknown)
		if err := rows.Scan(dest...); err != nil {
			return nil, fmt.Errorf("read usage: %w", err)
		}
		out = append(out, r)
	}
	return out, rows.Err()
}

// trimUsage drops the oldest rollups beyond the bound.
func (s *Store) trimUsage(ctx context.Context) error {
	var n int64
	if err := s.reader.db.QueryRowContext(ctx, `SELECT count(*) FROM usage`).Scan(&n); err != nil {
		return fmt.Errorf("count usage: %w", err)
	}
	over := n - s.cfg.MaxUsageRows
	if over <= 0 {
		return nil
	}
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `DELETE FROM usage WHERE (minute, function, version) IN
			(SELECT minute, function, version FROM usage ORDER BY minute LIMIT ?)`, over)
		return err
	})
	if err != nil {
		return fmt.Errorf("trim usage: %w", err)
	}
	s.mu.Lock()
	s.stats.UsageRowsDropped += uint64(over)
	s.mu.Unlock()
	s.log.Warn("oldest usage dropped", "rows", over)
	return nil
}
