package dispatch_test

import (
	"context"
	"errors"
	"fmt"
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

// Events of a key run in order, whatever fails; other keys go on meanwhile.
func TestOrderPerKey(t *testing.T) {
	r := newRig(t, options{})
	var mu sync.Mutex
	seen := map[string][]string{}
	failed := map[string]int{}
	gate := make(chan struct{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		key, _ := c.Lookup([]byte("params.key"))
		v := string(c.Input())
		if key == "bad" && v == "3" {
			<-gate
		}
		mu.Lock()
		defer mu.Unlock()
		if key == "bad" && failed[v] < 2 && v == "0" {
			failed[v]++
			return errors.New("not yet")
		}
		seen[key] = append(seen[key], v)
		return nil
	}, deploy{
		triggers: []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}}, limits: function.Limits{Concurrency: 8},
		retry: function.Retry{Backoff: function.Duration(20 * time.Millisecond)},
	})
	const n = 40
	var rels []release
	for i := range n {
		for _, key := range []string{"bad", "good", "better"} {
			rels = append(rels, r.send("a/"+key, strconv.Itoa(i), 1))
		}
	}
	for _, rel := range rels {
		rel.wait(t, broker.Success)
	}
	mu.Lock()
	if len(seen["good"]) != n || len(seen["better"]) != n {
		t.Errorf("good keys are held up: %d, %d of %d", len(seen["good"]), len(seen["better"]), n)
	}
	mu.Unlock()
	close(gate)
	until(t, "all have run", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen["bad"]) == n })
	for key, got := range seen {
		for i, v := range got {
			if v != strconv.Itoa(i) {
				t.Fatalf("key %s ran in the order %v", key, got)
			}
		}
	}
	until(t, "the queue is empty", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	for _, f := range r.d.Stats().Functions {
		if f.Keys != 0 || f.Running != 0 || f.Queued != 0 || f.Waiting != 0 {
			t.Errorf("left behind: %+v", f)
		}
	}
}

// The order of a key holds across a crash, with some of it spilled.
func TestOrderAcrossCrash(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Millisecond }})
	gate := make(chan struct{})
	defer close(gate)
	triggers := []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}}
	r.deploy("f", func(context.Context, *host.Calls) error { <-gate; return nil }, deploy{triggers: triggers})
	for i := range 30 {
		r.send("a/k", strconv.Itoa(i), 1).wait(t, broker.Success)
	}
	c := newRig(t, options{path: testdb.Copy(t, r.path), dispatch: func(c *dispatch.Config) { c.MemoryBytes = 1 }})
	var mu sync.Mutex
	var seen []string
	c.deploy("f", func(_ context.Context, c *host.Calls) error {
		mu.Lock()
		defer mu.Unlock()
		key, _ := c.Lookup([]byte("params.key"))
		seen = append(seen, key+string(c.Input()))
		return nil
	}, deploy{triggers: triggers})
	until(t, "all have run", func() bool { n, _ := c.store.QueueLen(); return n == 0 })
	for i, v := range seen {
		if v != "k"+strconv.Itoa(i) {
			t.Fatalf("ran in the order %v", seen)
		}
	}
	if len(seen) != 30 {
		t.Errorf("%d ran, want 30", len(seen))
	}
}

func TestThenKeyBlock(t *testing.T) {
	r := newRig(t, options{})
	var mu sync.Mutex
	var seen []string
	var bad atomic.Bool
	bad.Store(true)
	triggers := []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}}
	fn := func(_ context.Context, c *host.Calls) error {
		if bad.Load() && string(c.Input()) == "0" {
			return errors.New("boom")
		}
		mu.Lock()
		defer mu.Unlock()
		key, _ := c.Lookup([]byte("params.key"))
		seen = append(seen, key+string(c.Input()))
		return nil
	}
	retry := function.Retry{Attempts: 1, ThenKey: function.ThenBlock}
	r.deploy("f", fn, deploy{triggers: triggers, retry: retry})
	for i := range 3 {
		r.send("a/k", strconv.Itoa(i), 1).wait(t, broker.Success)
	}
	r.send("a/other", "1", 1).wait(t, broker.Success)
	mu.Lock()
	if fmt.Sprint(seen) != "[other1]" {
		t.Errorf("ran %v, want only the other key", seen)
	}
	mu.Unlock()
	// A restart keeps the key blocked.
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
	mu.Lock()
	seen = nil
	mu.Unlock()
	c.deploy("f", fn, deploy{triggers: triggers, retry: retry})
	c.send("a/other", "2", 1).wait(t, broker.Success)
	mu.Lock()
	if fmt.Sprint(seen) != "[other2]" {
		t.Errorf("after a restart ran %v, want only the other key", seen)
	}
	mu.Unlock()
	bad.Store(false)
	letters, err := c.store.DeadLetters(context.Background(), "f", 0, 9)
	if err != nil || len(letters) != 1 || !letters[0].Blocks {
		t.Fatalf("dead letters %+v %v", letters, err)
	}
	if _, err := c.d.Redrive(context.Background(), store.DeadLetterQuery{ID: letters[0].ID}); err != nil {
		t.Fatal(err)
	}
	until(t, "the key has gone on", func() bool { mu.Lock(); defer mu.Unlock(); return len(seen) == 4 })
	if fmt.Sprint(seen) != "[other2 k1 k2 k0]" {
		t.Errorf("ran %v, want the redriven one at the tail", seen)
	}
}

// Functions on different keys that write one counter lose no increment.
func TestConflictsRerun(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		v, _ := c.KVGet([]byte("n"))
		n, _ := strconv.Atoi(string(v))
		time.Sleep(50 * time.Microsecond)
		if n%7 == 3 && len(c.Input()) > 1 {
			return errors.New("fails on what it saw") // may be stale
		}
		_ = c.KVSet([]byte("n"), []byte(strconv.Itoa(n+1)), 0)
		return nil
	}, deploy{triggers: []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}}, limits: function.Limits{Concurrency: 8}})
	const n = 200
	var rels []release
	for i := range n {
		rels = append(rels, r.send(fmt.Sprint("a/", i%16), "x", 1))
	}
	for _, rel := range rels {
		rel.wait(t, broker.Success)
	}
	until(t, "the queue is empty", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	if got := r.get("f", "n"); got != strconv.Itoa(n) {
		t.Errorf("counted %s, want %d", got, n)
	}
	t.Logf("conflicts: %d", r.d.Stats().Functions[0].Conflicts)
}

// Two functions of one event that touch each other's state settle as if one
// had run after the other.
func TestConflictWithinOneEvent(t *testing.T) {
	r := newRig(t, options{})
	perms := function.Permissions{State: function.StatePermissions{Write: []string{"shared"}}}
	both := func(_ context.Context, c *host.Calls) error {
		v, _ := c.KVGet([]byte("shared:n"))
		n, _ := strconv.Atoi(string(v))
		_ = c.KVSet([]byte("shared:n"), []byte(strconv.Itoa(n+1)), 0)
		return nil
	}
	r.deploy("f", both, deploy{triggers: on("a"), perms: perms})
	r.deploy("g", both, deploy{triggers: on("a"), perms: perms})
	const n = 100
	var rels []release
	for range n {
		rels = append(rels, r.send("a", "x", 1))
	}
	for _, rel := range rels {
		rel.wait(t, broker.Success)
	}
	until(t, "the queue is empty", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	if got := r.get("shared", "n"); got != strconv.Itoa(2*n) {
		t.Errorf("counted %s, want %d", got, 2*n)
	}
}
