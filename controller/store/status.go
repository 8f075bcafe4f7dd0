package store

import (
	"context"
	"encoding/json"
	"time"
)

// Status is what a gateway said of itself last.
type Status struct {
	Gateway string
	// Hello is when it connected last, Seen when it spoke.
	Hello, Seen time.Time
	// Session is the greatest number of its connections.
	Session uint64
	// Version and Arch are those of its binary.
	Version, Arch string
	// Skew is by how much its clock was ahead of the controller's at its last
	// connection, in microseconds, and Trust how far it relied on it: 0 unknown, 1
	// estimated, 2 synchronised.
	Skew  int64
	Trust int
	// Health is the gateway's own account, as JSON.
	Health string
	// Fixed says why it takes no binary from the controller; empty is that it does.
	Fixed string
}

func statusFields(s *Status) []any {
	return []any{&s.Gateway, stamp{&s.Hello}, stamp{&s.Seen}, &s.Session, &s.Version, &s.Arch, &s.Skew, &s.Trust, &s.Health, &s.Fixed}
}

// SetHello notes that a gateway connected. fresh is false where it has spoken on
// a newer connection, or on this one, before.
func (t *Tx) SetHello(ctx context.Context, s *Status) (fresh bool, err error) {
	n, err := t.exec(ctx, `INSERT INTO gateway_status (gateway, hello, seen, session, version, arch, skew, trust, health) VALUES (?, ?, ?, ?, ?, ?, ?, ?, '{}')
		ON CONFLICT (gateway) DO UPDATE SET hello = excluded.hello, seen = excluded.seen, session = excluded.session, version = excluded.version,
		arch = excluded.arch, skew = excluded.skew, trust = excluded.trust WHERE excluded.session > gateway_status.session`,
		s.Gateway, micros(s.Hello), micros(s.Hello), int64(s.Session), s.Version, s.Arch, s.Skew, s.Trust)
	return n > 0, err
}

// ForgetSession has any connection of a gateway count as newer than those before:
// it is another that has its name now.
func (t *Tx) ForgetSession(ctx context.Context, gateway string) error {
	_, err := t.exec(ctx, `UPDATE gateway_status SET session = 0 WHERE gateway = ?`, gateway)
	return err
}

// SetHealth keeps a gateway's own account of how it is; it must have connected.
func (t *Tx) SetHealth(ctx context.Context, gateway string, health any, at time.Time) error {
	b, err := json.Marshal(health)
	if err != nil {
		return err
	}
	return t.change(ctx, `UPDATE gateway_status SET seen = ?, health = ? WHERE gateway = ?`, micros(at), string(b), gateway)
}

// StatusesBetween returns what those of a tenant's gateways said last whose names
// are from first to last.
func (t *Tx) StatusesBetween(ctx context.Context, tenant, first, last string) ([]Status, error) {
	return all(ctx, t, statusFields, `SELECT s.gateway, s.hello, s.seen, s.session, s.version, s.arch, s.skew, s.trust, s.health, s.fixed
		FROM gateway_status s JOIN gateway g ON g.id = s.gateway WHERE g.tenant = ? AND g.name >= ? AND g.name <= ?`, tenant, first, last)
}

// Status returns what a gateway said last; ErrNotFound is one that never did.
func (t *Tx) Status(ctx context.Context, gateway string) (Status, error) {
	return one(ctx, t, statusFields, `SELECT gateway, hello, seen, session, version, arch, skew, trust, health, fixed FROM gateway_status WHERE gateway = ?`, gateway)
}

// SetFixed notes why a gateway takes no binary, or that it does.
func (t *Tx) SetFixed(ctx context.Context, gateway, fixed string) error {
	_, err := t.exec(ctx, `UPDATE gateway_status SET fixed = ? WHERE gateway = ? AND fixed <> ?`, fixed, gateway, fixed)
	return err
}
