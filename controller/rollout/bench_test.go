package rollout_test

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/store"
)

// One look at a deployment that has reached 10 000 gateways, which is taken every
// eleven seconds then.
func BenchmarkLook(b *testing.B) {
	s, err := store.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "c.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	now := time.Now().UTC().Truncate(time.Second)
	e, err := rollout.New(s, func() {}, slog.New(slog.DiscardHandler), func() time.Time { return now })
	if err != nil {
		b.Fatal(err)
	}
	d := store.Deployment{
		Tenant: "acme", Function: "a", State: store.Running, Created: now, Targets: []store.Target{{Name: "a-1", SHA256: "00"}}, Waves: 1,
		Strategy: `{"waves":[100],"soak_seconds":100000,"deadline_seconds":1000000,"silent_seconds":1000000,"gate":{"unhealthy_percent":10}}`,
	}
	err = s.Update(b.Context(), func(tx *store.Tx) error {
		ctx := context.Background()
		if err := tx.AddTenant(ctx, store.Tenant{ID: "acme", Name: "acme"}); err != nil {
			return err
		}
		for i := range 10_000 {
			id := fmt.Sprintf("g%05d", i)
			if err := tx.AddGateway(ctx, store.Gateway{ID: id, Tenant: "acme", Name: id}); err != nil {
				return err
			}
			if _, err := tx.SetHello(ctx, &store.Status{Gateway: id, Hello: now, Session: 1}); err != nil {
				return err
			}
		}
		return fleet.Deploy(ctx, tx, &d)
	})
	if err != nil {
		b.Fatal(err)
	}
	tick := func() {
		now = now.Add(30 * time.Second)
		if err := e.Tick(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	began := time.Now()
	for e.Stats().Reached < 10_000 {
		tick()
	}
	b.Logf("10 000 gateways reached in %v", time.Since(began).Round(time.Millisecond))
	b.ReportAllocs()
	for b.Loop() {
		tick()
	}
}
