package store

import "context"

// Meta is a fact about the installation, empty when it was never set.
func (t *Tx) Meta(ctx context.Context, name string) (string, error) {
	values, err := all(ctx, t, func(s *string) []any { return []any{s} }, `SELECT value FROM meta WHERE name = ?`, name)
	if err != nil || len(values) == 0 {
		return "", err
	}
	return values[0], nil
}

// SetMeta notes a fact about the installation.
func (t *Tx) SetMeta(ctx context.Context, name, value string) error {
	_, err := t.exec(ctx, `INSERT INTO meta (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}
