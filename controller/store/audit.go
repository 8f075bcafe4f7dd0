package store

import (
	"context"
	"time"
)

// Change is an entry of the audit log: who changed what.
type Change struct {
	// ID begins with the time, so that the order of IDs is that of time.
	ID, Tenant string
	At         time.Time
	// Actor is the account's name, Token that of its token, Address where it
	// came from.
	Actor, Token, Address string
	// Action is what was done, as gateway.rename, and Object to what.
	Action, Object string
	// Before and After are JSON, empty for what was not there or is not any
	// more. Secrets are never in them.
	Before, After string
}

func changeFields(c *Change) []any {
	return []any{&c.ID, &c.Tenant, stamp{&c.At}, &c.Actor, &c.Token, &c.Address, &c.Action, &c.Object, &c.Before, &c.After}
}

// AddChange adds an entry; its ID is made here.
func (t *Tx) AddChange(ctx context.Context, c Change) error {
	_, err := t.exec(ctx, `INSERT INTO audit (id, tenant, at, actor, token, address, action, object, before, after) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		newTimeID(c.At), c.Tenant, micros(c.At), c.Actor, c.Token, c.Address, c.Action, c.Object, c.Before, c.After)
	return err
}

// Changes lists a tenant's audit log, newest first: those before p.After.
func (t *Tx) Changes(ctx context.Context, tenant string, p Page) ([]Change, error) {
	before := p.After
	if before == "" {
		before = "~" // after every identifier
	}
	return all(ctx, t, changeFields, `SELECT id, tenant, at, actor, token, address, action, object, before, after FROM audit
		WHERE tenant = ? AND id < ? ORDER BY id DESC LIMIT ?`, tenant, before, p.Limit)
}

// RemoveChanges removes up to limit entries that are older than a moment, and
// returns how many they were.
func (t *Tx) RemoveChanges(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM audit WHERE id IN (SELECT id FROM audit WHERE id < ? ORDER BY id LIMIT ?)`, newTimeID(before)[:14], limit)
}
