package store

import (
	"context"
	"time"

	"github.com/headgate-io/headgate/sync/wire"
)

// GatewayState is how it stands with a deployment on a gateway that it has
// reached.
type GatewayState string

// The states of a gateway in a deployment. Silent and late ones are pending or
// live here: that is a matter of the time when it is asked.
const (
	GatewayPending   GatewayState = "pending"
	GatewayLive      GatewayState = "live"
	GatewayUnhealthy GatewayState = "unhealthy"
)

// Reached is a gateway that a deployment has reached.
type Reached struct {
	Deployment, Gateway string
	Wave                int
	// At is when its wave began for it.
	At    time.Time
	State GatewayState
	Note  string
	// Changed is when State did.
	Changed time.Time
	// Old and New are the events of the version before and of the new one.
	Old, New wire.Counts
	// Run is that of the gateway's process, RunFaults how many faults of actuators
	// it had in it, Faults how many since it was reached.
	Run, RunFaults, Faults uint64
	// Seen is when the gateway spoke last, Name what people call it: of the
	// gateway, and not written.
	Seen time.Time
	Name string
}

func reachedFields(r *Reached) []any {
	return []any{
		&r.Deployment, &r.Gateway, &r.Wave,
		stamp{&r.At},
		&r.State, &r.Note,
		stamp{&r.Changed},
		&r.Old.Invocations, &r.Old.Failures, &r.Old.Crashes, &r.Old.Busy,
		&r.New.Invocations, &r.New.Failures, &r.New.Crashes, &r.New.Busy,
		unsigned{&r.Run},
		&r.RunFaults, &r.Faults,
		stamp{&r.Seen},
		&r.Name,
	}
}

const reachedColumns = `SELECT x.deployment, x.gateway, x.wave, x.reached, x.state, x.note, x.changed,
	x.old_invocations, x.old_failures, x.old_crashes, x.old_busy, x.new_invocations, x.new_failures, x.new_crashes, x.new_busy,
	x.run, x.run_faults, x.faults, COALESCE(s.seen, 0), g.name
	FROM deployment_gateway x JOIN gateway g ON g.id = x.gateway LEFT JOIN gateway_status s ON s.gateway = x.gateway `

// AddReached notes that a deployment has reached a gateway; one that it had
// reached stays as it is.
func (t *Tx) AddReached(ctx context.Context, r Reached) error {
	_, err := t.exec(ctx, `INSERT INTO deployment_gateway (deployment, gateway, wave, reached, state, note, changed,
		old_invocations, old_failures, old_crashes, old_busy, new_invocations, new_failures, new_crashes, new_busy, run, run_faults, faults)
		VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0, 0, 0, 0, 0, ?, ?, 0) ON CONFLICT (deployment, gateway) DO NOTHING`,
		r.Deployment, r.Gateway, r.Wave, micros(r.At), string(r.State), r.Note, micros(r.Changed), int64(r.Run), int64(r.RunFaults))
	return err
}

// SetReached writes what a gateway says.
func (t *Tx) SetReached(ctx context.Context, r Reached) error {
	return t.change(ctx, `UPDATE deployment_gateway SET state = ?, note = ?, changed = ?,
		old_invocations = ?, old_failures = ?, old_crashes = ?, old_busy = ?, new_invocations = ?, new_failures = ?, new_crashes = ?, new_busy = ?,
		run = ?, run_faults = ?, faults = ? WHERE deployment = ? AND gateway = ?`,
		string(r.State), r.Note, micros(r.Changed), int64(r.Old.Invocations), int64(r.Old.Failures), int64(r.Old.Crashes), int64(r.Old.Busy),
		int64(r.New.Invocations), int64(r.New.Failures), int64(r.New.Crashes), int64(r.New.Busy), int64(r.Run), int64(r.RunFaults), int64(r.Faults),
		r.Deployment, r.Gateway)
}

// RemoveReached forgets gateways that a deployment does not choose any more.
func (t *Tx) RemoveReached(ctx context.Context, deployment string, gateways []string) error {
	list, args := among(gateways)
	_, err := t.exec(ctx, `DELETE FROM deployment_gateway WHERE deployment = ? AND gateway IN `+list, append([]any{deployment}, args...)...)
	return err
}

// CountReached is how many gateways a deployment has reached.
func (t *Tx) CountReached(ctx context.Context, deployment string) (int, error) {
	return one(ctx, t, func(n *int) []any { return []any{n} }, `SELECT COUNT(*) FROM deployment_gateway WHERE deployment = ?`, deployment)
}

// ReachedBy lists the gateways that a deployment has reached, by their IDs.
func (t *Tx) ReachedBy(ctx context.Context, deployment string, p Page) ([]Reached, error) {
	return all(ctx, t, reachedFields, reachedColumns+`WHERE x.deployment = ? AND x.gateway > ? ORDER BY x.gateway LIMIT ?`, deployment, p.After, p.Limit)
}

// ReachedOf returns those of some gateways that a deployment has reached.
func (t *Tx) ReachedOf(ctx context.Context, deployment string, gateways []string) ([]Reached, error) {
	list, args := among(gateways)
	return all(ctx, t, reachedFields, reachedColumns+`WHERE x.deployment = ? AND x.gateway IN `+list, append([]any{deployment}, args...)...)
}

// ReachedOpen are the deployments under way that have reached a gateway, with
// what it said.
func (t *Tx) ReachedOpen(ctx context.Context, gateway string) ([]Reached, error) {
	return all(ctx, t, reachedFields, reachedColumns+`JOIN deployment d ON d.id = x.deployment WHERE x.gateway = ? AND d.state IN ('running', 'paused')`, gateway)
}

// ReachedPair is a deployment and a gateway that it has reached.
type ReachedPair struct{ Deployment, Gateway string }

// ReachedAmong says which deployments have reached some gateways, for those that
// count.
func (t *Tx) ReachedAmong(ctx context.Context, gateways []string) ([]ReachedPair, error) {
	list, args := among(gateways)
	return all(ctx, t, func(p *ReachedPair) []any { return []any{&p.Deployment, &p.Gateway} },
		`SELECT deployment, gateway FROM deployment_gateway WHERE gateway IN `+list, args...)
}
