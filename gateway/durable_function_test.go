package gateway_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

// killed is a gateway on what is on disk at this moment.
func (r *rig) killed() *rig {
	r.Helper()
	return start(r.TB, copyDatabase(r.TB, r.cfg.StateDir))
}

const counting = `export default (event, {publish, state}) => {
  const n = (state.get("n") ?? 0) + 1;
  state.set("n", n);
  publish("out/count", String(n), {qos: %d, retain: %t});
};`

// What a function publishes to a durable subscriber who is away is on disk with
// its state: never one without the other.
func TestFunctionsPublishCommitsWithItsState(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("counter", "in", fmt.Sprintf(counting, 2, true))
	sub := join(t, r.address, "sub", false)
	sub.subscribe(2, "out/#")
	sub.disconnect()
	pub := join(t, r.address, "pub", false)
	const n = 25
	for i := range n {
		if i%5 == 4 { // by an operator too
			r.publish(api.Message{Topic: "in", QoS: 1})
			continue
		}
		pub.publish("in", "x", byte(i%2+1), false)
	}
	r = r.killed()
	// Events whose settle was spilled run now, the others have run.
	r.eventually("counter", "n", fmt.Sprint(n))
	sub = join(t, r.address, "sub", false)
	for i := range n {
		if p := sub.get(fmt.Sprint(i + 1)); p.Qos != 2 {
			t.Fatalf("QoS %d", p.Qos)
		}
	}
	sub.nothing()
	late := join(t, r.address, "late", true)
	late.subscribe(0, "out/#")
	if p := late.get(fmt.Sprint(n)); !p.Retain {
		t.Error("not retained")
	}
}

// A volatile event whose function publishes to a durable subscriber joins a
// commit: the message does not leave, or wait, without it.
func TestVolatileEventWithDurablePublish(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("relay", "in", `export default (event, {publish}) => publish("out", event.data, {qos: 1});`, func(s *function.Spec) { s.Limits.Concurrency = 1 })
	sub := join(t, r.address, "sub", false)
	sub.subscribe(1, "out")
	sub.disconnect()
	pub := join(t, r.address, "pub", true)
	const n = 50
	for i := range n {
		pub.publish("in", fmt.Sprint("m", i), 0, false)
	}
	waitUntil(t, "all are on their way", func() bool { return r.counter("headgate_store_outgoing_rows") == n })
	// Commits are in order: when this one is there, so are those before it.
	r.call(http.MethodPut, "/v1/state/relay/entry?key=sync", api.StateEntry{Value: []byte("x")}, nil)
	r = r.killed()
	sub = join(t, r.address, "sub", false)
	for i := range n {
		sub.get(fmt.Sprint("m", i))
	}
	sub.nothing()
}

// One message to many who are away is one body, from a function too.
func TestFanOutStoresOneBody(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("relay", "in", `export default (event, {publish}) => publish("out", event.data, {qos: 1});`)
	const away = 100
	for i := range away {
		sub := join(t, r.address, fmt.Sprint("sub-", i), false)
		sub.subscribe(1, "out")
		sub.disconnect()
	}
	pub := join(t, r.address, "pub", true)
	before := r.counter("headgate_store_messages_stored_total")
	pub.publish("in", "x", 1, false)
	waitUntil(t, "everybody has a row", func() bool { return r.counter("headgate_store_outgoing_rows") == away })
	r.call(http.MethodPut, "/v1/state/relay/entry?key=sync", api.StateEntry{Value: []byte("x")}, nil)
	if stored := r.counter("headgate_store_messages_stored_total") - before; stored != 1 {
		t.Errorf("%d bodies are stored", stored)
	}
	r = r.killed()
	for i := range away {
		join(t, r.address, fmt.Sprint("sub-", i), false).get("x")
	}
}

// counter returns a figure of /metrics that has no labels.
func (r *rig) counter(name string) int {
	r.Helper()
	_, rest, found := strings.Cut(r.scrape(), "\n"+name+" ")
	if !found {
		r.Fatalf("/metrics has no %s", name)
	}
	value, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseFloat(value, 64)
	if err != nil {
		r.Fatal(err)
	}
	return int(n)
}
