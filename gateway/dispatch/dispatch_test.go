package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// code is a function written in Go, in place of a pool of instances.
type code func(ctx context.Context, c *host.Calls) error

func (fn code) Invoke(ctx context.Context, c *host.Calls) function.Result {
	r := function.Result{Fuel: 100, Duration: time.Microsecond, MemoryBytes: 1 << 16}
	if err := fn(ctx, c); err != nil {
		r.Outcome, r.Error = function.Failed, err.Error()
	}
	return r
}

type allTopics struct{}

func (allTopics) MayPublish(string) error { return nil }

// rig is a dispatcher with everything around it.
type rig struct {
	t     testing.TB
	path  string
	store *store.Store
	table *trigger.Table
	d     *dispatch.Dispatcher

	mu        sync.Mutex
	published []function.Publish
	records   []dispatch.Record
}

func (r *rig) Publish(_ *event.Event, _ string, p function.Publish) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.published = append(r.published, p)
}

func (r *rig) Invoked(rec *dispatch.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, *rec)
}

type options struct {
	store    func(*store.Config)
	dispatch func(*dispatch.Config)
	path     string
	quiet    bool
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	r := &rig{t: t, path: o.path, table: trigger.NewTable()}
	if r.path == "" {
		r.path = filepath.Join(t.TempDir(), "headgate.db")
	}
	logger := slog.New(slog.NewTextHandler(t.Output(), nil))
	sc := store.Config{Path: r.path, SweepEvery: time.Hour, MinFreeBytes: -1, Logger: logger}
	if o.store != nil {
		o.store(&sc)
	}
	var err error
	if r.store, err = store.Open(context.Background(), sc); err != nil {
		t.Fatal(err)
	}
	dc := dispatch.Config{Store: r.store, Router: r.table, Outbox: r, Observer: r, Logger: logger}
	if o.quiet {
		dc.Observer = nil
	}
	if o.dispatch != nil {
		o.dispatch(&dc)
	}
	if r.d, err = dispatch.New(context.Background(), dc); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) close() {
	if err := r.d.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
	if err := r.store.Close(context.Background()); err != nil {
		r.t.Error(err)
	}
}

type deploy struct {
	version  int
	triggers []function.Trigger
	limits   function.Limits
	retry    function.Retry
	perms    function.Permissions
	retire   func()
}

func (r *rig) deploy(name string, fn code, d deploy) {
	r.t.Helper()
	d.perms.Publish = []string{"#"}
	if d.version == 0 {
		d.version = 1
	}
	err := r.d.SetFunction(dispatch.Function{
		Name: name, Version: d.version, Pool: fn, Limits: d.limits, Retry: d.retry, Retire: d.retire,
		Grant: host.NewGrant(name, d.perms, d.limits, nil, allTopics{}),
	})
	if err == nil {
		err = r.table.Set(trigger.Function{Name: name, Version: d.version, Triggers: d.triggers})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func on(filter string) []function.Trigger { return []function.Trigger{{MQTT: filter}} }

// release is a publisher that waits.
type release chan broker.ReasonCode

func (c release) Release(code broker.ReasonCode) { c <- code }

func (c release) wait(t testing.TB, want broker.ReasonCode) {
	t.Helper()
	select {
	case got := <-c:
		if got != want {
			t.Fatalf("released with %#x, want %#x", got, want)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not released")
	}
}

var ids atomic.Uint64

func (r *rig) send(topic, payload string, qos byte) release {
	r.t.Helper()
	rel := make(release, 1)
	r.submit(topic, payload, qos, rel, nil, store.DedupeKey{})
	return rel
}

func (r *rig) submit(topic, payload string, qos byte, rel dispatch.Releaser, in *broker.InboundRecord, key store.DedupeKey) {
	m := &trigger.Message{Topic: topic, Payload: []byte(payload), QoS: qos}
	r.d.Submit(dispatch.Arrival{
		Event:   &event.Event{ID: strconv.FormatUint(ids.Add(1), 10), Source: "/mqtt/test", Type: event.TypeMQTT, Subject: topic, Time: time.Now(), Data: []byte(payload)},
		Matches: r.table.Match(m, nil), Release: rel, Inbound: in, Dedupe: key,
	})
}

// until waits until the condition holds; it decides nothing by time.
func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until " + what)
		}
	}
}

func (r *rig) get(ns, key string) string {
	r.t.Helper()
	v, _, err := r.store.GetState(context.Background(), ns, key)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(v)
}

// sync returns once everything sealed so far has committed.
func (r *rig) sync() {
	r.t.Helper()
	if err := r.store.SetMeta(context.Background(), "sync", []byte("x")); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) letters() []store.DeadLetter {
	r.t.Helper()
	l, err := r.store.DeadLetters(context.Background(), "", 0, 99)
	if err != nil {
		r.t.Fatal(err)
	}
	return l
}

func (r *rig) sent() []function.Publish {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]function.Publish(nil), r.published...)
}

// count is a function that counts its events under a key of the state.
func count(_ context.Context, c *host.Calls) error {
	v, _ := c.KVGet([]byte("n"))
	n, _ := strconv.Atoi(string(v))
	_ = c.KVSet([]byte("n"), []byte(strconv.Itoa(n+1)), 0)
	return nil
}

func crash(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "headgate.db")
	for _, ext := range []string{"", "-wal"} {
		in, err := os.Open(path + ext)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		out, err := os.Create(to + ext)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(out, in); err != nil {
			t.Fatal(err)
		}
		_ = in.Close()
		if err := out.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestDurableEventIsOneUnit(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("count", count, deploy{triggers: on("a/{x}")})
	r.deploy("echo", func(_ context.Context, c *host.Calls) error {
		x, _ := c.Lookup([]byte("params.x"))
		_ = c.Publish([]byte("out/"+x), c.Input(), 1, 0)
		return nil
	}, deploy{triggers: on("a/{x}")})
	for range 20 {
		r.send("a/b", "hello", 1).wait(t, broker.Success)
	}
	if n := r.get("count", "n"); n != "20" {
		t.Errorf("counted %s, want 20", n)
	}
	until(t, "all is published", func() bool { return len(r.sent()) == 20 })
	if p := r.sent()[7]; p.Topic != "out/b" || string(p.Payload) != "hello" {
		t.Errorf("published %+v", p)
	}
	c := newRig(t, options{path: crash(t, r.path)})
	if n := c.get("count", "n"); n != "20" {
		t.Errorf("after a crash counted %s, want 20", n)
	}
	if n, _ := c.store.QueueLen(); n != 0 {
		t.Errorf("after a crash %d events are queued", n)
	}
}

// A hung function holds neither the publisher nor its neighbour, and after a
// crash the event runs again while the neighbour's effects stay.
func TestSpill(t *testing.T) {
	r := newRig(t, options{})
	gate := make(chan struct{})
	r.deploy("count", count, deploy{triggers: on("a/b")})
	r.deploy("slow", func(_ context.Context, c *host.Calls) error {
		<-gate
		return count(context.Background(), c)
	}, deploy{triggers: on("a/b")})
	r.send("a/b", "1", 1).wait(t, broker.Success)
	if n, _ := r.store.QueueLen(); n != 1 {
		t.Errorf("%d rows after the spill, want 1", n)
	}
	path := crash(t, r.path)
	close(gate)
	until(t, "the row is gone", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
	if n := r.get("slow", "n"); n != "1" {
		t.Errorf("slow counted %s", n)
	}
	c := newRig(t, options{path: path})
	if n := c.get("count", "n"); n != "1" {
		t.Errorf("neighbour counted %s after the crash, want 1", n)
	}
	c.deploy("slow", count, deploy{triggers: on("a/b")})
	until(t, "the queued event has run", func() bool { n, _ := c.store.QueueLen(); return n == 0 })
	if n := c.get("slow", "n"); n != "1" {
		t.Errorf("slow counted %s after the crash, want 1", n)
	}
}

func TestRetryThenDeadLetterThenRedrive(t *testing.T) {
	r := newRig(t, options{})
	var bad atomic.Bool
	bad.Store(true)
	var attempts atomic.Int32
	retry := function.Retry{Attempts: 3, Backoff: function.Duration(time.Millisecond), MaxBackoff: function.Duration(2 * time.Millisecond)}
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		attempts.Add(1)
		if bad.Load() {
			_ = c.KVSet([]byte("n"), []byte("wrong"), 0)
			return errors.New("boom")
		}
		return count(context.Background(), c)
	}, deploy{triggers: on("a/{x}"), retry: retry})
	r.send("a/b", "payload", 1).wait(t, broker.Success)
	until(t, "it is given up", func() bool { return len(r.letters()) == 1 })
	if n := attempts.Load(); n != 3 {
		t.Errorf("%d attempts, want 3", n)
	}
	if n, _ := r.store.QueueLen(); n != 0 || r.get("f", "n") != "" {
		t.Errorf("%d rows and state %q are left", n, r.get("f", "n"))
	}
	letters, err := r.store.DeadLetters(context.Background(), "", 0, 9)
	if err != nil || len(letters) != 1 || letters[0].Attempt != 3 || letters[0].Reason != "attempts" || letters[0].Error != "failed: boom" {
		t.Fatalf("dead letters %+v %v", letters, err)
	}
	bad.Store(false)
	if err := r.d.Redrive(context.Background(), letters[0].ID); err != nil {
		t.Fatal(err)
	}
	until(t, "the redriven event has run", func() bool { return r.get("f", "n") == "1" })
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, want := range []int{1, 2, 3, 1} {
		if rec := r.records[i]; rec.Attempt != want || rec.Dead != (i == 2) || (rec.Outcome == function.OK) != (i == 3) {
			t.Errorf("record %d: %+v", i, rec)
		}
	}
}

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
	c := newRig(t, options{path: crash(t, r.path), dispatch: func(c *dispatch.Config) { c.MemoryBytes = 1 }})
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
	c := newRig(t, options{path: crash(t, r.path)})
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
	if err := c.d.Redrive(context.Background(), letters[0].ID); err != nil {
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

// A function's publishes start other functions in the same unit, round and
// round until the chain is too long.
func TestChainsAndTheirEnd(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("first", func(_ context.Context, c *host.Calls) error {
		_ = c.Publish([]byte("mid/x"), c.Input(), 1, 0)
		return nil
	}, deploy{triggers: on("in/x")})
	r.deploy("second", count, deploy{triggers: on("mid/+")})
	r.deploy("loop", func(_ context.Context, c *host.Calls) error {
		_ = c.Publish([]byte("loop"), c.Input(), 1, 0)
		return count(context.Background(), c)
	}, deploy{triggers: on("loop")})
	r.send("in/x", "1", 1).wait(t, broker.Success)
	until(t, "the second has run", func() bool { return r.get("second", "n") == "1" })
	r.send("loop", "1", 1).wait(t, broker.Success)
	until(t, "the loop is cut", func() bool { return len(r.letters()) == 1 })
	if n := r.get("loop", "n"); n != strconv.Itoa(event.MaxHops+1) {
		t.Errorf("the loop ran %s times, want %d", n, event.MaxHops+1)
	}
	letters, err := r.store.DeadLetters(context.Background(), "loop", 0, 1)
	if err != nil || len(letters) != 1 || letters[0].Reason != "hops" {
		t.Errorf("dead letters %+v %v", letters, err)
	}
}

func TestInvokeEffect(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("target", count, deploy{})
	r.deploy("caller", func(_ context.Context, c *host.Calls) error {
		_ = c.Invoke(c.Input(), []byte("x"))
		return nil
	}, deploy{triggers: on("a"), retry: function.Retry{Attempts: 1}, perms: function.Permissions{Invoke: []string{"target", "nobody"}}})
	r.send("a", "target", 1).wait(t, broker.Success)
	until(t, "the target has run", func() bool { return r.get("target", "n") == "1" })
	r.send("a", "nobody", 1).wait(t, broker.Success)
	letters, err := r.store.DeadLetters(context.Background(), "caller", 0, 1)
	if err != nil || len(letters) != 1 || letters[0].Error != "failed: invoke nobody: function is not deployed: deploy it first" {
		t.Errorf("dead letters %+v %v", letters, err)
	}
}

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

// Commits that fail are rerun: every event counts once, whatever the disk
// does, and what is acknowledged is there after a crash.
func TestCommitErrors(t *testing.T) {
	var n, commits atomic.Int32
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && commits.Add(1)%7 == 3 && n.Add(1) <= 8 {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}, dispatch: func(c *dispatch.Config) { c.SpillAfter = 2 * time.Millisecond }})
	r.deploy("f", count, deploy{triggers: on("a/+")})
	var flaky atomic.Int32
	r.deploy("g", func(_ context.Context, c *host.Calls) error {
		if flaky.Add(1)%5 == 0 {
			return errors.New("boom")
		}
		if flaky.Load()%11 == 0 {
			time.Sleep(4 * time.Millisecond)
		}
		return count(context.Background(), c)
	}, deploy{triggers: on("a/+"), retry: function.Retry{Backoff: function.Duration(time.Millisecond), Attempts: 50}})
	const events = 200
	window := make(chan struct{}, 8)
	for i := range events {
		window <- struct{}{}
		r.submit("a/b", strconv.Itoa(i), 1, releaseFunc(func(code broker.ReasonCode) {
			if code != broker.Success {
				t.Errorf("event %d released with %#x", i, code)
			}
			<-window
		}), nil, store.DedupeKey{})
	}
	until(t, "all have settled", func() bool {
		rows, _ := r.store.QueueLen()
		return rows == 0 && len(window) == 0
	})
	if f, g := r.get("f", "n"), r.get("g", "n"); f != strconv.Itoa(events) || g != f {
		t.Errorf("counted %s and %s, want %d", f, g, events)
	}
	r.sync()
	if r.store.Stats().Rollbacks == 0 {
		t.Error("no commit was rolled back")
	}
	c := newRig(t, options{path: crash(t, r.path)})
	if f, g := c.get("f", "n"), c.get("g", "n"); f != strconv.Itoa(events) || g != f {
		t.Errorf("after a crash counted %s and %s, want %d", f, g, events)
	}
}

func TestInboundRecordAndDedupe(t *testing.T) {
	r := newRig(t, options{})
	saved := make(chan error, 1)
	r.store.SaveSession(broker.SessionRecord{Client: "c", Epoch: 4}, func(err error) { saved <- err })
	if err := <-saved; err != nil {
		t.Fatal(err)
	}
	r.deploy("f", count, deploy{triggers: on("a")})
	key := store.NewDedupeKey("user", "source", "id")
	rel := make(release, 1)
	r.submit("a", "1", 1, rel, &broker.InboundRecord{Client: "c", Epoch: 4, QoS: 1, PacketID: 9, Hash: 77}, key)
	rel.wait(t, broker.Success)
	r.submit("a", "1", 1, rel, nil, key)
	rel.wait(t, broker.Success)
	if n := r.get("f", "n"); n != "1" {
		t.Errorf("counted %s, want 1", n)
	}
	// QoS 2 without a function is recorded too, QoS 1 is not.
	r.submit("none", "1", 2, rel, &broker.InboundRecord{Client: "c", Epoch: 4, QoS: 2, PacketID: 10, Slot: 10, Hash: 78}, store.DedupeKey{})
	rel.wait(t, broker.Success)
	r.submit("none", "1", 1, rel, &broker.InboundRecord{Client: "c", Epoch: 4, QoS: 1, PacketID: 11, Slot: 1, Hash: 79}, store.DedupeKey{})
	rel.wait(t, broker.Success)
	c := newRig(t, options{path: crash(t, r.path)})
	recs, err := c.store.LoadSessions(context.Background())
	if err != nil || len(recs) != 1 || len(recs[0].Inbound) != 2 || recs[0].Inbound[0].Hash != 77 || recs[0].Inbound[1].Hash != 78 {
		t.Errorf("sessions %+v %v", recs, err)
	}
}

func TestInvokeAnswersAfterCommit(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		if string(c.Input()) == "bad" {
			c.Log(function.Info, "I was here")
			return errors.New("boom")
		}
		c.SetOutput(append([]byte("got "), c.Input()...))
		return count(context.Background(), c)
	}, deploy{version: 7})
	ctx := context.Background()
	ev := func(data string) *event.Event {
		return &event.Event{ID: "i", Source: "/cli", Type: event.TypeInvoke, Data: []byte(data)}
	}
	got, err := r.d.Invoke(ctx, "f", ev("x"), trigger.Params{})
	if err != nil || string(got.Output) != "got x" || got.Version != 7 || got.Result.Outcome != function.OK {
		t.Fatalf("reply %+v %v", got, err)
	}
	if c := newRig(t, options{path: crash(t, r.path)}); c.get("f", "n") != "1" {
		t.Error("the answer came before the commit")
	}
	if got, err = r.d.Invoke(ctx, "f", ev("bad"), trigger.Params{}); err != nil || got.Result.Outcome != function.Failed || len(got.Logs) != 1 {
		t.Errorf("failing: %+v %v", got, err)
	}
	if _, err = r.d.Invoke(ctx, "g", ev("x"), trigger.Params{}); !errors.Is(err, dispatch.ErrNotDeployed) {
		t.Errorf("not deployed: %v", err)
	}
	r.d.RemoveFunction("f")
	if _, err = r.d.Invoke(ctx, "f", ev("x"), trigger.Params{}); !errors.Is(err, dispatch.ErrNotDeployed) {
		t.Errorf("removed: %v", err)
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

func TestUsage(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		_ = c.Publish([]byte("out"), []byte("four"), 0, 0)
		if string(c.Input()) == "bad" {
			return errors.New("boom")
		}
		return nil
	}, deploy{triggers: on("a"), retry: function.Retry{Attempts: 1}})
	for range 3 {
		r.send("a", "ok", 0)
	}
	until(t, "they have run", func() bool { return len(r.sent()) == 3 })
	r.send("a", "ok", 1).wait(t, broker.Success)
	r.send("a", "bad", 1).wait(t, broker.Success)
	if err := r.d.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	us, err := r.store.Usage(context.Background(), store.UsageQuery{Function: "f"})
	if err != nil {
		t.Fatal(err)
	}
	var requests, errs, fuel, in, out uint64
	for _, u := range us {
		requests += u.Requests()
		errs += u.Errors()
		fuel += u.Fuel
		in += u.BytesIn
		out += u.BytesOut
	}
	if requests != 5 || errs != 1 || fuel != 500 || in != 11 || out != 16 {
		t.Errorf("usage: %d requests, %d errors, %d fuel, %d in, %d out", requests, errs, fuel, in, out)
	}
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
	c := newRig(t, options{path: crash(t, r.path)})
	c.deploy("f", count, deploy{triggers: on("a")})
	until(t, "the waiting one has run", func() bool { return c.get("f", "n") == "2" })
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

// A packet that starts nothing is recorded in spite of a failing disk.
func TestRecordAloneSurvivesCommitError(t *testing.T) {
	var armed atomic.Bool
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && armed.CompareAndSwap(true, false) {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}})
	armed.Store(true)
	rel := make(release, 1)
	r.submit("none", "1", 2, rel, &broker.InboundRecord{Client: "c", QoS: 2, PacketID: 10, Slot: 10, Hash: 78}, store.DedupeKey{})
	rel.wait(t, broker.Success)
	if r.store.Stats().Rollbacks != 1 {
		t.Error("nothing was rolled back")
	}
}

func TestBreakerPausesAndEnds(t *testing.T) {
	r := newRig(t, options{quiet: true})
	bad := func(context.Context, *host.Calls) error { return errors.New("boom") }
	r.deploy("f", bad, deploy{triggers: on("a"), limits: function.Limits{Concurrency: 1}})
	until(t, "it is paused", func() bool {
		r.send("a", "x", 0)
		return r.d.Stats().Functions[0].Paused
	})
	_, err := r.d.Invoke(context.Background(), "f", &event.Event{ID: "1", Source: "/cli", Type: event.TypeInvoke}, trigger.Params{})
	if !errors.Is(err, dispatch.ErrPaused) {
		t.Errorf("invoke while paused: %v", err)
	}
	// Durable events wait; a new version takes them up at once.
	rel := r.send("a", "x", 1)
	rel.wait(t, broker.Success)
	r.deploy("f", count, deploy{version: 2, triggers: on("a")})
	until(t, "the new version has run", func() bool { return r.get("f", "n") == "1" })
	if st := r.d.Stats().Functions[0]; st.Paused || st.Pauses != 1 {
		t.Errorf("stats %+v", st)
	}
}

// An outcome that would break the state's quota is a failure with a reason.
func TestStateQuotaFailsTheAttempt(t *testing.T) {
	r := newRig(t, options{})
	r.deploy("f", func(_ context.Context, c *host.Calls) error {
		_ = c.KVSet([]byte("k"), make([]byte, 600), 0)
		_ = c.KVSet([]byte("l"), make([]byte, 600), 0)
		return nil
	}, deploy{triggers: on("a"), limits: function.Limits{State: 1000}, retry: function.Retry{Attempts: 1}})
	r.send("a", "x", 1).wait(t, broker.Success)
	l := r.letters()
	if len(l) != 1 || l[0].Error != "failed: state of f is full (1000 bytes): delete keys or raise limits.state" {
		t.Errorf("dead letters %+v", l)
	}
}
