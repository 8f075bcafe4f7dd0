package dispatch_test

import (
	"context"
	"errors"
	"strconv"
	"testing"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

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
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
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
	path := testdb.Copy(t, r.path)
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
	if c := newRig(t, options{path: testdb.Copy(t, r.path)}); c.get("f", "n") != "1" {
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
	c := newRig(t, options{path: testdb.Copy(t, r.path)})
	recs, err := c.store.LoadSessions(context.Background())
	if err != nil || len(recs) != 1 || len(recs[0].Inbound) != 2 || recs[0].Inbound[0].Hash != 77 || recs[0].Inbound[1].Hash != 78 {
		t.Errorf("sessions %+v %v", recs, err)
	}
}
