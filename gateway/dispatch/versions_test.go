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
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// While versions are swapped under load, every event runs exactly once, on
// both versions, and each version is retired once.
func TestDeployUnderLoad(t *testing.T) {
	r := newRig(t, options{quiet: true})
	const n, deploys = 3000, 20
	var retired atomic.Int32
	seen := make([]atomic.Int32, n)
	versions := map[int]*atomic.Int32{}
	put := func(v int) {
		used := new(atomic.Int32)
		versions[v] = used
		r.deploy("f", func(_ context.Context, c *host.Calls) error {
			used.Add(1)
			i, _ := strconv.Atoi(string(c.Input()))
			seen[i].Add(1)
			return count(context.Background(), c)
		}, deploy{version: v, triggers: on("a/+"), retire: func() { retired.Add(1) }})
	}
	put(1)
	var wg sync.WaitGroup
	wg.Add(1)
	window := make(chan struct{}, 64)
	go func() {
		defer wg.Done()
		for i := range n {
			window <- struct{}{}
			r.submit("a/b", strconv.Itoa(i), 1, releaseFunc(func(code broker.ReasonCode) {
				if code != broker.Success {
					t.Errorf("event %d released with %#x", i, code)
				}
				<-window
			}), nil, store.DedupeKey{})
			if i%(n/deploys) == 0 && i > 0 {
				put(i/(n/deploys) + 1)
			}
		}
	}()
	wg.Wait()
	until(t, "all have settled", func() bool { return r.get("f", "n") == strconv.Itoa(n) })
	used := 0
	for _, v := range versions {
		if v.Load() > 0 {
			used++
		}
	}
	if used < 2 {
		t.Errorf("%d versions ran", used)
	}
	until(t, "old versions are retired", func() bool { return int(retired.Load()) == len(versions)-1 })
	if st := r.d.Stats().Functions[0]; st.Errors != 0 {
		t.Errorf("stats %+v", st)
	}
}

type releaseFunc func(broker.ReasonCode)

func (f releaseFunc) Release(code broker.ReasonCode) { f(code) }

func TestRemovedFunctionKeepsItsEvents(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", count, deploy{triggers: on("a")})
	r.d.RemoveFunction("f")
	for range 5 {
		r.send("a", "x", 1).wait(t, broker.Success)
	}
	if n, _ := r.store.QueueLen(); n != 5 {
		t.Errorf("%d rows, want 5", n)
	}
	r.deploy("f", count, deploy{version: 2, triggers: on("a")})
	until(t, "they have run", func() bool { return r.get("f", "n") == "5" })
}

// Close leaves on disk what it cannot finish, and the publisher's release in
// no doubt.
func TestCloseSpills(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Hour }})
	gate, entered := make(chan struct{}), make(chan struct{}, 9)
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		entered <- struct{}{}
		<-gate
		return count(context.Background(), c)
	}, deploy{triggers: on("a"), limits: function.Limits{Concurrency: 1}})
	first := r.send("a", "1", 1)
	<-entered
	second := r.send("a", "2", 1)
	closed := make(chan error, 1)
	go func() { closed <- r.d.Close(context.Background()) }()
	first.wait(t, broker.Success)
	second.wait(t, broker.Success)
	close(gate)
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	r.send("a", "3", 1).wait(t, broker.ServerShuttingDown)
	if n := r.get("f", "n"); n != "1" {
		t.Errorf("the running one counted %q", n)
	}
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
	c.deploy("f", count, deploy{triggers: on("a")})
	until(t, "the waiting one has run", func() bool { return c.get("f", "n") == "2" })
}
