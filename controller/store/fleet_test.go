package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// addGateways adds a tenant with gateways that spoke at epoch.
func addGateways(t *testing.T, s *store.Store, tenant string, ids ...string) {
	t.Helper()
	addTenant(t, s, tenant)
	update(t, s, func(ctx context.Context, tx *store.Tx) error {
		for _, id := range ids {
			if err := tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: tenant, Name: id, Labels: map[string]string{}, Arch: "arm64"}); err != nil {
				return err
			}
			if _, err := tx.SetHello(ctx, &store.Status{Gateway: id, Hello: epoch, Session: 1}); err != nil {
				return err
			}
		}
		return nil
	})
}

func view(t *testing.T, s *store.Store, fn func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

func TestDeployments(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addGateways(t, s, "acme", "g1", "g2", "g3")
		addTenant(t, s, "other")
		d := store.Deployment{
			Tenant: "acme", Function: "a", Targets: []store.Target{{Name: "a-1", SHA256: "00", Digest: "11"}}, Selector: "site=north", Strategy: "{}",
			State: store.Running, Created: epoch, CreatedBy: "ann", Wave: 1, Waves: 3, WaveBegan: epoch, Chosen: 3,
		}
		gone := store.Deployment{Tenant: "acme", Function: "b", Targets: []store.Target{}, State: store.RolledBack, Created: epoch.Add(time.Second), Ended: epoch.Add(time.Second)}
		update(t, s, func(ctx context.Context, tx *store.Tx) (err error) {
			if d.ID, err = tx.AddDeployment(ctx, d); err != nil {
				return err
			}
			if gone.ID, err = tx.AddDeployment(ctx, gone); err != nil {
				return err
			}
			gone.Targets = []store.Target{}
			return errors.Join(tx.AddStep(ctx, store.Step{Deployment: d.ID, At: epoch, Wave: 1, Note: "one"}),
				tx.AddStep(ctx, store.Step{Deployment: d.ID, At: epoch.Add(time.Second), Wave: 2, Note: "two"}),
				tx.AddReached(ctx, store.Reached{Deployment: d.ID, Gateway: "g1", Wave: 1, At: epoch, State: store.GatewayPending, Changed: epoch, Run: 1 << 63, RunFaults: 2}),
				tx.AddReached(ctx, store.Reached{Deployment: d.ID, Gateway: "g1", Wave: 2, At: epoch, State: store.GatewayLive}), // it stays
				tx.AddReached(ctx, store.Reached{Deployment: d.ID, Gateway: "g2", Wave: 1, At: epoch, State: store.GatewayPending}),
				tx.AddReached(ctx, store.Reached{Deployment: gone.ID, Gateway: "g2", Wave: 1, At: epoch, State: store.GatewayPending}))
		})
		x := store.Reached{
			Deployment: d.ID, Gateway: "g1", Wave: 1, At: epoch, State: store.GatewayLive, Note: "well", Changed: epoch.Add(time.Minute),
			Old: wire.Counts{Invocations: 1, Failures: 2, Crashes: 3, Busy: 4}, New: wire.Counts{Invocations: 5, Failures: 6, Crashes: 7, Busy: 8},
			Run: 1<<64 - 1, RunFaults: 3, Faults: 1, Seen: epoch, Name: "g1",
		}
		update(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.SetReached(ctx, x) })
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, d)(tx.DeploymentOf(ctx, "acme", d.ID))
			same(t, []store.Deployment{gone, d})(tx.Deployments(ctx, "acme", "", store.Page{Limit: 9}))
			same(t, []store.Deployment{d})(tx.Deployments(ctx, "acme", "", store.Page{After: gone.ID, Limit: 9}))
			same(t, []store.Deployment{d})(tx.CountingDeployments(ctx, "acme", 9))
			same(t, []store.Deployment{d})(tx.OpenDeployments(ctx, store.Page{Limit: 9}))
			same(t, []store.Deployment{d})(tx.OpenDeploymentsOf(ctx, "acme", "a"))
			if _, err := tx.DeploymentOf(ctx, "other", d.ID); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("another tenant's: %v", err)
			}
			same(t, []store.Reached{x})(tx.ReachedOf(ctx, d.ID, []string{"g1", "g3"}))
			same(t, []store.Reached{x})(tx.ReachedOpen(ctx, "g1"))
			pairs, err := tx.ReachedAmong(ctx, []string{"g1", "g2", "g3"})
			if err != nil || len(pairs) != 3 {
				t.Errorf("%+v, %v", pairs, err)
			}
			all, err := tx.ReachedBy(ctx, d.ID, store.Page{Limit: 9})
			if err != nil || len(all) != 2 || all[1].Gateway != "g2" {
				t.Errorf("%+v, %v", all, err)
			}
			same(t, []store.Tally{
				{State: store.GatewayLive, Count: 1, Old: x.Old, New: x.New}, {State: store.GatewayPending, Count: 1},
			})(tx.Tallies(ctx, d.ID, 1, time.Time{}))
			tallies, err := tx.Tallies(ctx, d.ID, 2, epoch.Add(time.Hour))
			if err != nil || tallies[0].Quiet != 1 || tallies[0].New.Invocations != 0 {
				t.Errorf("%+v, %v", tallies, err)
			}
			steps, err := tx.Steps(ctx, d.ID, store.Page{Limit: 9})
			if len(steps) != 2 || steps[0].Note != "one" {
				t.Errorf("%+v", steps)
			}
			return err
		})
		d.State, d.Reason, d.Ended, d.Wave = store.Done, "so", epoch, 3
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			n, err := tx.RemoveDeployments(ctx, epoch.Add(time.Hour), 9)
			if n != 1 {
				t.Errorf("%d removed, want what was rolled back", n)
			}
			return errors.Join(err, tx.SetDeployment(ctx, d), tx.RemoveReached(ctx, d.ID, []string{"g2"}), tx.CoverDeployments(ctx, []string{d.ID}))
		})
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, d)(tx.Deployment(ctx, d.ID))
			same(t, []store.Deployment(nil))(tx.CountingDeployments(ctx, "acme", 9))
			same(t, []store.Reached(nil))(tx.ReachedOpen(ctx, "g1"))
			return nil
		})
	})
}

// A desired state is written over the one that it was made of, and over no other.
func TestDesiredIsComparedAndSet(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addGateways(t, s, "acme", "g1", "g2")
		set := func(d, was store.Desired, want bool) {
			t.Helper()
			update(t, s, func(ctx context.Context, tx *store.Tx) error {
				ok, err := tx.SetDesired(ctx, d, was)
				if ok != want {
					t.Errorf("written: %v, want %v", ok, want)
				}
				return err
			})
		}
		get := func() (d store.Desired) {
			t.Helper()
			view(t, s, func(ctx context.Context, tx *store.Tx) (err error) {
				d, err = tx.Desired(ctx, "g1")
				return err
			})
			return d
		}
		none := get()
		if none.Revision != 0 || none.Touched >= 0 {
			t.Errorf("%+v", none)
		}
		one := store.Desired{Gateway: "g1", Revision: 1, Document: []byte("1"), Fleet: 5, Pushed: epoch}
		set(one, none, true)
		set(one, none, false)
		was := get()
		next := was
		next.Revision, next.Document = 2, []byte("2")
		older := next
		older.Fleet = 4
		set(older, was, false) // made of an older plan
		update(t, s, func(ctx context.Context, tx *store.Tx) error { return tx.TouchDesired(ctx, "g1", "g2") })
		set(next, was, false) // something has changed meanwhile
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, []string{"g1", "g2"})(tx.DesiredToMake(ctx, "", 9))
			same(t, []string{"g2"})(tx.DesiredToMake(ctx, "g1", 9))
			return nil
		})
		set(next, get(), true)
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			due, err := tx.DesiredToPush(ctx, epoch.Add(time.Second), epoch.Add(-time.Second), 9)
			if err != nil || len(due) != 1 || due[0].Revision != 2 {
				t.Errorf("%+v, %v", due, err)
			}
			same(t, []store.Desired(nil))(tx.DesiredToPush(ctx, epoch.Add(time.Second), epoch, 9)) // it did not speak since
			same(t, []store.Desired(nil))(tx.DesiredToPush(ctx, epoch, epoch.Add(-time.Second), 9))
			return nil
		})
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			return errors.Join(tx.SetPushed(ctx, []string{"g1", "g2"}, epoch.Add(time.Minute)), tx.SetFollows(ctx, "g1", 2))
		})
		if d := get(); d.Follows != 2 || !d.Pushed.Equal(epoch.Add(time.Minute)) || d.Fleet != 5 {
			t.Errorf("%+v", d)
		}
	})
}

func TestFleetRevisions(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addTenant(t, s, "acme")
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, store.Fleet{Tenant: "acme"})(tx.Fleet(ctx, "acme"))
			if err := errors.Join(tx.ChangeFleet(ctx, "acme"), tx.ChangeFleet(ctx, "acme")); err != nil {
				return err
			}
			same(t, []store.Fleet{{Tenant: "acme", Revision: 2}})(tx.FleetsToMake(ctx, epoch, 9))
			same(t, true)(tx.HoldFleet(ctx, "acme", epoch, epoch.Add(time.Minute)))
			same(t, false)(tx.HoldFleet(ctx, "acme", epoch, epoch.Add(time.Minute)))
			same(t, []store.Fleet(nil))(tx.FleetsToMake(ctx, epoch, 9))
			if err := errors.Join(tx.KeepFleet(ctx, "acme", epoch.Add(time.Hour)), tx.FleetMade(ctx, "acme", 1)); err != nil {
				return err
			}
			same(t, []store.Fleet{{Tenant: "acme", Revision: 2, Made: 1}})(tx.FleetsToMake(ctx, epoch, 9))
			return tx.FleetMade(ctx, "acme", 2)
		})
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, []store.Fleet(nil))(tx.FleetsToMake(ctx, epoch, 9))
			return nil
		})
	})
}

// What comes twice, late, or of the run before changes nothing.
func TestReportsInOrder(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addGateways(t, s, "acme", "g1")
		for i, c := range []struct {
			run, seq uint64
			fresh    bool
		}{{9, 1, true}, {9, 1, false}, {9, 3, true}, {9, 2, false}, {1 << 63, 1, true}, {9, 4, false}, {1 << 63, 2, true}, {5, 1, true}, {1 << 63, 3, false}} {
			update(t, s, func(ctx context.Context, tx *store.Tx) error {
				fresh, err := tx.SetReported(ctx, store.Reported{Gateway: "g1", At: epoch, Run: c.run, Seq: c.seq, Document: []byte{byte(i)}})
				if fresh != c.fresh {
					t.Errorf("%d: run %d, number %d: fresh %v", i, c.run, c.seq, fresh)
				}
				return err
			})
		}
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, []store.Reported{{Gateway: "g1", At: epoch, Run: 5, Seq: 1, Document: []byte{7}}})(tx.ReportedOf(ctx, []string{"g1", "none"}))
			return nil
		})
	})
}

func TestConfigAndSecrets(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addGateways(t, s, "acme", "g1")
		l := store.ConfigLayer{
			ID: "l1", Tenant: "acme", Function: "a", Gateway: "g1", Settings: map[string]store.Setting{"k": {Value: json.RawMessage(`[1]`), Change: "c"}},
			Changed: epoch, ChangedBy: "ann",
		}
		c := store.ConfigChange{
			ID: store.NewConfigChange(epoch), Tenant: "acme", Function: "a", Gateway: "g1", Before: map[string]json.RawMessage{"k": json.RawMessage(`null`)},
			After: map[string]json.RawMessage{"k": json.RawMessage(`"x"`)}, At: epoch, ChangedBy: "ann", Reverts: "r",
		}
		secret := store.SealedSecret{Gateway: "g1", Function: "a", Name: "n", Sealed: []byte{1}, Key: []byte{2}, Changed: epoch, ChangedBy: "ann"}
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			other := l
			other.ID, other.Settings = "l2", nil
			return errors.Join(tx.SetConfigLayer(ctx, other), tx.SetConfigLayer(ctx, l), tx.AddConfigChange(ctx, c),
				tx.SetSealedSecret(ctx, secret), tx.SetSealedSecret(ctx, secret), tx.AddKey(ctx, store.Key{Gateway: "g1", Public: []byte("k"), Since: epoch}))
		})
		l.ID, secret.Revision = "l2", 2 // its place was there
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, l)(tx.ConfigLayer(ctx, "acme", "a", "", "g1"))
			same(t, []store.ConfigLayer{l})(tx.ConfigLayers(ctx, "acme", "a", store.Page{Limit: 9}))
			same(t, []store.ConfigLayer(nil))(tx.ConfigLayers(ctx, "acme", "b", store.Page{Limit: 9}))
			same(t, c)(tx.ConfigChange(ctx, "acme", c.ID))
			same(t, []store.ConfigChange{c})(tx.ConfigChanges(ctx, "acme", "", store.Page{Limit: 9}))
			same(t, []store.SealedSecret{secret})(tx.SealedSecrets(ctx, []string{"g1"}))
			same(t, map[string][]byte{"g1": []byte("k")})(tx.PresentKeys(ctx, []string{"g1"}))
			return nil
		})
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, int64(1))(tx.RemoveConfigChanges(ctx, epoch.Add(time.Second), 9))
			return tx.RemoveGateway(ctx, "g1")
		})
		view(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, []store.ConfigLayer(nil))(tx.ConfigLayers(ctx, "acme", "", store.Page{Limit: 9}))
			same(t, []store.SealedSecret(nil))(tx.SealedSecrets(ctx, []string{"g1"}))
			return nil
		})
	})
}

func TestQuestionsAndTelemetry(t *testing.T) {
	both(t, func(t *testing.T, s *store.Store, _ func() *store.Store) {
		addGateways(t, s, "acme", "g1", "g2")
		q := store.Question{Gateway: "g1", What: "logs", Function: "a", Lines: 7, Asked: epoch, AskedBy: "ann", Expires: epoch.Add(time.Minute), Answer: []byte{}}
		update(t, s, func(ctx context.Context, tx *store.Tx) (err error) {
			if q.ID, err = tx.AddQuestion(ctx, q); err != nil {
				return err
			}
			open, err := tx.OpenQuestions(ctx, "g1", epoch)
			if err != nil || len(open) != 1 || open[0].ID != q.ID || open[0].Lines != 7 || len(open[0].Answer) != 0 {
				t.Errorf("%+v, %v", open, err)
			}
			same(t, []store.Question(nil))(tx.OpenQuestions(ctx, "g1", epoch.Add(time.Minute)))
			answer := store.Question{ID: q.ID, Gateway: "g2", Answered: epoch, Answer: []byte("x"), Cut: true}
			if err := tx.SetAnswer(ctx, answer); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("another gateway's answer: %v", err)
			}
			answer.Gateway = "g1"
			if err := tx.SetAnswer(ctx, answer); err != nil {
				return err
			}
			if err := tx.SetAnswer(ctx, answer); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a second answer: %v", err)
			}
			return nil
		})
		q.Answered, q.Answer, q.Cut = epoch, []byte("x"), true
		for i, topic := range []string{"a", "b", "c"} {
			v := store.Telemetry{Gateway: "g1", Topic: topic, At: epoch, Received: epoch.Add(time.Duration(i) * time.Second), Run: 1, Seq: 1, Count: 3, Payload: []byte{byte(i)}}
			update(t, s, func(ctx context.Context, tx *store.Tx) error {
				older := v
				older.Seq, older.Payload = 0, []byte("older")
				return errors.Join(tx.SetTelemetry(ctx, v), tx.SetTelemetry(ctx, older))
			})
		}
		update(t, s, func(ctx context.Context, tx *store.Tx) error {
			same(t, q)(tx.Question(ctx, "g1", q.ID))
			same(t, []store.Question{q})(tx.Questions(ctx, "g1", store.Page{Limit: 9}))
			same(t, int64(1))(tx.TrimTelemetry(ctx, "g1", 2))
			list, err := tx.TelemetryOf(ctx, "g1", store.Page{Limit: 9})
			if len(list) != 2 || list[0].Topic != "b" || list[1].Payload[0] != 2 || list[1].Count != 3 {
				t.Errorf("%+v", list)
			}
			same(t, int64(1))(tx.RemoveQuestions(ctx, epoch.Add(time.Hour), 9))
			return err
		})
	})
}
