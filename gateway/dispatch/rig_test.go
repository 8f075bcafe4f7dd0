package dispatch_test

import (
	"context"
	"log/slog"
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

func (r *rig) Plan(*function.Publish, bool) *broker.Plan { return nil }

func (r *rig) Publish(_ *event.Event, _ string, p function.Publish, _ *broker.Plan) {
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
	failure  function.OnFailure
	retire   func()
}

func (r *rig) deploy(name string, fn code, d deploy) {
	r.t.Helper()
	d.perms.Publish = []string{"#"}
	if d.version == 0 {
		d.version = 1
	}
	err := r.d.SetFunction(dispatch.Function{
		Name: name, Version: d.version, Pool: fn, Limits: d.limits, Retry: d.retry, OnFailure: d.failure, Retire: d.retire,
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
	case <-time.After(time.Minute):
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
	for end := time.Now().Add(time.Minute); !cond(); time.Sleep(time.Millisecond) {
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
