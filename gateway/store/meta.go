package store

import (
	"context"
	"database/sql"
	"fmt"
)

// Meta returns a fact about the gateway, or ErrNotFound.
func (s *Store) Meta(ctx context.Context, key string) ([]byte, error) {
	var v []byte
	if err := s.reader.db.QueryRowContext(ctx, `SELECT value FROM meta WHERE key = ?`, key).Scan(&v); err != nil {
		return nil, fmt.Errorf("meta %s: %w", key, notFound(err))
	}
	return v, nil
}

// SetMeta writes a fact about the gateway and returns after the commit.
func (s *Store) SetMeta(ctx context.Context, key string, value []byte) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)`, key, value)
		return err
	})
	if err != nil {
		return fmt.Errorf("meta %s: %w", key, err)
	}
	return nil
}

// NextCounter adds one to a counter, from 1 on, and returns it after the
// commit: no value is given twice, not even across a crash.
func (s *Store) NextCounter(ctx context.Context, key string) (uint64, error) {
	var n int64
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return c.QueryRowContext(ctx, `INSERT INTO meta (key, value) VALUES (?, 1)
			ON CONFLICT (key) DO UPDATE SET value = value + 1 RETURNING value`, "counter/"+key).Scan(&n)
	})
	if err != nil {
		return 0, fmt.Errorf("counter %s: %w", key, err)
	}
	return uint64(n), nil
}
