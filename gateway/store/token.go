package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// maxTokens bounds the token table.
const maxTokens = 1000

// Token is a token of the admin API, as it is kept.
type Token struct {
	Name string
	// Hash is SHA-256 of the token.
	Hash   []byte
	Scopes []string
	// Expires and LastUsed are zero for never.
	Created, Expires, LastUsed time.Time
}

// AddToken stores a new token; a name that is taken is ErrExists.
func (s *Store) AddToken(ctx context.Context, t Token) error {
	scopes, err := json.Marshal(t.Scopes)
	if err != nil {
		return fmt.Errorf("token %s: %w", t.Name, err)
	}
	err = s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		var there, all int
		err := c.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM token WHERE name = ?), (SELECT count(*) FROM token)`, t.Name).Scan(&there, &all)
		switch {
		case err != nil:
			return err
		case there > 0:
			return ErrExists
		case all >= maxTokens:
			return fmt.Errorf("there are %d tokens already, which is the most: revoke some", all)
		}
		_, err = c.ExecContext(ctx, `INSERT INTO token (name, hash, scopes, created, expires, last_used) VALUES (?, ?, ?, ?, ?, 0)`,
			t.Name, t.Hash, string(scopes), unixMillis(t.Created), unixMillis(t.Expires))
		return err
	})
	if err != nil {
		return fmt.Errorf("token %s: %w", t.Name, err)
	}
	return nil
}

// Tokens lists the tokens by name.
func (s *Store) Tokens(ctx context.Context) ([]Token, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT name, hash, scopes, created, expires, last_used FROM token ORDER BY name`)
	if err != nil {
		return nil, fmt.Errorf("list tokens: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Token
	for rows.Next() {
		var t Token
		var scopes []byte
		var created, expires, used int64
		if err := rows.Scan(&t.Name, &t.Hash, &scopes, &created, &expires, &used); err != nil {
			return nil, fmt.Errorf("list tokens: %w", err)
		}
		if err := json.Unmarshal(scopes, &t.Scopes); err != nil {
			return nil, fmt.Errorf("token %s: %w", t.Name, err)
		}
		t.Created, t.Expires, t.LastUsed = fromMillis(created), fromMillis(expires), fromMillis(used)
		out = append(out, t)
	}
	return out, rows.Err()
}

// TokenUsed writes when a token was used last. One that is gone is no fault.
func (s *Store) TokenUsed(ctx context.Context, name string, at time.Time) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		_, err := c.ExecContext(ctx, `UPDATE token SET last_used = ? WHERE name = ?`, unixMillis(at), name)
		return err
	})
	if err != nil {
		return fmt.Errorf("token %s: %w", name, err)
	}
	return nil
}

// RemoveToken deletes a token, or returns ErrNotFound.
func (s *Store) RemoveToken(ctx context.Context, name string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return deleted(c.ExecContext(ctx, `DELETE FROM token WHERE name = ?`, name))
	})
	if err != nil {
		return fmt.Errorf("token %s: %w", name, err)
	}
	return nil
}

// deleted is ErrNotFound where nothing was.
func deleted(res sql.Result, err error) error {
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return ErrNotFound
	}
	return nil
}
