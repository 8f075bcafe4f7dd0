package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// rig is a service with a tenant; what it sends is kept.
type rig struct {
	testing.TB
	store   *store.Store
	service *fleet.Service
	codec   *wire.Codec

	mu   sync.Mutex
	sent map[string]*wire.Desired
	down bool // the broker takes nothing
}

func (r *rig) Send(_ context.Context, gateway string, message []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return errors.New("down")
	}
	m, err := r.codec.Decode(message)
	if d, ok := m.(*wire.Desired); ok {
		r.sent[gateway] = d
	}
	return err
}

func newRig(t testing.TB) *rig {
	s, err := store.Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "c.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	codec, err := wire.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{TB: t, store: s, codec: codec, sent: map[string]*wire.Desired{}}
	if r.service, err = fleet.New(s, r, slog.New(slog.DiscardHandler), nil); err != nil {
		t.Fatal(err)
	}
	r.update(func(ctx context.Context, tx *store.Tx) error {
		return tx.AddTenant(ctx, store.Tenant{ID: "acme", Name: "acme", Created: time.Now()})
	})
	return r
}

func (r *rig) update(fn func(context.Context, *store.Tx) error) {
	r.Helper()
	if err := r.store.Update(r.Context(), func(tx *store.Tx) error { return fn(r.Context(), tx) }); err != nil {
		r.Fatal(err)
	}
}

func (r *rig) gateway(id string, labels map[string]string) {
	r.Helper()
	r.update(func(ctx context.Context, tx *store.Tx) error {
		if err := tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: "acme", Name: id, Labels: labels, Arch: "arm64"}); err != nil {
			return err
		}
		_, err := tx.SetHello(ctx, &store.Status{Gateway: id, Hello: time.Now(), Session: 1})
		return err
	})
}

func (r *rig) done(function, target, selector string) string {
	r.Helper()
	d := store.Deployment{
		Tenant: "acme", Function: function, Selector: selector, State: store.Running, Created: time.Now(), Strategy: anyStrategy,
		Targets: []store.Target{{Name: target, SHA256: "00ff"}},
	}
	r.update(func(ctx context.Context, tx *store.Tx) error {
		if err := fleet.Deploy(ctx, tx, &d); err != nil {
			return err
		}
		return fleet.Finish(ctx, tx, d, time.Now())
	})
	return d.ID
}

func (r *rig) hello(id string, revision uint64) *wire.Desired {
	r.Helper()
	out, err := r.service.Hello(r.Context(), id, revision)
	if err != nil {
		r.Fatal(err)
	}
	for _, m := range out {
		if d, ok := m.(*wire.Desired); ok {
			return d
		}
	}
	return nil
}

func (r *rig) make() {
	r.Helper()
	if err := r.service.Make(r.Context()); err != nil {
		r.Fatal(err)
	}
}

// The revision grows when what is wanted changes, and only then; a gateway that
// does not know of it is told at its hello, and with its next report.
func TestRevisions(t *testing.T) {
	r := newRig(t)
	r.gateway("g1", map[string]string{"site": "north"})
	r.gateway("g2", nil)
	if d := r.hello("g1", 0); d != nil {
		t.Errorf("nothing is wanted, and said: %+v", d)
	}
	r.done("a", "a-1", "site=north")
	r.make()
	if r.sent["g1"].Revision != 1 || r.sent["g2"] != nil {
		t.Fatalf("%+v", r.sent)
	}
	r.done("b", "b-1", "site=south") // nothing to any of them
	r.make()
	if d := r.hello("g1", 0); d.Revision != 1 || d.Functions[0].Target != "a-1" {
		t.Errorf("%+v", d)
	}
	if d := r.hello("g1", 1); d != nil {
		t.Errorf("it knows that: %+v", d)
	}
	r.down = true
	r.done("a", "a-2", "site=north")
	r.make()
	r.down = false
	say := func(revision, seq uint64) []any {
		t.Helper()
		out, err := r.service.Reported(t.Context(), "g1", &wire.Reported{Revision: revision, Start: 1, Seq: seq})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if out := say(1, 1); len(out) != 1 || out[0].(*wire.Desired).Revision != 2 {
		t.Errorf("a lost push: %+v", out)
	}
	if out := say(1, 1); out != nil {
		t.Errorf("a repeated report is answered: %+v", out)
	}
	if out := say(2, 2); out != nil {
		t.Errorf("%+v", out)
	}
	// A gateway knows more than the database, which was restored.
	if d := r.hello("g1", 40); d.Revision != 41 || d.Functions[0].Target != "a-2" {
		t.Errorf("%+v", d)
	}
	// New hardware knows nothing.
	if d := r.hello("g1", 0); d.Revision != 41 {
		t.Errorf("%+v", d)
	}
	if s := r.service.Stats(); s.Unsent != 1 || s.LateReports != 1 || s.Made != 3 {
		t.Errorf("%+v", s)
	}
}

// A gateway that is not there any more, or is revoked, is told nothing, and
// nothing is taken of it.
func TestWhoMaySpeak(t *testing.T) {
	r := newRig(t)
	r.gateway("g1", nil)
	r.update(func(ctx context.Context, tx *store.Tx) error {
		g, err := tx.Gateway(ctx, "g1")
		g.Revoked = time.Now()
		return errors.Join(err, tx.SetGateway(ctx, g))
	})
	r.done("a", "a-1", "")
	r.make()
	if len(r.sent) != 0 {
		t.Errorf("a revoked gateway is told %+v", r.sent)
	}
	for _, id := range []string{"g1", "none"} {
		_, hello := r.service.Hello(t.Context(), id, 0)
		_, reported := r.service.Reported(t.Context(), id, &wire.Reported{Start: 1})
		_, telemetry := r.service.Telemetry(t.Context(), id, &wire.Telemetry{})
		answer := r.service.Answer(t.Context(), id, &wire.Answer{})
		for what, err := range map[string]error{"hello": hello, "report": reported, "telemetry": telemetry, "answer": answer} {
			if !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s of %s: %v", what, id, err)
			}
		}
	}
	if _, err := r.service.Reported(t.Context(), "g1", &wire.Reported{Start: 1, Functions: make([]wire.ReportedFunction, wire.MaxFunctions+1)}); !errors.Is(err, fleet.ErrMalformed) {
		t.Error(err)
	}
}

// large is a tenant with 20 deployments and 200 places of configuration.
func large(b *testing.B, gateways int) *rig {
	r := newRig(b)
	for i := range 20 {
		r.done(fmt.Sprint("f", i%10), fmt.Sprint("t", i), fmt.Sprintf("site=s%d", i%3))
	}
	r.update(func(ctx context.Context, tx *store.Tx) error {
		for i := range 200 {
			l := store.ConfigLayer{
				ID: store.NewID(), Tenant: "acme", Function: fmt.Sprint("f", i%10), Selector: fmt.Sprintf("batch=%d", i),
				Settings: map[string]store.Setting{"target": {Value: []byte("28"), Change: fmt.Sprint(i)}},
			}
			if err := tx.SetConfigLayer(ctx, l); err != nil {
				return err
			}
		}
		for i := range gateways {
			g := store.Gateway{ID: fmt.Sprintf("g%05d", i), Tenant: "acme", Name: fmt.Sprintf("g%05d", i), Labels: map[string]string{"site": fmt.Sprintf("s%d", i%3), "batch": fmt.Sprint(i % 200)}}
			if err := tx.AddGateway(ctx, g); err != nil {
				return err
			}
		}
		return nil
	})
	return r
}

// A hello of a gateway that knows what is wanted of it.
func BenchmarkHello(b *testing.B) {
	r := large(b, 100)
	r.make()
	for i := range 100 {
		r.hello(fmt.Sprintf("g%05d", i), 1)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.hello(fmt.Sprintf("g%05d", i%100), 1)
	}
}

// A change of configuration that touches one gateway in 200, of 10 000.
func BenchmarkChange(b *testing.B) {
	r := large(b, 10_000)
	r.make()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.update(func(ctx context.Context, tx *store.Tx) error {
			l := store.ConfigLayer{ID: "one", Tenant: "acme", Function: "f1", Selector: "batch=7", Settings: map[string]store.Setting{"x": {Value: []byte(fmt.Sprint(i)), Change: "z"}}}
			return errors.Join(tx.SetConfigLayer(ctx, l), tx.ChangeFleet(ctx, "acme"))
		})
		r.make()
	}
}

// A change that touches all of 10 000 gateways.
func BenchmarkChangeOfAll(b *testing.B) {
	r := large(b, 10_000)
	r.make()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.update(func(ctx context.Context, tx *store.Tx) error {
			l := store.ConfigLayer{ID: "one", Tenant: "acme", Function: "f1", Settings: map[string]store.Setting{"x": {Value: []byte(fmt.Sprint(i)), Change: "z"}}}
			return errors.Join(tx.SetConfigLayer(ctx, l), tx.ChangeFleet(ctx, "acme"))
		})
		r.make()
	}
}
