package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// maxSecrets bounds the secret table.
const maxSecrets = 10_000

// Secret is a function's secret, sealed by whoever stores it.
type Secret struct {
	Function, Name string
	// KeyID says which key opens Sealed.
	KeyID   string
	Sealed  []byte
	Updated time.Time
}

// PutSecrets adds or replaces secrets, all or none.
func (s *Store) PutSecrets(ctx context.Context, list ...Secret) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		for i := range list {
			v := &list[i]
			if _, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO secret (function, name, key_id, sealed, updated) VALUES (?, ?, ?, ?, ?)`,
				v.Function, v.Name, v.KeyID, v.Sealed, unixMillis(v.Updated)); err != nil {
				return err
			}
		}
		var all int
		if err := c.QueryRowContext(ctx, `SELECT count(*) FROM secret`).Scan(&all); err != nil {
			return err
		}
		if all > maxSecrets {
			return fmt.Errorf("there would be %d secrets, more than the %d there may be: remove some", all, maxSecrets)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("store secret: %w", err)
	}
	return nil
}

// Secrets lists all secrets by function and name.
func (s *Store) Secrets(ctx context.Context) ([]Secret, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT function, name, key_id, sealed, updated FROM secret ORDER BY function, name`)
	if err != nil {
		return nil, fmt.Errorf("list secrets: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Secret
	for rows.Next() {
		var v Secret
		var updated int64
		if err := rows.Scan(&v.Function, &v.Name, &v.KeyID, &v.Sealed, &updated); err != nil {
			return nil, fmt.Errorf("list secrets: %w", err)
		}
		v.Updated = fromMillis(updated)
		out = append(out, v)
	}
	return out, rows.Err()
}

// RemoveSecret deletes a secret, or returns ErrNotFound.
func (s *Store) RemoveSecret(ctx context.Context, function, name string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return deleted(c.ExecContext(ctx, `DELETE FROM secret WHERE function = ? AND name = ?`, function, name))
	})
	if err != nil {
		return fmt.Errorf("secret %s of function %s: %w", name, function, err)
	}
	return nil
}

// RemoveSecrets deletes all secrets of a function; that it has none is no
// fault.
func (s *Store) RemoveSecrets(ctx context.Context, function string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `DELETE FROM secret WHERE function = ?`, function)
		return err
	})
	if err != nil {
		return fmt.Errorf("secrets of function %s: %w", function, err)
	}
	return nil
}
