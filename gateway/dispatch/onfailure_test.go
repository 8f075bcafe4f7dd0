package dispatch_test

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

func fails(context.Context, *host.Calls) error { return errors.New("boom") }

// heard is a function that keeps what it is told.
type heard struct {
	mu   sync.Mutex
	data []string
	meta []string
}

func (h *heard) run(_ context.Context, c *host.Calls) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.data = append(h.data, string(c.Input()))
	var meta []string
	for _, k := range []string{"type", "subject", "hops", "failedfunctions"} {
		v, _ := c.Lookup([]byte(k))
		meta = append(meta, v)
	}
	h.meta = append(h.meta, strings.Join(meta, " "))
	return nil
}

func (h *heard) n() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.data)
}

func (h *heard) failure(t *testing.T, i int) (dispatch.Failure, string) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	var f dispatch.Failure
	if err := json.Unmarshal([]byte(h.data[i]), &f); err != nil {
		t.Fatalf("%v: %s", err, h.data[i])
	}
	return f, h.data[i]
}

// The handler's start is in the dead letter's commit: after a crash both are
// there, and the handler runs.
func TestOnFailureFunction(t *testing.T) {
	r := newRig(t, options{})
	gate := make(chan struct{})
	defer close(gate)
	r.deploy("f", fails, deploy{triggers: byKey, retry: function.Retry{Attempts: 2, Backoff: millis(1), MaxBackoff: millis(1)}, failure: function.OnFailure{Function: "g"}})
	r.deploy("g", func(context.Context, *host.Calls) error { <-gate; return nil }, deploy{})
	r.send("a/k", `{"v":1}`, 1).wait(t, broker.Success)
	until(t, "it is given up", func() bool { return len(r.letters()) == 1 })
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
	if l := c.letters(); len(l) != 1 || l[0].Function != "f" {
		t.Fatalf("dead letters %+v", l)
	}
	var g heard
	c.deploy("g", g.run, deploy{})
	until(t, "the handler has run", func() bool { return g.n() == 1 })
	f, text := g.failure(t, 0)
	if f.Function != "f" || f.Version != 1 || f.Reason != "attempts" || f.Error != "failed: boom" || f.Attempts != 2 || f.Key != "k" || f.Params["key"] != "k" {
		t.Errorf("failure %+v", f)
	}
	if !strings.Contains(text, `"data":{"v":1}`) || !strings.Contains(text, `"subject":"a/k"`) {
		t.Errorf("the event is not in %s", text)
	}
	if g.meta[0] != "io.headgate.function.failed f 1 f" {
		t.Errorf("attributes %q", g.meta[0])
	}
}

// A topic is published to like any other, and starts what triggers on it, but
// never the function that failed.
func TestOnFailureTopic(t *testing.T) {
	r := newRig(t, options{})
	var g heard
	r.deploy("f", fails, deploy{triggers: on("#"), retry: function.Retry{Attempts: 1}, failure: function.OnFailure{Topic: "alerts/f"}})
	r.deploy("g", g.run, deploy{triggers: on("alerts/+")})
	r.send("a", "not json", 1).wait(t, broker.Success)
	until(t, "the handler has run and the message is out", func() bool { return g.n() == 1 && len(r.sent()) == 1 })
	if p := r.sent()[0]; p.Topic != "alerts/f" || p.QoS != 1 || !strings.Contains(string(p.Payload), `"data_base64":"bm90IGpzb24="`) {
		t.Errorf("published %+v %s", p, p.Payload)
	}
	if g.meta[0] != "io.headgate.mqtt.message alerts/f 1 f" {
		t.Errorf("attributes %q", g.meta[0])
	}
	if l := r.letters(); len(l) != 1 {
		t.Errorf("%d dead letters, want the first alone", len(l))
	}
}

// Handlers that fail do not start each other round and round.
func TestOnFailureMakesNoLoop(t *testing.T) {
	for _, c := range []struct {
		name   string
		to     func(name string) function.OnFailure
		filter string
	}{
		{"functions", func(name string) function.OnFailure { return function.OnFailure{Function: name} }, ""},
		{"topics", func(name string) function.OnFailure { return function.OnFailure{Topic: "alerts/" + name} }, "alerts/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, options{})
			next := map[string]string{"f": "g", "g": "h", "h": "f"}
			for name, to := range next {
				triggers := on("start/" + name)
				if c.filter != "" {
					triggers = append(triggers, on(c.filter+name)...)
				}
				r.deploy(name, fails, deploy{triggers: triggers, retry: function.Retry{Attempts: 1}, failure: c.to(to)})
			}
			r.send("start/f", "x", 1).wait(t, broker.Success)
			until(t, "all have failed", func() bool { return len(r.letters()) == 3 })
			until(t, "nothing waits", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
			r.sync()
			var names []string
			for _, l := range r.letters() {
				names = append(names, l.Function)
			}
			if !slices.Equal(names, []string{"f", "g", "h"}) {
				t.Errorf("dead letters of %v", names)
			}
		})
	}
}

// What is given up for its age is told of too, though it was on disk alone.
func TestOnFailureOfExpired(t *testing.T) {
	r := newRig(t, options{dispatch: func(c *dispatch.Config) { c.SpillAfter, c.MemoryBytes = time.Millisecond, 1 }})
	gate := make(chan struct{})
	r.deploy("f", func(context.Context, *host.Calls) error { <-gate; return errors.New("boom") }, deploy{
		triggers: byKey, limits: function.Limits{Concurrency: 1}, failure: function.OnFailure{Function: "g"}, retry: function.Retry{Attempts: 1, MaxAge: millis(200)},
	})
	var g heard
	r.deploy("g", g.run, deploy{})
	for _, v := range []string{"1", "2", "3"} {
		r.send("a/"+v, v, 1).wait(t, broker.Success)
	}
	until(t, "two have expired", func() bool { return g.n() == 2 })
	close(gate)
	until(t, "all are told of", func() bool { return g.n() == 3 })
	reasons := map[string]int{}
	for i := range 3 {
		f, text := g.failure(t, i)
		reasons[f.Reason]++
		if !strings.Contains(text, `"data":`) {
			t.Errorf("no data in %s", text)
		}
	}
	if reasons["max_age"] < 2 {
		t.Errorf("reasons %v", reasons)
	}
}

// A full queue costs the report, never the dead letter.
func TestOnFailureWithAFullQueue(t *testing.T) {
	r := newRig(t, options{
		dispatch: func(c *dispatch.Config) { c.SpillAfter = time.Millisecond },
		store:    func(c *store.Config) { c.MaxQueueBytes = 300 },
	})
	gate := make(chan struct{})
	r.deploy("f", func(context.Context, *host.Calls) error { <-gate; return errors.New("boom") },
		deploy{triggers: on("a"), retry: function.Retry{Attempts: 1}, failure: function.OnFailure{Function: "g"}})
	r.send("a", strings.Repeat("x", 100), 1).wait(t, broker.Success)
	close(gate)
	until(t, "it is given up", func() bool { return len(r.letters()) == 1 })
	if n := r.d.FunctionStats("f").FailuresUnheard; n != 1 {
		t.Errorf("%d failures unheard, want 1", n)
	}
	if n, _ := r.store.QueueLen(); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}
