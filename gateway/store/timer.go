package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Timer is a durable timer.
type Timer struct {
	Name string
	// Function is what it starts.
	Function string
	// Schedule, Timezone and Missed are in the words of package timer.
	Schedule, Timezone, Missed string
	// OnEstimate lets it run on a clock that is not synchronised.
	OnEstimate bool
	// Due is its next firing; zero is not computed yet. Seen is when Due was.
	Due, Seen time.Time
}

// TimerAdvance is the change of a timer that a firing makes. It is part of the
// firing's own unit.
type TimerAdvance struct {
	Name string
	// Fired is the firing that it follows; where that is not the timer's Due any
	// more, nothing changes.
	Fired time.Time
	// Due and Seen are as in Timer.
	Due, Seen time.Time
}

// maxTimers bounds the timers.
const maxTimers = 10_000

// Timers returns all timers by name.
func (s *Store) Timers(ctx context.Context) ([]Timer, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT name, function, schedule, timezone, missed, on_estimate, due, seen FROM timer ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list timers: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Timer
	for rows.Next() {
		var t Timer
		var due, seen int64
		if err := rows.Scan(&t.Name, &t.Function, &t.Schedule, &t.Timezone, &t.Missed, &t.OnEstimate, &due, &seen); err != nil {
			return nil, fmt.Errorf("list timers: %w", err)
		}
		t.Due, t.Seen = fromMillis(due), fromMillis(seen)
		out = append(out, t)
	}
	return out, rows.Err()
}

// PutTimer writes a timer, in the place of one of that name, and returns after
// the commit.
func (s *Store) PutTimer(ctx context.Context, t Timer) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		var n int
		if err := c.QueryRowContext(ctx, `SELECT count(*) FROM timer WHERE name <> ?`, t.Name).Scan(&n); err != nil {
			return err
		}
		if n >= maxTimers {
			return &QuotaError{What: "timers", Slot: -1, Limit: maxTimers, Unit: "timers"}
		}
		_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO timer (name, function, schedule, timezone, missed, on_estimate, due, seen)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?)`, t.Name, t.Function, t.Schedule, t.Timezone, t.Missed, t.OnEstimate, unixMillis(t.Due), unixMillis(t.Seen))
		return err
	})
	if err != nil {
		return fmt.Errorf("timer %s: %w", t.Name, err)
	}
	return nil
}

// DropTimer deletes a timer, or returns ErrNotFound.
func (s *Store) DropTimer(ctx context.Context, name string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return deleted(c.ExecContext(ctx, `DELETE FROM timer WHERE name = ?`, name))
	})
	if err != nil {
		return fmt.Errorf("timer %s: %w", name, err)
	}
	return nil
}

func (w *writer) timers(g *group) error {
	for i := range g.timers {
		a := &g.timers[i]
		if err := w.run(sqlTimerAdvance, unixMillis(a.Due), unixMillis(a.Seen), a.Name, unixMillis(a.Fired)); err != nil {
			return fmt.Errorf("advance timer: %w", err)
		}
	}
	return nil
}
