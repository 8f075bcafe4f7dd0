package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/internal/slow"
)

// takes makes a function start by a trigger.
func takes(t ...function.Trigger) func(*function.Spec) {
	return func(s *function.Spec) { s.Triggers = append(s.Triggers, t...) }
}

func mayEnqueue(queues ...string) func(*function.Spec) {
	return func(s *function.Spec) { s.Permissions.Enqueue = queues }
}

// invoked runs a function now and returns how it ended.
func (r *rig) invoked(name, data string) api.Invoked {
	r.Helper()
	var out api.Invoked
	r.call(http.MethodPost, "/v1/functions/"+name+"/invoke", api.Invoke{Data: []byte(data)}, &out)
	return out
}

// refused makes a call that the gateway must refuse, and returns why.
func (r *rig) refused(method, path string, body any) string {
	r.Helper()
	err := r.client.Do(context.Background(), method, path, body, nil)
	var refused *client.Error
	if !errors.As(err, &refused) {
		r.Fatalf("%s %s: %v, want a refusal", method, path, err)
	}
	return refused.Detail
}

// notes is a function that keeps what its events said, in order.
const notes = `export default (event, { state }) => {
  const all = state.get("all") ?? [];
  all.push([event.meta("type").slice(12), event.subject, event.data]);
  state.set("all", all);
};`

// Every function that takes from a queue gets each message, from functions and
// from an operator, with captures, keys and conditions.
func TestQueue(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("shop", "shop", `export default (event, { enqueue }) => enqueue("orders/eu", event.data);`, mayEnqueue("orders/eu"))
	if got := r.invoked("shop", `{"id":1}`); got.Outcome != "failed" || !strings.Contains(got.Error, "enqueue orders/eu: no function of this gateway takes from that queue") {
		t.Errorf("without a taker: %+v", got)
	}
	if why := r.refused(http.MethodPost, "/v1/queues", api.QueueMessage{Queue: "orders/eu"}); !strings.Contains(why, "no function of this gateway takes from that queue") {
		t.Errorf("refused with %q", why)
	}
	r.script("pack", "", `export default (event, { state }) => state.set(event.params.region, (state.get(event.params.region) ?? 0) + event.data.id);`,
		takes(function.Trigger{Queue: "orders/{region}", OrderBy: "region"}))
	r.script("large", "", notes, takes(function.Trigger{Queue: "orders/#", When: "data.id > 10"}))
	if got := r.invoked("shop", `{"id":1}`); got.Outcome != "ok" {
		t.Errorf("shop: %+v", got)
	}
	r.publish(api.Message{Topic: "shop", Payload: []byte(`{"id":20}`), QoS: 1})
	r.eventually("large", "all", `[["queue.message","orders/eu",{"id":20}]]`) // without a key there is no order
	r.call(http.MethodPost, "/v1/queues", api.QueueMessage{Queue: "orders/us", Payload: []byte(`{"id":300}`)}, nil)
	r.eventually("pack", "eu", "21")
	r.eventually("pack", "us", "300")
	r.eventually("large", "all", `[["queue.message","orders/eu",{"id":20}],["queue.message","orders/us",{"id":300}]]`)
}

// A delayed message starts nothing before it is due, survives a restart, and
// holds up nothing of its key.
func TestQueueDelay(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	dir := t.TempDir()
	r := start(t, dir)
	const tried = 8 * time.Second // longer than a machine stands still
	r.script("late", "", notes, takes(function.Trigger{Queue: "jobs", OrderBy: "data.key"}), func(s *function.Spec) { s.Retry.MaxAge = function.Duration(tried) })
	send := func(text string, delay time.Duration) {
		t.Helper()
		r.call(http.MethodPost, "/v1/queues", api.QueueMessage{Queue: "jobs", Payload: []byte(`{"key":1,"text":"` + text + `"}`), Delay: delay}, nil)
	}
	send("far", 24*time.Hour)
	send("soon", tried+time.Second) // its delay is longer than it may be tried for
	send("now", 0)
	one := `["queue.message","jobs",{"key":1,"text":"now"}]`
	r.eventually("late", "all", "["+one+"]")
	r.stop()
	r = start(t, dir)
	r.eventually("late", "all", "["+one+`,["queue.message","jobs",{"key":1,"text":"soon"}]]`)
	if got := r.queued("late"); got != 1 {
		t.Errorf("%d rows wait, want the one of tomorrow", got)
	}
	if why := r.refused(http.MethodPost, "/v1/queues", api.QueueMessage{Queue: "jobs", Delay: 20_000 * time.Hour}); !strings.Contains(why, "delay") {
		t.Errorf("refused with %q", why)
	}
}

func (r *rig) queued(name string) int64 {
	r.Helper()
	var f api.FunctionDetail
	r.call(http.MethodGet, "/v1/functions/"+name, nil, &f)
	return f.Counters.Queued
}

// A committed change of a key starts who watches it, with the value before and
// the one after; what is written as it was is no change, and an invocation
// that fails changes nothing.
func TestStateTrigger(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("weather", "weather", `export default (event, { state }) => {
	  const { key, value, twice, fail } = event.data;
	  if (twice) state.set(key, "first");
	  if (value === undefined) state.delete(key); else state.set(key, value);
	  if (fail) throw new Error("no");
	};`)
	r.script("watch", "", `export default (event, { state }) => {
	  const { namespace, key, old, new: now, created, deleted } = event.data;
	  const all = state.get("all") ?? [];
	  all.push([event.subject, event.params.day, namespace, key, old, now, created ?? false, deleted ?? false]);
	  state.set("all", all);
	};`, takes(function.Trigger{State: "weather:today/{day}", OrderBy: "day"}),
		func(s *function.Spec) { s.Permissions.State.Read = []string{"weather"} })
	write := func(data string) { r.invoked("weather", data) }
	write(`{"key":"today/mon","value":{"rain":1}}`)
	write(`{"key":"today/mon","value":{"rain":1}}`)           // the same bytes
	write(`{"key":"today/mon","value":{"rain":2},"fail":1}`)  // nothing happens
	write(`{"key":"other/mon","value":{"rain":2}}`)           // nobody watches
	write(`{"key":"today/mon","value":{"rain":2},"twice":1}`) // one change
	write(`{"key":"today/tue"}`)                              // was not there
	entry := "/v1/state/weather/entry?key=today/mon"
	r.call(http.MethodPut, entry, api.StateEntry{Value: []byte("wet")}, nil)
	r.call(http.MethodDelete, entry, nil, nil)
	line := func(old, now string, created, deleted bool) string {
		return fmt.Sprintf(`["weather:today/mon","mon","weather","today/mon",%s,%s,%t,%t]`, old, now, created, deleted)
	}
	r.eventually("watch", "all", "["+strings.Join([]string{
		line("null", `{"rain":1}`, true, false), line(`{"rain":1}`, `{"rain":2}`, false, false),
		line(`{"rain":2}`, `"wet"`, false, false), line(`"wet"`, "null", false, true),
	}, ",")+"]")
}

// Each change names the value that it replaced, whoever writes beside it: the
// changes make one chain.
func TestStateChangesMakeAChain(t *testing.T) {
	r := start(t, t.TempDir())
	blind := `export default (event, { state }) => state.set("last", event.data.n);`
	for _, name := range []string{"a", "b", "c"} {
		r.script(name, "in", strings.ReplaceAll(blind, `"last"`, `"log:last"`), func(s *function.Spec) {
			s.Permissions.State.Write = []string{"log"}
			s.Limits.Concurrency = 4
		})
	}
	r.script("log", "", `export default (event, { state }) => {
	  const { old, new: now } = event.data;
	  const s = state.get("chain") ?? { last: null, n: 0, broken: 0 };
	  if (s.last !== old) s.broken++;
	  state.set("chain", { last: now, n: s.n + 1, broken: s.broken });
	};`, takes(function.Trigger{State: "last", OrderBy: "data.key"}))
	const n = 60
	for i := range n {
		r.publish(api.Message{Topic: "in", Payload: fmt.Appendf(nil, `{"n":%d}`, i), QoS: 1})
	}
	// The writers of one event write the same: the first of them makes the
	// change.
	deadline := time.Now().Add(time.Minute)
	for got := ""; !strings.Contains(got, fmt.Sprintf(`"last":%d`, n-1)); got = r.state("log", "chain") {
		if time.Now().After(deadline) {
			t.Fatalf("the chain is %s", got)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if got := r.state("log", "chain"); !strings.Contains(got, `"broken":0`) {
		t.Errorf("the chain is %s", got)
	}
}

// A function whose write starts itself ends at the bound of hops.
func TestStateLoopEnds(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("loop", "go", `export default (event, { state }) => state.set("n", (state.get("n") ?? 0) + 1);`, takes(function.Trigger{State: "n"}))
	r.publish(api.Message{Topic: "go", QoS: 1})
	r.eventually("loop", "n", "17")
	var dead []api.DeadLetter
	for deadline := time.Now().Add(time.Minute); len(dead) == 0 && time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		r.call(http.MethodGet, "/v1/deadletters", nil, &dead)
	}
	if len(dead) != 1 || dead[0].Reason != "hops" || dead[0].Function != "loop" {
		t.Errorf("dead letters %+v", dead)
	}
}

// A dead letter starts who asks for it by name or by pattern, once, and never
// the function that failed.
func TestFailureTrigger(t *testing.T) {
	r := start(t, t.TempDir())
	const bad = `export default () => { throw new Error("no flow"); };`
	once := func(s *function.Spec) { s.Retry.Attempts = 1 }
	watch := `export default (event, { state }) => state.set(event.data.function, [event.meta("type"), event.subject, event.data.event.data, (state.get(event.data.function)?.[3] ?? 0) + 1]);`
	r.script("named", "", watch, takes(function.Trigger{Failure: "water-main"}))
	r.script("all", "", watch, takes(function.Trigger{Failure: "*"}, function.Trigger{Failure: "water-*", When: `data.reason == "attempts"`}))
	r.script("picky", "", watch, takes(function.Trigger{Failure: "water-*", When: `data.function == "water-side"`}))
	r.script("water-main", "in/main", bad, once, func(s *function.Spec) { s.OnFailure.Function = "named" })
	r.script("water-side", "in/side", bad, once)
	r.script("worse", "", bad, once, takes(function.Trigger{Failure: "*"}))
	r.publish(api.Message{Topic: "in/main", Payload: []byte("1"), QoS: 1})
	r.publish(api.Message{Topic: "in/side", Payload: []byte("2"), QoS: 1})
	const failed = `["io.headgate.function.failed",`
	r.eventually("named", "water-main", failed+`"water-main",1,1]`)
	r.eventually("all", "water-main", failed+`"water-main",1,1]`)
	r.eventually("all", "water-side", failed+`"water-side",2,1]`)
	r.eventually("picky", "water-side", failed+`"water-side",2,1]`)
	if got := r.state("picky", "water-main"); got != "" {
		t.Errorf("the condition let %s through", got)
	}
	if got := r.state("named", "water-side"); got != "" {
		t.Errorf("named heard of another's failure: %s", got)
	}
	// worse fails on both, and is not started by its own failures; all hears.
	deadline := time.Now().Add(time.Minute)
	for !strings.Contains(r.state("all", "worse"), ",2]") && time.Now().Before(deadline) {
		time.Sleep(5 * time.Millisecond)
	}
	var dead []api.DeadLetter
	r.call(http.MethodGet, "/v1/deadletters", nil, &dead)
	if len(dead) != 4 {
		t.Errorf("%d dead letters, want two and those of worse", len(dead))
	}
}

// What a change and a message of a queue start is in the commit that they are
// in: a kill leaves neither without the other.
func TestQueueAndStateSurviveAKill(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("source", "in", `export default (event, { state, enqueue }) => {
	  const n = (state.get("n") ?? 0) + 1;
	  state.set("n", n);
	  enqueue("jobs", n);
	};`, mayEnqueue("jobs"))
	slow := func(s *function.Spec) { s.Limits.Rate = 200 }
	sum := `export default (event, { state }) => {
	  const s = state.get("s") ?? { count: 0, sum: 0 };
	  state.set("s", { count: s.count + 1, sum: s.sum + %s });
	};`
	r.script("taker", "", fmt.Sprintf(sum, "event.data"), takes(function.Trigger{Queue: "jobs"}), slow)
	r.script("watcher", "", fmt.Sprintf(sum, "event.data.new - (event.data.old ?? 0)"), slow,
		takes(function.Trigger{State: "source:n"}), func(s *function.Spec) { s.Permissions.State.Read = []string{"source"} })
	const n = 50
	for range n {
		r.publish(api.Message{Topic: "in", QoS: 1})
	}
	k := r.killed()
	k.eventually("source", "n", fmt.Sprint(n))
	k.eventually("taker", "s", fmt.Sprintf(`{"count":%d,"sum":%d}`, n, n*(n+1)/2))
	k.eventually("watcher", "s", fmt.Sprintf(`{"count":%d,"sum":%d}`, n, n))
}
