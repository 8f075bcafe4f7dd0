package simulate_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/enrol"
	"github.com/headgate-io/headgate/controller/simulate"
	"github.com/headgate-io/headgate/controller/store"
)

// open runs a controller, and gives a token for as many gateways.
func open(t *testing.T, gateways int64) (c *controller.Controller, token string) {
	t.Helper()
	cfg := config.Default()
	cfg.Dir, cfg.HTTP.Listen, cfg.HTTP.Names, cfg.MQTT.Listen = t.TempDir(), "127.0.0.1:0", []string{"127.0.0.1"}, "127.0.0.1:0"
	c, err := controller.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if _, err := c.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	err = c.Store.Update(t.Context(), func(tx *store.Tx) error {
		tenant, err := tx.TenantNamed(t.Context(), controller.FirstTenant)
		if err != nil {
			return err
		}
		_, token, err = c.Enrol.Token(t.Context(), tx, tenant.ID, enrol.NewToken{Uses: gateways, Life: time.Hour, By: "test"})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return c, token
}

// known sums what the controller has of all tenants' usage.
func known(t *testing.T, c *controller.Controller) (m simulate.Metered) {
	t.Helper()
	err := c.Store.View(t.Context(), func(tx *store.Tx) error {
		tenant, err := tx.TenantNamed(t.Context(), controller.FirstTenant)
		if err != nil {
			return err
		}
		days, err := tx.UsageDays(t.Context(), tenant.ID, "", 0, 1<<40, store.Day{}, 10_000)
		for i := range days {
			m.Requests += days[i].Requests()
			m.Fuel += days[i].Fuel
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// TestFleet has a small fleet enrol and report: what it counted is what the
// controller has.
func TestFleet(t *testing.T) {
	const gateways = 12
	c, token := open(t, gateways)
	f, err := simulate.New(simulate.Config{
		Controller: "https://" + c.Addr().String(), Token: token, Gateways: gateways, Functions: 3,
		Interval: 5 * time.Minute, Jitter: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Enrol(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var fleet sync.WaitGroup
	fleet.Go(func() { f.Run(ctx) })
	defer func() { stop(); fleet.Wait() }()
	until(t, f, "all are connected", func(s simulate.Stats) bool { return s.Connected == gateways })
	f.Report()
	until(t, f, "all have reported", func(s simulate.Stats) bool { return s.Sealed == gateways })
	f.Rest()
	until(t, f, "nothing waits", func(s simulate.Stats) bool { return s.Waiting == 0 })
	s := f.Stats()
	if got := known(t, c); got != s.Metered || got.Requests < gateways*3*5 {
		t.Errorf("the controller has %+v, the fleet metered %+v", got, s.Metered)
	}
	if s.Refused > 0 || s.Sent < gateways || s.LinkBytes == 0 {
		t.Errorf("%+v", s)
	}
}

func until(t *testing.T, f *simulate.Fleet, what string, is func(simulate.Stats) bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(f.Stats()); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s: %+v", what, f.Stats())
		}
	}
}

// TestTooFewUses: a token that does not admit all says so, and the rest are not
// waited for.
func TestTooFewUses(t *testing.T) {
	c, token := open(t, 2)
	f, err := simulate.New(simulate.Config{Controller: "https://" + c.Addr().String(), Token: token, Gateways: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Enrol(t.Context()); err == nil || !strings.Contains(err.Error(), "token") {
		t.Errorf("%v", err)
	}
}
