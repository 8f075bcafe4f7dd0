package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// fill has the present wave reach as many gateways as it is to, some in each
// transaction. filled is false where it has changed what was read.
func (e *Engine) fill(ctx context.Context, l Look, chosen []store.Member) (filled bool, err error) {
	quota := Quota(l.Strategy, l.Deployment.Wave, l.Chosen)
	if len(l.Reached) >= quota {
		return true, nil
	}
	reached := make(map[string]bool, len(l.Reached))
	for i := range l.Reached {
		reached[l.Reached[i].Gateway] = true
	}
	var next []store.Member
	for _, m := range chosen {
		if !reached[m.ID] && len(next) < min(quota-len(l.Reached), batch*batches) {
			next = append(next, m)
		}
	}
	for len(next) > 0 {
		n := min(len(next), batch)
		going, err := e.reach(ctx, l.Deployment, next[:n], quota)
		if err != nil || !going {
			return false, err
		}
		e.kick()
		next = next[n:]
	}
	delete(e.next, l.Deployment.ID) // look again at what there is now
	return false, nil
}

// reach has the present wave reach some gateways, up to its quota; false says
// that there is nothing left to do in it: another replica has.
func (e *Engine) reach(ctx context.Context, was store.Deployment, list []store.Member, quota int) (going bool, err error) {
	now := e.now().UTC().Truncate(time.Microsecond)
	var ids []string
	err = e.store.Update(ctx, func(tx *store.Tx) error {
		if err := fleet.LockDeployment(ctx, tx, was.ID); err != nil {
			return err
		}
		d, err := tx.Deployment(ctx, was.ID)
		if errors.Is(err, store.ErrNotFound) { // with its tenant
			return nil
		}
		if err != nil {
			return err
		}
		has, err := tx.CountReached(ctx, d.ID)
		if err != nil {
			return err
		}
		if going = d.State == store.Running && d.Wave == was.Wave && has < quota; !going {
			return nil
		}
		list := list[:min(len(list), quota-has)]
		ids = ids[:0]
		for _, m := range list {
			ids = append(ids, m.ID)
		}
		slices.Sort(ids) // rows are written in one order everywhere
		said, err := e.reports(ctx, tx, ids)
		if err != nil {
			return err
		}
		for _, m := range list {
			x := store.Reached{Deployment: d.ID, Gateway: m.ID, Wave: d.Wave, At: now, State: store.GatewayPending, Changed: now}
			if r := said[m.ID]; r != nil {
				fleet.Update(&x, d, m.Arch, r, now)
			}
			if err := tx.AddReached(ctx, x); err != nil {
				return err
			}
		}
		return tx.TouchDesired(ctx, ids...)
	})
	if errors.Is(err, store.ErrNotFound) { // one of them was deleted: choose anew
		delete(e.members, was.Tenant)
		return false, nil
	}
	if err == nil && going {
		e.reached.Add(uint64(len(ids)))
	}
	return going, err
}

// reports are what some gateways said last.
func (e *Engine) reports(ctx context.Context, tx *store.Tx, ids []string) (map[string]*wire.Reported, error) {
	list, err := tx.ReportedOf(ctx, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*wire.Reported, len(list))
	for _, r := range list {
		m, err := e.codec.Decode(r.Document)
		if err != nil {
			return nil, err
		}
		out[r.Gateway], _ = m.(*wire.Reported)
	}
	return out, nil
}

// quoted is a note as JSON.
func quoted(note string) string {
	b, err := json.Marshal(note)
	if err != nil {
		panic(err) // a bug: a string
	}
	return string(b)
}
