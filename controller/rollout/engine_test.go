package rollout_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/wire"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// gateway is one that does at once what is wanted of it.
type gateway struct {
	id      string
	want    *wire.Desired
	offline bool
	fixed   string // what else brings its binary
	after   string // the same, of the binary that is sent
	seq     uint64
}

// world is two replicas on one database, and gateways.
type world struct {
	*testing.T
	stores   []*store.Store
	services []*fleet.Service
	engines  []*rollout.Engine
	codec    *wire.Codec

	mu       sync.Mutex
	now      time.Time
	gateways map[string]*gateway
	bad      map[string]bool // targets whose events fail
}

func (w *world) clock() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.now
}

// Send implements fleet.Sender: what is sent to who is away is lost.
func (w *world) Send(_ context.Context, id string, message []byte) error {
	m, err := w.codec.Decode(message)
	if err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if g := w.gateways[id]; !g.offline {
		w.heard(g, m)
	}
	return nil
}

func (w *world) heard(g *gateway, m any) {
	if d, ok := m.(*wire.Desired); ok && (g.want == nil || d.Revision > g.want.Revision) {
		g.want = d
	}
}

func newWorld(t *testing.T, dsn string, gateways int) *world {
	w := &world{T: t, now: time.Now().UTC().Truncate(time.Second), gateways: map[string]*gateway{}, bad: map[string]bool{}}
	codec, err := wire.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	w.codec = codec
	for range 2 {
		s, err := store.Open(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		f, err := fleet.New(s, w, slog.New(slog.DiscardHandler), w.clock)
		if err != nil {
			t.Fatal(err)
		}
		e, err := rollout.New(s, f.Kick, slog.New(slog.DiscardHandler), w.clock)
		if err != nil {
			t.Fatal(err)
		}
		w.stores, w.services, w.engines = append(w.stores, s), append(w.services, f), append(w.engines, e)
	}
	w.update(func(ctx context.Context, tx *store.Tx) error {
		return tx.AddTenant(ctx, store.Tenant{ID: "acme", Name: "acme", Created: w.now})
	})
	for i := range gateways {
		w.add(fmt.Sprintf("gateway%09d", i))
	}
	return w
}

func (w *world) update(fn func(context.Context, *store.Tx) error) {
	w.Helper()
	if err := w.stores[0].Update(w.Context(), func(tx *store.Tx) error { return fn(w.Context(), tx) }); err != nil {
		w.Fatal(err)
	}
}

func (w *world) add(id string) *gateway {
	w.Helper()
	w.update(func(ctx context.Context, tx *store.Tx) error {
		err := tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: "acme", Name: id, Labels: map[string]string{"site": "north"}})
		if err != nil {
			return err
		}
		_, err = tx.SetHello(ctx, &store.Status{Gateway: id, Hello: w.now, Session: 1})
		return err
	})
	g := &gateway{id: id}
	w.gateways[id] = g
	w.hello(g)
	return g
}

// hello has a gateway hear what is wanted of it, and say nothing.
func (w *world) hello(g *gateway) {
	w.Helper()
	out, err := w.services[0].Hello(w.Context(), g.id, 0)
	if err != nil {
		w.Fatal(err)
	}
	for _, m := range out {
		w.heard(g, m)
	}
}

// arm64 gives all gateways that architecture.
func (w *world) arm64() {
	w.Helper()
	w.update(func(ctx context.Context, tx *store.Tx) error {
		for id := range w.gateways {
			g, err := tx.Gateway(ctx, id)
			if g.Arch = "arm64"; err != nil {
				return err
			}
			if err := tx.SetGateway(ctx, g); err != nil {
				return err
			}
		}
		return nil
	})
}

// target is what a gateway runs.
func (g *gateway) target() (target, attempt string) {
	if g.want == nil || len(g.want.Functions) == 0 {
		return "", ""
	}
	return g.want.Functions[0].Target, g.want.Functions[0].Attempt
}

// pass lets time pass: gateways speak, replicas do their work, at once.
func (w *world) pass(n int) {
	w.Helper()
	for range n {
		w.mu.Lock()
		w.now = w.now.Add(5 * time.Second)
		w.mu.Unlock()
		i := 0
		for _, g := range w.gateways {
			if i++; !g.offline {
				w.speak(g, w.services[i%2])
			}
		}
		var group sync.WaitGroup
		for i := range w.engines {
			group.Go(func() {
				if err := errors.Join(w.engines[i].Tick(w.Context()), w.services[i].Make(w.Context())); err != nil {
					w.Error(err)
				}
			})
		}
		group.Wait()
	}
}

func (w *world) speak(g *gateway, s *fleet.Service) {
	w.Helper()
	w.mu.Lock()
	g.seq++
	if g.want != nil && g.want.System != "" && g.after != "" {
		g.fixed = g.after
	}
	m := &wire.Reported{Start: 7, Seq: g.seq, Time: w.now.UnixMicro(), System: wire.ReportedSystem{Fixed: wire.Bringer(g.fixed)}}
	if g.want != nil && g.want.System != "" && g.fixed == "" {
		m.System.SHA256 = []byte{1}
	}
	if g.want != nil {
		m.Revision = g.want.Revision
	}
	if target, attempt := g.target(); target != "" {
		f := wire.ReportedFunction{Name: "a", Target: target, Attempt: attempt, Stage: "live", Old: wire.Counts{Invocations: 50}, New: wire.Counts{Invocations: 50}}
		if w.bad[target] {
			f.New.Failures = 25
		}
		m.Functions = append(m.Functions, f)
	}
	w.mu.Unlock()
	out, err := s.Reported(w.Context(), g.id, m)
	if err != nil {
		w.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range out {
		w.heard(g, m)
	}
}

// deploy makes a deployment of a target of the function a.
func (w *world) deploy(target string) string {
	w.Helper()
	return w.deployAs("a", store.Target{Name: target, SHA256: fmt.Sprintf("%064x", len(target))})
}

func (w *world) deployAs(function string, target store.Target) string {
	w.Helper()
	d := store.Deployment{
		Tenant: "acme", Function: function, Selector: "site=north", State: store.Running, CreatedBy: "ann", Created: w.clock(),
		Targets:  []store.Target{target},
		Strategy: `{"waves":[10,50,100],"soak_seconds":10,"deadline_seconds":600,"silent_seconds":300,"gate":{"sample":20,"unhealthy_percent":15,"errors_points":5,"crashes_points":1,"slower":3}}`,
		Waves:    3,
	}
	w.mu.Lock()
	w.now = w.now.Add(time.Second)
	w.mu.Unlock()
	w.update(func(ctx context.Context, tx *store.Tx) error { return fleet.Deploy(ctx, tx, &d) })
	return d.ID
}

func (w *world) deployment(id string) (d store.Deployment, steps []string) {
	w.Helper()
	err := w.stores[1].View(w.Context(), func(tx *store.Tx) (err error) {
		if d, err = tx.Deployment(w.Context(), id); err != nil {
			return err
		}
		list, err := tx.Steps(w.Context(), id, store.Page{Limit: 100})
		for _, s := range list {
			steps = append(steps, s.Note)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
	return d, steps
}

// runs counts the gateways by what they run.
func (w *world) runs() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[string]int{}
	for _, g := range w.gateways {
		target, _ := g.target()
		out[target]++
	}
	return out
}

// spared is a gateway that does not run a target: the wave that has begun did not
// choose it, and does not wait for it.
func (w *world) spared(not string) *gateway {
	w.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, g := range w.gateways {
		if target, _ := g.target(); target != not {
			return g
		}
	}
	w.Fatalf("all run %s", not)
	return nil
}

// sameEngines is why a test is left out of short runs under the race detector.
const sameEngines = "TestRollout has the same engines side by side"

func both(t *testing.T, gateways int, test func(w *world)) {
	t.Run("sqlite", func(t *testing.T) { test(newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db"), gateways)) })
	t.Run("postgres", func(t *testing.T) { test(newWorld(t, postgres.Database(t), gateways)) })
}

// A good version spreads in waves, a bad one is taken back from where it came,
// and does not keep the next from it; each step is done once, by whichever of two
// replicas.
func TestRollout(t *testing.T) {
	both(t, 20, func(w *world) {
		w.bad["a-2"] = true
		one := w.deploy("a-1")
		w.pass(1)
		w.pass(1)
		if got := w.runs(); got["a-1"] != 2 {
			w.Errorf("the first wave: %v", got)
		}
		away := w.spared("a-1")
		away.offline = true // and so it misses what comes
		w.pass(30)
		d, steps := w.deployment(one)
		if d.State != store.Done || strings.Join(steps, ", ") != "made by ann, wave 1 of 3 begins, wave 2 of 3 begins, wave 3 of 3 begins, done" {
			w.Fatalf("%+v, %q", d, steps)
		}
		two := w.deploy("a-2")
		w.pass(3)
		d, steps = w.deployment(two)
		if d.State != store.RolledBack || !strings.Contains(d.Reason, "events failed") || len(steps) != 3 {
			w.Fatalf("%+v, %q", d, steps)
		}
		w.pass(1)
		if got := w.runs(); got["a-1"]+got[""] != 20 {
			w.Errorf("after the rollback: %v", got)
		}
		three := w.deploy("a-3")
		w.pass(30)
		away.offline = false
		late := w.add("gatewaythatislate")
		w.pass(2)
		if d, steps := w.deployment(three); d.State != store.Done {
			w.Errorf("%+v, %q", d, steps)
		}
		if got := w.runs(); got["a-3"] != 21 {
			w.Errorf("it does not converge: %v", got)
		}
		if target, attempt := late.target(); target != "a-3" || attempt != three {
			w.Errorf("a gateway that came later runs %q", target)
		}
	})
}

// Gateways that take no binary from the controller count in no wave and hold none
// up, those too of which that is heard when a wave has reached them; what is for
// none of its gateways ends so.
func TestNotForAll(t *testing.T) {
	slow.UnderRace(t, sameEngines)
	binary := store.Target{Name: "system/arm64/2", SHA256: "01", Arch: "arm64"}
	both(t, 10, func(w *world) {
		fresh := w.add("gatewaythatisnew")
		fresh.fixed, fresh.offline = "a package brings it", true // it has said nothing of it
		w.arm64()
		packaged := func(from, to int) {
			for i := from; i < to; i++ {
				w.gateways[fmt.Sprintf("gateway%09d", i)].fixed = "a package brings it"
			}
		}
		packaged(0, 4)
		w.pass(1)
		packaged(4, 6) // of these two it is heard later
		one := w.deployAs(fleet.System, binary)
		w.pass(1)
		if d, _ := w.deployment(one); d.Chosen+d.Exempt != 11 || d.Exempt < 4 {
			t.Errorf("at first: %+v", d)
		}
		for i := 0; fresh.want == nil || fresh.want.System == ""; i++ {
			if w.pass(1); i == 30 {
				t.Fatal("no wave reaches the last")
			}
			w.hello(fresh)
		}
		fresh.offline = false
		w.pass(30)
		d, steps := w.deployment(one)
		if d.State != store.Done || d.Chosen != 4 || d.Exempt != 7 {
			t.Errorf("%+v, %q", d, steps)
		}
		packaged(6, 10)
		two := w.deployAs(fleet.System, binary)
		w.pass(3)
		if d, steps := w.deployment(two); d.State != store.Aborted || !strings.Contains(d.Reason, "none of the gateways: 11") {
			t.Errorf("%+v, %q", d, steps)
		}
		if n := w.engines[0].Stats().GivenUp + w.engines[1].Stats().GivenUp; n != 1 {
			t.Errorf("it was given up %d times", n)
		}
	})
}

// A gateway that says after its update that it takes none is no gateway that a
// deployment is not for: the update broke it.
func TestTakesNoneAnyMore(t *testing.T) {
	slow.UnderRace(t, sameEngines)
	both(t, 10, func(w *world) {
		w.arm64()
		w.pass(1)
		id := w.deployAs(fleet.System, store.Target{Name: "system/arm64/2", SHA256: "01", Arch: "arm64"})
		for _, g := range w.gateways {
			g.after = "a package brings it"
		}
		w.pass(4)
		d, steps := w.deployment(id)
		if d.State != store.RolledBack || !strings.Contains(d.Reason, "1 of 1 gateways are unhealthy") || !strings.Contains(d.Reason, "it takes no binary any more: a package brings it") {
			t.Errorf("%+v, %q", d, steps)
		}
	})
}

// What is paused stays where it is; what is aborted is taken back; a newer one
// leaves an older one where it is, and lies on it.
func TestSteered(t *testing.T) {
	slow.UnderRace(t, sameEngines)
	both(t, 10, func(w *world) {
		id := w.deploy("a-1")
		w.pass(2)
		steer := func(state store.DeploymentState) {
			w.update(func(ctx context.Context, tx *store.Tx) error {
				if err := fleet.LockDeployment(ctx, tx, id); err != nil {
					return err
				}
				d, err := tx.Deployment(ctx, id)
				if err != nil {
					return err
				}
				d.State = state
				return errors.Join(tx.SetDeployment(ctx, d), tx.ChangeFleet(ctx, d.Tenant))
			})
		}
		steer(store.Paused)
		w.pass(20)
		if got := w.runs(); got["a-1"] != 1 {
			w.Errorf("paused: %v", got)
		}
		newer := w.deploy("a-2")
		if d, _ := w.deployment(id); d.State != store.Superseded {
			w.Errorf("%+v", d)
		}
		w.pass(2)
		if got := w.runs(); got["a-1"]+got["a-2"] > 2 || got["a-2"] != 1 {
			w.Errorf("superseded: %v", got)
		}
		id = newer
		steer(store.Aborted)
		w.pass(2)
		if got := w.runs(); got["a-1"] != 1 || got["a-2"] != 0 {
			w.Errorf("aborted: %v", got)
		}
	})
}

// What is deleted while a wave reaches it keeps no other from it.
func TestDeletedMeanwhile(t *testing.T) {
	slow.UnderRace(t, sameEngines)
	both(t, 6, func(w *world) {
		id := w.deploy("a-1")
		w.pass(2) // both engines know of all gateways
		for _, gone := range []string{"gateway000000001", "gateway000000004"} {
			w.update(func(ctx context.Context, tx *store.Tx) error { return tx.RemoveGateway(ctx, gone) })
			delete(w.gateways, gone)
		}
		w.pass(20)
		if d, steps := w.deployment(id); d.State != store.Done || w.runs()["a-1"] != 4 {
			w.Errorf("%+v, %q, %v", d, steps, w.runs())
		}
	})
}

// The engine runs beside everything else, and ends with its context.
func TestRun(t *testing.T) {
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db"), 1)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- w.engines[0].Run(ctx) }()
	go func() { ended <- w.services[0].Run(ctx) }()
	cancel()
	for range 2 {
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second):
			t.Fatal("it does not end")
		}
	}
}
