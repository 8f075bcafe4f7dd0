package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// duo runs two versions of a function, side by side.
type duo struct {
	*rig
	function [3]dispatch.Function
	retired  [3]atomic.Int32
}

func newDuo(t *testing.T, run func(version int, ctx context.Context, c *host.Calls) error, limits ...function.Limits) *duo {
	d := &duo{rig: newRig(t, options{quiet: true})}
	for v := 1; v <= 2; v++ {
		var l function.Limits
		if len(limits) >= v {
			l = limits[v-1]
		}
		d.function[v] = dispatch.Function{
			Name: "f", Version: v, Limits: l, Retry: function.Retry{Attempts: 3, Backoff: 1, MaxBackoff: 1},
			Pool:   code(func(ctx context.Context, c *host.Calls) error { return run(v, ctx, c) }),
			Grant:  host.NewGrant("f", function.Permissions{}, l, nil, allTopics{}),
			Retire: func() { d.retired[v].Add(1) },
		}
	}
	if err := d.table.Set(trigger.Function{Name: "f", Version: 1, Triggers: []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}, {MQTT: "free"}}}); err != nil {
		t.Fatal(err)
	}
	d.split(0)
	return d
}

// split gives version 2 percent of the traffic.
func (d *duo) split(percent uint32) {
	d.t.Helper()
	tr := dispatch.Traffic{Live: d.function[1], Others: []dispatch.Function{d.function[2]}}
	if percent > 0 {
		tr.Split, tr.Weight = 2, percent*dispatch.AllTraffic/100
	}
	if err := d.d.SetTraffic(tr); err != nil {
		d.t.Fatal(err)
	}
}

// A split goes by the key: a key stays with its version, in every round and
// every attempt, and a part that grows takes keys from one side only.
func TestSplitSticksToKeys(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]int{}
	attempts := map[string]int{}
	d := newDuo(t, func(v int, _ context.Context, c *host.Calls) error {
		key, _ := c.Lookup([]byte("params.key"))
		mu.Lock()
		defer mu.Unlock()
		if was, ok := seen[key]; ok && was != v {
			t.Errorf("key %s ran on version %d, then on %d", key, was, v)
		}
		seen[key] = v
		if attempts[key]++; attempts[key]%2 == 1 && key[len(key)-1] == '0' { // not so many in a row that the breaker opens
			return errors.New("once more")
		}
		return nil
	})
	const keys = 1000
	var before map[string]int
	for _, percent := range []uint32{10, 40, 100} {
		d.split(percent)
		for range 2 {
			releases := make([]release, keys)
			for i := range releases {
				releases[i] = d.send(fmt.Sprintf("a/%d", i), "x", 1)
			}
			for _, r := range releases {
				r.wait(t, broker.Success)
			}
			until(t, "all have run", func() bool {
				st := d.d.Stats().Functions[0]
				return st.Waiting+st.Queued+st.Running == 0 && st.Keys == 0
			})
		}
		mu.Lock()
		second := 0
		for key, v := range seen {
			if v == 2 {
				second++
			} else if before[key] == 2 {
				t.Errorf("key %s went back to version 1 when the part of 2 grew", key)
			}
		}
		if want := keys * int(percent) / 100; second < want-keys/20 || second > want+keys/20 {
			t.Errorf("%d of %d keys are with version 2, want about %d", second, keys, want)
		}
		before = maps.Clone(seen)
		clear(seen)
		mu.Unlock()
	}
}

// Without a key the event decides, so that the parts are about right.
func TestSplitOfKeylessEvents(t *testing.T) {
	var ran [3]atomic.Int32
	d := newDuo(t, func(v int, _ context.Context, _ *host.Calls) error { ran[v].Add(1); return nil })
	d.split(25)
	const n = 2000
	releases := make([]release, n)
	for i := range releases {
		releases[i] = d.send("free", "x", 1)
	}
	for _, r := range releases {
		r.wait(t, broker.Success)
	}
	if got := ran[2].Load(); got < n/5 || got > n*3/10 {
		t.Errorf("%d of %d events ran on version 2, want about a quarter", got, n)
	}
}

// A version can be asked for by its number, while it is there.
func TestInvokeVersion(t *testing.T) {
	d := newDuo(t, func(v int, _ context.Context, c *host.Calls) error { c.SetOutput([]byte{byte('0' + v)}); return nil })
	invoke := func(version int) (string, error) {
		r, err := d.d.InvokeVersion(t.Context(), "f", version, &event.Event{ID: "1", Source: "/s", Type: "t"}, trigger.Params{})
		return string(r.Output), err
	}
	for version, want := range []string{"1", "1", "2"} {
		if got, err := invoke(version); err != nil || got != want {
			t.Errorf("version %d answered %q, %v", version, got, err)
		}
	}
	if _, err := invoke(3); !errors.Is(err, dispatch.ErrNotDeployed) {
		t.Errorf("a version that is not there: %v", err)
	}
	// Version 2 becomes the only one: 1 ends, once, and 2 goes on.
	if err := d.d.SetTraffic(dispatch.Traffic{Live: d.function[2]}); err != nil {
		t.Fatal(err)
	}
	until(t, "version 1 is retired", func() bool { return d.retired[1].Load() == 1 })
	if got, err := invoke(0); err != nil || got != "2" || d.retired[2].Load() != 0 {
		t.Errorf("live answered %q, %v; version 2 was retired %d times", got, err, d.retired[2].Load())
	}
	if _, err := invoke(1); !errors.Is(err, dispatch.ErrNotDeployed) {
		t.Errorf("a version that was retired: %v", err)
	}
	d.d.RemoveFunction("f")
	until(t, "version 2 is retired", func() bool { return d.retired[2].Load() == 1 })
}

// Each version keeps to its own concurrency, or its pool would refuse.
func TestSplitKeepsEachConcurrency(t *testing.T) {
	var running, most [3]atomic.Int32
	d := newDuo(t, func(v int, _ context.Context, _ *host.Calls) error {
		now := running[v].Add(1)
		for was := most[v].Load(); now > was && !most[v].CompareAndSwap(was, now); was = most[v].Load() {
		}
		for range 1000 {
			_ = fmt.Sprint(now)
		}
		running[v].Add(-1)
		return nil
	}, function.Limits{Concurrency: 8}, function.Limits{Concurrency: 2})
	d.split(50)
	releases := make([]release, 400)
	for i := range releases {
		releases[i] = d.send(fmt.Sprintf("a/%d", i), "x", 1)
	}
	for _, r := range releases {
		r.wait(t, broker.Success)
	}
	until(t, "all have run", func() bool { st := d.d.Stats().Functions[0]; return st.Invocations == uint64(len(releases)) })
	if most[2].Load() > 2 || most[1].Load() > 8 {
		t.Errorf("at once %d of version 1 and %d of version 2, want 8 and 2 at most", most[1].Load(), most[2].Load())
	}
}

func TestTrafficIsChecked(t *testing.T) {
	d := newDuo(t, func(int, context.Context, *host.Calls) error { return nil })
	for name, tr := range map[string]dispatch.Traffic{
		"no such version": {Live: d.function[1], Split: 2, Weight: 1},
		"too much":        {Live: d.function[1], Others: d.function[2:], Split: 2, Weight: dispatch.AllTraffic + 1},
		"no part":         {Live: d.function[1], Others: d.function[2:], Split: 2},
		"nobody's part":   {Live: d.function[1], Weight: 1},
		"no pool":         {Live: dispatch.Function{Name: "f", Version: 1, Grant: d.function[1].Grant}},
	} {
		if err := d.d.SetTraffic(tr); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}
