package sandbox_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
)

// pythonTestkit runs the conform guest, and one that fails, on the Python
// SDK's host in memory.
const pythonTestkit = `
import json, sys
sys.dont_write_bytecode = True
sys.path[:0] = ["../sdk/python", "testdata/py"]
from testkit import run, HeadgateError
import conform
good = run(conform.handle, text='{"value": -27.5e1}', params={"field": "3"}, config={"mode": "on", "target": 32}, meta={"id": None},
    state={"runs": 41, "old": "x", "keep": "y"}, denied=["other:x", "secret/x", "soil"], secrets={"k": "s3cret", "unset": None})
codes = []
def bad(event, ctx):
    for f in (lambda: ctx.state.get("a"), lambda: ctx.publish("a", 1), lambda: ctx.enqueue("a"), lambda: ctx.invoke("a"),
              lambda: ctx.secret("k"), lambda: ctx.actuate("a", "on"), lambda: ctx.sensor("a"), lambda: ctx.fetch("u")):
        try: f()
        except HeadgateError as e: codes.append(e.code)
    ctx.state["b"] = 1
    ctx.publish("b", 1)
    raise ValueError("asked to fail")
failed = run(bad, denied=["a"], state={"c": 1})
show = lambda r: dict(vars(r), error=r.error and repr(r.error))
print(json.dumps({"good": show(good), "bad": show(failed), "codes": codes}))
`

// TestPythonTestKit holds the Python SDK's host in memory, which runs under
// plain Python 3, to the golden effects that the sandbox is held to.
func TestPythonTestKit(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	toolchain.Need(t, "python3")
	cmd := exec.CommandContext(t.Context(), "python3", "-c", pythonTestkit)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type result struct {
		Error, Output string
		Published     []struct {
			Topic, Payload string
			QoS            byte
			Retain         bool
			Expiry         int64
		}
		Enqueued []struct {
			Queue, Payload string
			Delay          int64
		}
		Invoked []struct{ Name, Payload string }
		State   map[string]any
		Logs    []struct{ Level, Text string }
		Metrics map[string]float64
	}
	var got struct {
		Good, Bad result
		Codes     []string
	}
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var want function.Effects
	if err := json.Unmarshal([]byte(conformance), &want); err != nil {
		t.Fatal(err)
	}
	want.Writes = nil
	var asked function.Effects
	for _, p := range got.Good.Published {
		asked.Publishes = append(asked.Publishes, function.Publish{Topic: p.Topic, Payload: []byte(p.Payload), QoS: p.QoS, Retain: p.Retain, Expiry: seconds(p.Expiry)})
	}
	for _, q := range got.Good.Enqueued {
		asked.Enqueues = append(asked.Enqueues, function.Enqueue{Queue: q.Queue, Payload: []byte(q.Payload), Delay: seconds(q.Delay)})
	}
	for _, f := range got.Good.Invoked {
		asked.Invokes = append(asked.Invokes, function.Invoke{Function: f.Name, Payload: []byte(f.Payload)})
	}
	if got.Good.Error != "" || !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %+v, want %+v %s", asked, want, got.Good.Error)
	}
	state := map[string]any{"runs": 42.0, "soil-1": 1.0, "keep": "y"}
	if g := got.Good; !reflect.DeepEqual(g.State, state) || g.Output != "keep runs soil-1 " || g.Metrics["moisture"] != 27.5 || len(g.Logs) != 1 {
		t.Errorf("%+v", g)
	}
	if b := got.Bad; b.Error != "ValueError('asked to fail')" || len(b.Published) > 0 || !reflect.DeepEqual(b.State, map[string]any{"c": 1.0}) {
		t.Errorf("a failed event left %+v", b)
	}
	if want := []string{"DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "DENIED"}; !reflect.DeepEqual(got.Codes, want) {
		t.Errorf("codes %v", got.Codes)
	}
}
