package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/controller/label"
	"github.com/headgate-io/headgate/controller/store"
)

// LockDeployment lets one transaction at a time change a deployment.
func LockDeployment(ctx context.Context, tx *store.Tx, id string) error {
	return tx.Lock(ctx, "deployment", id)
}

// Deploy adds a deployment, on top of those that are there: one under way of the
// same function for the same selector stays where it is.
func Deploy(ctx context.Context, tx *store.Tx, d *store.Deployment) error {
	some, err := tx.CountingDeployments(ctx, d.Tenant, MaxDeployments)
	if err != nil {
		return err
	}
	if len(some) >= MaxDeployments {
		return fmt.Errorf("%w: %d deployments lie on each other, more than which nobody can tell apart: deploy to wider selectors, so that those beneath count no more", ErrTooMany, len(some))
	}
	if d.ID, err = tx.AddDeployment(ctx, *d); err != nil {
		return err
	}
	under, err := tx.OpenDeploymentsOf(ctx, d.Tenant, d.Function)
	if err != nil {
		return err
	}
	for _, o := range under {
		if o.ID == d.ID || o.Selector != d.Selector {
			continue
		}
		if err := supersede(ctx, tx, o.ID, d); err != nil {
			return err
		}
	}
	if err := tx.AddStep(ctx, store.Step{Deployment: d.ID, At: d.Created, Note: "made by " + d.CreatedBy}); err != nil {
		return err
	}
	return tx.ChangeFleet(ctx, d.Tenant)
}

func supersede(ctx context.Context, tx *store.Tx, id string, by *store.Deployment) error {
	if err := LockDeployment(ctx, tx, id); err != nil {
		return err
	}
	o, err := tx.Deployment(ctx, id)
	if err != nil || !o.State.Open() {
		return err
	}
	o.State, o.Reason, o.Ended = store.Superseded, "by deployment "+by.ID, by.Created
	if err := tx.SetDeployment(ctx, o); err != nil {
		return err
	}
	return tx.AddStep(ctx, store.Step{Deployment: id, At: by.Created, Wave: o.Wave, Note: "superseded " + o.Reason})
}

// Finish notes that a deployment is done. Those beneath that it lies on as a
// whole never count again.
func Finish(ctx context.Context, tx *store.Tx, d store.Deployment, at time.Time) error {
	d.State, d.Reason, d.Ended = store.Done, "", at
	if err := tx.SetDeployment(ctx, d); err != nil {
		return err
	}
	some, err := tx.CountingDeployments(ctx, d.Tenant, 2*MaxDeployments)
	if err != nil {
		return err
	}
	var covered []string
	for _, o := range some {
		if o.ID < d.ID && o.Function == d.Function && !o.State.Open() && (d.Selector == "" || o.Selector == d.Selector) && coversTargets(d, o) {
			covered = append(covered, o.ID)
		}
	}
	if err := tx.CoverDeployments(ctx, covered); err != nil {
		return err
	}
	return tx.ChangeFleet(ctx, d.Tenant)
}

// coversTargets reports whether a deployment is for every architecture that one
// beneath is for.
func coversTargets(d, beneath store.Deployment) bool {
	if d.Function != System {
		return true
	}
	for _, t := range beneath.Targets {
		if _, ok := TargetFor(d, t.Arch); !ok {
			return false
		}
	}
	return true
}

// Chooses reports whether a deployment is for a gateway.
func Chooses(d store.Deployment, g store.Gateway) bool {
	if !g.Revoked.IsZero() {
		return false
	}
	selector, err := label.Parse(d.Selector)
	if err != nil {
		return false // it was checked when it was made
	}
	return IsFor(d, selector, g.Arch, g.Labels)
}

// Count counts the gateways that a deployment is for now, and those that it would
// be for if they took their binary from the controller.
func Count(ctx context.Context, tx *store.Tx, d *store.Deployment) error {
	selector, err := label.Parse(d.Selector)
	if err != nil {
		return err
	}
	d.Chosen, d.Exempt = 0, 0
	for after := ""; ; {
		list, err := tx.Members(ctx, d.Tenant, store.Page{After: after, Limit: countAtOnce})
		if err != nil {
			return err
		}
		for _, m := range list {
			switch {
			case !IsFor(*d, selector, m.Arch, m.Labels):
			case Exempt(*d, m.Fixed):
				d.Exempt++
			default:
				d.Chosen++
			}
		}
		if len(list) < countAtOnce {
			return nil
		}
		after = list[len(list)-1].ID
	}
}

// countAtOnce bounds what is read of a tenant's gateways at once.
const countAtOnce = 1000

// Exempt reports whether a deployment brings a binary, which a gateway that says
// this of its own takes from elsewhere. One that took them when the deployment
// reached it is unhealthy instead: Update notes it.
func Exempt(d store.Deployment, fixed string) bool { return d.Function == System && fixed != "" }

// Nobody says that a deployment has no gateway to run on but some that are
// exempt.
func Nobody(exempt int) string {
	return fmt.Sprintf("it is for none of the gateways: %d with such labels take no binary from the controller ('headgate fleet gateways' says which, 'headgate system status' there what brings theirs)", exempt)
}

// IsFor reports whether a deployment, whose selector it is, is for a gateway of an
// architecture with these labels.
func IsFor(d store.Deployment, selector label.Selector, arch string, labels map[string]string) bool {
	if !selector.Match(labels) {
		return false
	}
	_, ok := TargetFor(d, arch)
	return ok || d.Function != System
}
