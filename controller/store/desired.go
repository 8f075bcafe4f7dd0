package store

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Fleet counts the changes of what a tenant wants of its gateways.
type Fleet struct {
	Tenant string
	// Revision grows with each change, and Made is the one up to which the desired
	// state of every gateway was made.
	Revision, Made int64
}

func fleetFields(f *Fleet) []any { return []any{&f.Tenant, &f.Revision, &f.Made} }

// Fleet returns a tenant's; one that never wanted anything has revision 0.
func (t *Tx) Fleet(ctx context.Context, tenant string) (Fleet, error) {
	f, err := one(ctx, t, fleetFields, `SELECT tenant, revision, made FROM fleet WHERE tenant = ?`, tenant)
	if errors.Is(err, ErrNotFound) {
		return Fleet{Tenant: tenant}, nil
	}
	return f, err
}

// ChangeFleet counts a change: the desired state of all its gateways is to be
// looked at again.
func (t *Tx) ChangeFleet(ctx context.Context, tenant string) error {
	_, err := t.exec(ctx, `INSERT INTO fleet (tenant, revision, made, busy) VALUES (?, 1, 0, 0)
		ON CONFLICT (tenant) DO UPDATE SET revision = fleet.revision + 1`, tenant)
	return err
}

// FleetsToMake returns tenants some of whose gateways' desired state was not made
// since the last change, and that no replica has in hand.
func (t *Tx) FleetsToMake(ctx context.Context, now time.Time, limit int) ([]Fleet, error) {
	return all(ctx, t, fleetFields, `SELECT tenant, revision, made FROM fleet WHERE made < revision AND busy < ? ORDER BY tenant LIMIT ?`, micros(now), limit)
}

// HoldFleet takes a tenant in hand until a moment; false says that another
// replica has it.
func (t *Tx) HoldFleet(ctx context.Context, tenant string, now, until time.Time) (bool, error) {
	n, err := t.exec(ctx, `UPDATE fleet SET busy = ? WHERE tenant = ? AND busy < ?`, micros(until), tenant, micros(now))
	return n > 0, err
}

// KeepFleet holds it for longer.
func (t *Tx) KeepFleet(ctx context.Context, tenant string, until time.Time) error {
	_, err := t.exec(ctx, `UPDATE fleet SET busy = ? WHERE tenant = ?`, micros(until), tenant)
	return err
}

// FleetMade notes that everything was made up to a revision, and lets go of the
// tenant.
func (t *Tx) FleetMade(ctx context.Context, tenant string, revision int64) error {
	_, err := t.exec(ctx, `UPDATE fleet SET busy = 0, made = CASE WHEN made < ? THEN ? ELSE made END WHERE tenant = ?`, revision, revision, tenant)
	return err
}

// Desired is what is wanted of a gateway, as it was made last.
type Desired struct {
	Gateway  string
	Revision uint64
	// Document is the wire.Desired, as it is sent but for its revision.
	Document []byte
	// Fleet is the revision of the fleet that it was made of; 0 wants it made
	// anew. Touched counts the changes of this gateway alone.
	Fleet, Touched int64
	// Follows is the revision that the gateway knows of.
	Follows uint64
	// Pushed is when it was sent last.
	Pushed time.Time
	// Error says why it could not be made anew.
	Error string
}

func desiredFields(d *Desired) []any {
	return []any{&d.Gateway, &d.Revision, &d.Document, &d.Fleet, &d.Touched, &d.Follows, stamp{&d.Pushed}, &d.Error}
}

const desiredColumns = `SELECT gateway, revision, document, fleet, touched, follows, pushed, error FROM desired `

// Desired returns what is wanted of a gateway; with revision 0 nothing was ever.
func (t *Tx) Desired(ctx context.Context, gateway string) (Desired, error) {
	d, err := one(ctx, t, desiredFields, desiredColumns+`WHERE gateway = ?`, gateway)
	if errors.Is(err, ErrNotFound) {
		return Desired{Gateway: gateway, Touched: -1}, nil
	}
	return d, err
}

// DesiredOf returns what is wanted of those gateways that it was ever made for.
func (t *Tx) DesiredOf(ctx context.Context, gateways []string) ([]Desired, error) {
	list, args := among(gateways)
	return all(ctx, t, desiredFields, desiredColumns+`WHERE gateway IN `+list, args...)
}

// SetDesired writes what was made anew of was. It does nothing, and reports
// false, where that is not what is there any more: somebody else has made it, or
// something of the gateway has changed meanwhile.
func (t *Tx) SetDesired(ctx context.Context, d, was Desired) (bool, error) {
	if was.Touched < 0 {
		n, err := t.exec(ctx, `INSERT INTO desired (gateway, revision, document, fleet, touched, follows, pushed, error) VALUES (?, ?, ?, ?, 0, 0, ?, ?)
			ON CONFLICT (gateway) DO NOTHING`, d.Gateway, int64(d.Revision), orEmpty(d.Document), d.Fleet, micros(d.Pushed), d.Error)
		return n > 0, err
	}
	n, err := t.exec(ctx, `UPDATE desired SET revision = ?, document = ?, fleet = ?, pushed = ?, error = ? WHERE gateway = ? AND revision = ? AND touched = ? AND fleet <= ?`,
		int64(d.Revision), orEmpty(d.Document), d.Fleet, micros(d.Pushed), d.Error, d.Gateway, int64(was.Revision), was.Touched, d.Fleet)
	return n > 0, err
}

// TouchDesired notes that something of a gateway has changed that its desired
// state is made of.
func (t *Tx) TouchDesired(ctx context.Context, gateways ...string) error {
	for _, g := range gateways {
		_, err := t.exec(ctx, `INSERT INTO desired (gateway, revision, document, fleet, touched, follows, pushed, error) VALUES (?, 0, ?, 0, 1, 0, 0, '')
			ON CONFLICT (gateway) DO UPDATE SET fleet = 0, touched = desired.touched + 1`, g, []byte{})
		if err != nil {
			return err
		}
	}
	return nil
}

// SetFollows notes the revision that a gateway knows of.
func (t *Tx) SetFollows(ctx context.Context, gateway string, revision uint64) error {
	_, err := t.exec(ctx, `UPDATE desired SET follows = ? WHERE gateway = ? AND follows <> ?`, int64(revision), gateway, int64(revision))
	return err
}

// SetPushed notes that a gateway's desired state was sent.
func (t *Tx) SetPushed(ctx context.Context, gateways []string, at time.Time) error {
	list, args := among(gateways)
	_, err := t.exec(ctx, `UPDATE desired SET pushed = ? WHERE gateway IN `+list, append([]any{micros(at)}, args...)...)
	return err
}

func text1(s *string) []any { return []any{s} }

// DesiredToMake returns gateways, after one, whose desired state is to be made
// anew.
func (t *Tx) DesiredToMake(ctx context.Context, after string, limit int) ([]string, error) {
	return all(ctx, t, text1, `SELECT gateway FROM desired WHERE fleet = 0 AND gateway > ? ORDER BY gateway LIMIT ?`, after, limit)
}

// DesiredToPush returns the desired states that gateways which spoke after seen
// do not know of, and that were not sent since before.
func (t *Tx) DesiredToPush(ctx context.Context, before, seen time.Time, limit int) ([]Desired, error) {
	return all(ctx, t, desiredFields, `SELECT d.gateway, d.revision, d.document, d.fleet, d.touched, d.follows, d.pushed, d.error
		FROM desired d JOIN gateway_status s ON s.gateway = d.gateway JOIN gateway g ON g.id = d.gateway
		WHERE g.revoked = 0 AND d.follows < d.revision AND d.pushed < ? AND s.seen > ? ORDER BY d.pushed LIMIT ?`, micros(before), micros(seen), limit)
}

// among is a list for IN; an empty one holds nothing. Lists have a few lengths
// only, so that there are few statements: the last name fills them up.
func among(names []string) (list string, args []any) {
	if len(names) == 0 {
		return "('')", nil
	}
	length := 1
	for length < len(names) {
		length *= 4
	}
	args = make([]any, length)
	for i := range args {
		args[i] = names[min(i, len(names)-1)]
	}
	return "(?" + strings.Repeat(", ?", length-1) + ")", args
}

// orEmpty is never nil: no column of ours is NULL.
func orEmpty(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
