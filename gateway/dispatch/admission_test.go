package dispatch_test

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

func TestVolatileTouchesNoDisk(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		_ = c.Publish([]byte("out"), c.Input(), 0, 0)
		return nil
	}, deploy{triggers: on("a")})
	before := r.store.Stats().Commits
	for i := range 50 {
		r.send("a", strconv.Itoa(i), 0).wait(t, broker.Success)
	}
	until(t, "all is published", func() bool { return len(r.sent()) == 50 })
	if n := r.store.Stats().Commits - before; n != 0 {
		t.Errorf("%d commits for volatile events", n)
	}
}

func TestVolatileDropsOldest(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.MaxVolatile = 10 }})
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	var mu sync.Mutex
	var seen []string
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		entered <- struct{}{}
		<-gate
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, string(c.Input()))
		return nil
	}, deploy{triggers: []function.Trigger{{MQTT: "a/{k}", OrderBy: "k"}}, limits: function.Limits{Concurrency: 1}})
	r.send("a/b", "0", 0)
	<-entered
	for i := 1; i <= 30; i++ {
		r.send("a/b", strconv.Itoa(i), 0)
	}
	close(gate)
	until(t, "the rest has run", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 11 })
	if seen[1] != "21" || seen[10] != "30" {
		t.Errorf("ran %v, want the newest ten", seen)
	}
	if n := r.d.Stats().Functions[0].VolatileDropped; n != 20 {
		t.Errorf("%d dropped, want 20", n)
	}
}

func TestQueueFullRefusesPublisher(t *testing.T) {
	r := newRig(t, options{store: func(c *store.Config) { c.MaxQueueRows = 2 }, dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Millisecond }})
	gate := make(chan struct{})
	var ran atomic.Int32
	r.deploy("f", func(context.Context, *host.Calls) error { <-gate; ran.Add(1); return nil }, deploy{triggers: on("a"), limits: function.Limits{Concurrency: 1}})
	r.send("a", "1", 1).wait(t, broker.Success)
	r.send("a", "2", 1).wait(t, broker.Success)
	r.send("a", "3", 1).wait(t, broker.QuotaExceeded)
	close(gate)
	until(t, "the queue is empty", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	if n := ran.Load(); n != 2 {
		t.Errorf("%d ran, want the two that were accepted", n)
	}
	r.sync()
	if st := r.d.Stats(); st.Refused != 1 || st.UnsettledBytes != 0 || st.LoadedBytes != 0 {
		t.Errorf("stats %+v", st)
	}
}

func TestRateLimits(t *testing.T) {
	r := newRig(t, options{})
	var ran atomic.Int32
	r.deploy("f", func(context.Context, *host.Calls) error { ran.Add(1); return nil },
		deploy{triggers: on("a"), limits: function.Limits{Rate: 50}})
	for range 70 {
		r.send("a", "x", 0)
	}
	until(t, "some have run", func() bool { return ran.Load() >= 50 })
	if st := r.d.Stats().Functions[0]; st.RateDropped == 0 {
		t.Errorf("stats %+v", st)
	}
	before := ran.Load()
	for range 10 {
		r.send("a", "x", 1).wait(t, broker.Success)
	}
	until(t, "durable ones have waited and run", func() bool { return ran.Load() == before+10 })
}
