package store

import (
	"context"
	"time"
)

// PutOut is a gateway whose certificates became good for nothing.
type PutOut struct{ ID, Gateway string }

// AddPutOut notes that a gateway is put out: by revoking, deleting or replacing
// it.
func (t *Tx) AddPutOut(ctx context.Context, gateway string, at time.Time) error {
	_, err := t.exec(ctx, `INSERT INTO put_out (id, gateway) VALUES (?, ?)`, newTimeID(at), gateway)
	return err
}

// PutOutSince lists those since a moment, after an ID, in the order of time.
func (t *Tx) PutOutSince(ctx context.Context, since time.Time, p Page) ([]PutOut, error) {
	return all(ctx, t, func(p *PutOut) []any { return []any{&p.ID, &p.Gateway} }, `SELECT id, gateway FROM put_out WHERE id > ? ORDER BY id LIMIT ?`,
		max(p.After, newTimeID(since)[:14]), p.Limit)
}

// RemovePutOut forgets up to limit of those before a moment, and returns how many
// they were.
func (t *Tx) RemovePutOut(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM put_out WHERE id IN (SELECT id FROM put_out WHERE id < ? ORDER BY id LIMIT ?)`, newTimeID(before)[:14], limit)
}
