package fleet_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// What a gateway says has bounds, and moves no terminal: what is too much is cut,
// or refused.
func TestWordsOfAGateway(t *testing.T) {
	r := newRig(t)
	r.gateway("g1", nil)
	long := strings.Repeat("x", 1<<20)
	m := &wire.Reported{
		Start: math.MaxUint64, Seq: 1, Time: math.MinInt64, Error: "\x1b]0;owned\a" + long, Faults: math.MaxUint64,
		System: wire.ReportedSystem{Version: "1\x1b[2J", Note: "a\x00b\u009bc"},
		Functions: []wire.ReportedFunction{
			{Name: "a", Version: math.MinInt, Stage: "live\r\n", Note: long, New: wire.Counts{Invocations: math.MaxUint64, Busy: math.MaxUint64}},
		},
	}
	if _, err := r.service.Reported(t.Context(), "g1", m); err != nil {
		t.Fatal(err)
	}
	r.update(func(ctx context.Context, tx *store.Tx) error {
		g, err := tx.Gateway(ctx, "g1")
		if err != nil {
			return err
		}
		list, err := r.service.States(ctx, tx, "acme", []store.Gateway{g})
		if err != nil {
			return err
		}
		v := list[0]
		for _, text := range []string{v.Error, v.System.Version, v.Functions[0].Note, v.Functions[0].Stage} {
			if len(text) > 300 || strings.ContainsAny(text, "\x00\x07\x1b\r\n\u009b") {
				t.Errorf("%.400q", text)
			}
		}
		return nil
	})
	m.Seq, m.Functions = 2, nil
	for range wire.MaxFunctions {
		m.Functions = append(m.Functions, wire.ReportedFunction{Name: long[:1000], Target: long[:1000]})
	}
	if _, err := r.service.Reported(t.Context(), "g1", m); !errors.Is(err, fleet.ErrMalformed) {
		t.Errorf("a report of 2 MB: %v", err)
	}
}

// Faults that wrap around take none back.
func TestFaultsOnlyGrow(t *testing.T) {
	x := store.Reached{State: store.GatewayPending}
	d := store.Deployment{ID: "d", Function: "a", Targets: []store.Target{{Name: "a-1"}}}
	had := uint64(0)
	for i, faults := range []uint64{0, 5, math.MaxUint64, 3, math.MaxUint64 - 7, 0, 1} {
		fleet.Update(&x, d, "arm64", &wire.Reported{Start: uint64(1 + i%3), Faults: faults}, time.Now())
		if x.Faults < had {
			t.Errorf("%d faults after %d", x.Faults, had)
		}
		had = x.Faults
	}
}

// A time that no calendar has keeps nobody from the list of topics.
func TestTimesOfTelemetry(t *testing.T) {
	r := newRig(t)
	r.gateway("g1", nil)
	m := &wire.Telemetry{Start: 1, Seq: 1}
	for topic, at := range map[string]int64{"a": math.MaxInt64, "b": math.MinInt64, "c": 253_402_300_800_000_001, "d\x1b[2J": 1} {
		m.Values = append(m.Values, wire.Value{Topic: topic, Payload: []byte("1"), Time: at})
	}
	if _, err := r.service.Telemetry(t.Context(), "g1", m); err != nil {
		t.Fatal(err)
	}
	r.update(func(ctx context.Context, tx *store.Tx) error {
		list, err := tx.TelemetryOf(ctx, "g1", store.Page{Limit: 10})
		if len(list) != 3 {
			t.Errorf("%d topics", len(list))
		}
		for _, v := range list {
			if _, err := v.At.MarshalJSON(); err != nil {
				t.Errorf("%s: %v", v.Topic, err)
			}
		}
		return err
	})
}
