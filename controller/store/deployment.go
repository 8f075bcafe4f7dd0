package store

import (
	"context"
	"time"

	"github.com/headgate-io/headgate/sync/wire"
)

// DeploymentState is how it stands with a deployment.
type DeploymentState string

// The states of deployments. The last three have ended before every gateway was
// reached; of them a superseded one stays where it is.
const (
	Running    DeploymentState = "running"
	Paused     DeploymentState = "paused"
	Done       DeploymentState = "done"
	RolledBack DeploymentState = "rolled back"
	Aborted    DeploymentState = "aborted"
	Superseded DeploymentState = "superseded"
)

// Open reports whether it is still under way.
func (s DeploymentState) Open() bool { return s == Running || s == Paused }

// Target is a signed target, as it was when it was deployed.
type Target struct {
	Name string `json:"name"`
	// SHA256 is the file's, Digest the content's of a function; both in
	// hexadecimal.
	SHA256 string `json:"sha256"`
	Digest string `json:"digest,omitempty"`
	Arch   string `json:"arch,omitempty"`
}

// Deployment is what shall run on the gateways that it chooses.
type Deployment struct {
	ID, Tenant, Function string
	// Targets is one of a function, none removes it; of the system it is one for
	// each architecture.
	Targets  []Target
	Selector string
	// Strategy is JSON, as api.Strategy.
	Strategy string
	State    DeploymentState
	// Reason says why it is in this state.
	Reason    string
	Created   time.Time
	CreatedBy string
	Ended     time.Time
	// Wave is the one that is under way, 0 before the first, of Waves.
	Wave, Waves int
	WaveBegan   time.Time
	// Chosen is how many gateways it chooses, and Exempt how many more have its
	// labels and take no binary, when they were counted last.
	Chosen, Exempt int
}

func deploymentFields(d *Deployment) []any {
	return []any{
		&d.ID, &d.Tenant, &d.Function,
		document{&d.Targets},
		&d.Selector, &d.Strategy, &d.State, &d.Reason,
		stamp{&d.Created},
		&d.CreatedBy,
		stamp{&d.Ended},
		&d.Wave, &d.Waves,
		stamp{&d.WaveBegan},
		&d.Chosen, &d.Exempt,
	}
}

const deploymentColumns = `SELECT id, tenant, fn, targets, selector, strategy, state, reason, created, created_by, ended, wave, waves, wave_began, chosen, exempt FROM deployment `

// AddDeployment adds a deployment and returns its ID, which is greater than that
// of every one before.
func (t *Tx) AddDeployment(ctx context.Context, d Deployment) (string, error) {
	d.ID = newTimeID(d.Created)
	targets := d.Targets
	if targets == nil {
		targets = []Target{}
	}
	_, err := t.exec(ctx, `INSERT INTO deployment (id, tenant, fn, targets, selector, strategy, state, reason, created, created_by, ended, wave, waves, wave_began, chosen, exempt, covered)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)`,
		d.ID, d.Tenant, d.Function, text(targets), d.Selector, d.Strategy, string(d.State), d.Reason, micros(d.Created), d.CreatedBy, micros(d.Ended),
		d.Wave, d.Waves, micros(d.WaveBegan), d.Chosen, d.Exempt)
	return d.ID, err
}

// SetDeployment writes how it stands with a deployment.
func (t *Tx) SetDeployment(ctx context.Context, d Deployment) error {
	return t.change(ctx, `UPDATE deployment SET state = ?, reason = ?, ended = ?, wave = ?, wave_began = ?, chosen = ?, exempt = ? WHERE id = ?`,
		string(d.State), d.Reason, micros(d.Ended), d.Wave, micros(d.WaveBegan), d.Chosen, d.Exempt, d.ID)
}

// Deployment returns a deployment of any tenant.
func (t *Tx) Deployment(ctx context.Context, id string) (Deployment, error) {
	return one(ctx, t, deploymentFields, deploymentColumns+`WHERE id = ?`, id)
}

// DeploymentOf returns a tenant's deployment.
func (t *Tx) DeploymentOf(ctx context.Context, tenant, id string) (Deployment, error) {
	return missing(one(ctx, t, deploymentFields, deploymentColumns+`WHERE tenant = ? AND id = ?`, tenant, id))("deployment")
}

// Deployments lists a tenant's, newest first: those before p.After. An empty
// function is all.
func (t *Tx) Deployments(ctx context.Context, tenant, function string, p Page) ([]Deployment, error) {
	before := p.After
	if before == "" {
		before = "~" // after every identifier
	}
	return all(ctx, t, deploymentFields, deploymentColumns+`WHERE tenant = ? AND id < ? AND (fn = ? OR ? = '') ORDER BY id DESC LIMIT ?`,
		tenant, before, function, function, p.Limit)
}

// CountingDeployments are those of a tenant that may count for a gateway, newest
// first.
func (t *Tx) CountingDeployments(ctx context.Context, tenant string, limit int) ([]Deployment, error) {
	return all(ctx, t, deploymentFields, deploymentColumns+`WHERE covered = 0 AND tenant = ? AND state NOT IN ('rolled back', 'aborted') ORDER BY id DESC LIMIT ?`, tenant, limit)
}

// CoverDeployments notes that these never count again: one that is done lies on
// all that they choose.
func (t *Tx) CoverDeployments(ctx context.Context, ids []string) error {
	list, args := among(ids)
	_, err := t.exec(ctx, `UPDATE deployment SET covered = 1 WHERE id IN `+list, args...)
	return err
}

// RemoveDeployments removes up to limit deployments that ended before a moment
// and count no more, and returns how many they were.
func (t *Tx) RemoveDeployments(ctx context.Context, before time.Time, limit int) (int64, error) {
	return t.exec(ctx, `DELETE FROM deployment WHERE id IN (SELECT id FROM deployment
		WHERE ended > 0 AND ended < ? AND (covered = 1 OR state IN ('rolled back', 'aborted')) ORDER BY id LIMIT ?)`, micros(before), limit)
}

// OpenDeployments are those of all tenants that are under way, oldest first.
func (t *Tx) OpenDeployments(ctx context.Context, p Page) ([]Deployment, error) {
	return all(ctx, t, deploymentFields, deploymentColumns+`WHERE state IN ('running', 'paused') AND id > ? ORDER BY id LIMIT ?`, p.After, p.Limit)
}

// OpenDeploymentsOf are those of a tenant's function that are under way.
func (t *Tx) OpenDeploymentsOf(ctx context.Context, tenant, function string) ([]Deployment, error) {
	return all(ctx, t, deploymentFields, deploymentColumns+`WHERE state IN ('running', 'paused') AND tenant = ? AND fn = ? ORDER BY id`, tenant, function)
}

// Tally counts the gateways that a deployment has reached by how it stands with
// them.
type Tally struct {
	State GatewayState
	// Count is all of them, Quiet those that said nothing since a moment.
	Count, Quiet int
	Old, New     wire.Counts
}

// Tallies counts the gateways that a deployment has reached. Events are those of
// a wave's gateways alone.
func (t *Tx) Tallies(ctx context.Context, deployment string, wave int, quiet time.Time) ([]Tally, error) {
	fields := func(x *Tally) []any {
		return []any{
			&x.State, &x.Count, &x.Quiet, &x.Old.Invocations, &x.Old.Failures, &x.Old.Crashes, &x.Old.Busy,
			&x.New.Invocations, &x.New.Failures, &x.New.Crashes, &x.New.Busy,
		}
	}
	sum := func(column string) string {
		return `, CAST(COALESCE(SUM(CASE WHEN x.wave = ? THEN ` + column + ` ELSE 0 END), 0) AS BIGINT)`
	}
	query := `SELECT x.state, COUNT(*), CAST(SUM(CASE WHEN COALESCE(s.seen, 0) < ? AND x.reached < ? THEN 1 ELSE 0 END) AS BIGINT)`
	args := []any{micros(quiet), micros(quiet)}
	for _, column := range []string{"old_invocations", "old_failures", "old_crashes", "old_busy", "new_invocations", "new_failures", "new_crashes", "new_busy"} {
		query += sum("x." + column)
		args = append(args, wave)
	}
	query += ` FROM deployment_gateway x LEFT JOIN gateway_status s ON s.gateway = x.gateway WHERE x.deployment = ? GROUP BY x.state ORDER BY x.state`
	return all(ctx, t, fields, query, append(args, deployment)...)
}

// Step is something that happened in a deployment.
type Step struct {
	ID, Deployment string
	At             time.Time
	Wave           int
	Note           string
}

func stepFields(s *Step) []any { return []any{&s.ID, &s.Deployment, stamp{&s.At}, &s.Wave, &s.Note} }

// AddStep notes a step.
func (t *Tx) AddStep(ctx context.Context, s Step) error {
	_, err := t.exec(ctx, `INSERT INTO deployment_step (id, deployment, at, wave, note) VALUES (?, ?, ?, ?, ?)`, newTimeID(s.At), s.Deployment, micros(s.At), s.Wave, s.Note)
	return err
}

// Steps lists the steps of a deployment, oldest first.
func (t *Tx) Steps(ctx context.Context, deployment string, p Page) ([]Step, error) {
	return all(ctx, t, stepFields, `SELECT id, deployment, at, wave, note FROM deployment_step WHERE deployment = ? AND id > ? ORDER BY id LIMIT ?`, deployment, p.After, p.Limit)
}
