package sandbox_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// testkitScript runs the conform guest, and one that fails, on the JavaScript
// SDK's host in memory.
const testkitScript = `
import { readFile } from "node:fs/promises";
import { run } from "../sdk/javascript/testkit.mjs";
const source = await readFile("testdata/js/conform.js", "utf8");
const { default: handler } = await import("data:text/javascript," + encodeURIComponent(source));
const good = await run(handler, {
  text: '{"value": -27.5e1}', params: { field: "3" }, config: { mode: "on", target: 32 },
  state: { runs: 41, old: "x", keep: "y" }, denied: ["other:x", "secret/x", "soil"], secrets: { k: "s3cret", unset: undefined },
});
const codes = [];
const bad = await run(async (event, ctx) => {
  for (const f of [() => ctx.state.get("a"), () => ctx.publish("a", 1), () => ctx.enqueue("a"), () => ctx.invoke("a"),
    () => ctx.secret("k"), () => ctx.actuate("a", "on"), () => ctx.sensor("a"), () => ctx.fetch("u")]) {
    try { await f(); } catch (e) { codes.push(e.code); }
  }
  ctx.state.set("b", 1);
  ctx.publish("b", 1);
  throw new Error("asked to fail");
}, { denied: ["a"], state: { c: 1 } });
console.log(JSON.stringify({ good: { ...good, error: good.error && String(good.error.stack) }, bad: { ...bad, error: String(bad.error) }, codes }));
`

// TestTestKit holds the JavaScript SDK's host in memory to the golden effects
// and error codes that the sandbox is held to.
func TestTestKit(t *testing.T) {
	toolchain.Need(t, "node")
	checkTestKit(t, nodeScript(t, testkitScript))
}

// assemblyScriptTestKit runs the conform guest, and one that fails, on the
// AssemblyScript SDK's host in memory.
const assemblyScriptTestKit = `
import { compile, run } from "../sdk/assemblyscript/testkit.mjs";
const asc = { asc: "../sdk/assemblyscript/node_modules/.bin/asc" };
const good = await run(await compile("testdata/assemblyscript/conform.ts", asc), {
  text: '{"value": -27.5e1}', meta: { id: "" }, params: { field: "3" }, config: { mode: "on", target: 32 },
  state: { runs: 41, old: "x", keep: "y" }, denied: ["other:x", "secret/x", "soil"], secrets: { k: "s3cret", unset: undefined },
});
const bad = await run(await compile("testdata/assemblyscript/refused.ts", asc), { denied: ["a"], state: { c: 1 } });
const names = ["", "NOT_FOUND", "DENIED", "LIMIT", "INVALID", "UNSUPPORTED", "UNAVAILABLE"];
const codes = bad.logs[0].text.split(" ").map((n) => names[-n]);
console.log(JSON.stringify({ good: { ...good, error: good.error && String(good.error.stack) }, bad: { ...bad, error: String(bad.error) }, codes }));
`

// TestAssemblyScriptTestKit holds the AssemblyScript SDK's host in memory to the
// same.
func TestAssemblyScriptTestKit(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	toolchain.Need(t, "node")
	if _, err := os.Stat(toolchain.AssemblyScript(t)); err != nil {
		toolchain.Skip(t, "the AssemblyScript compiler is not there: make toolchains")
	}
	checkTestKit(t, nodeScript(t, assemblyScriptTestKit))
}

// nodeScript returns what a module prints.
func nodeScript(t *testing.T, source string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "node", "--input-type=module", "-e", source)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// checkTestKit wants of a host in memory what the sandbox does.
func checkTestKit(t *testing.T, out []byte) {
	t.Helper()
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
	writes := want.Writes
	want.Writes = nil
	if got.Good.Error != "" || !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %+v, want %+v %s", asked, want, got.Good.Error)
	}
	for _, w := range writes {
		v, there := got.Good.State[w.Key]
		if b, _ := json.Marshal(v); there == w.Delete || there && string(b) != string(w.Value) {
			t.Errorf("state %s is %s, want %s", w.Key, b, w.Value)
		}
	}
	if len(got.Good.State) != 3 || got.Good.Output != "keep runs soil-1 " || got.Good.Metrics["moisture"] != 27.5 || len(got.Good.Logs) != 1 {
		t.Errorf("%+v", got.Good)
	}
	if b := got.Bad; b.Error != "Error: asked to fail" || len(b.Published) > 0 || !reflect.DeepEqual(b.State, map[string]any{"c": 1.0}) {
		t.Errorf("a failed event left %+v", b)
	}
	codes := []string{"DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "DENIED", "UNAVAILABLE"}
	if !reflect.DeepEqual(got.Codes, codes) {
		t.Errorf("codes %v", got.Codes)
	}
	for _, code := range got.Codes {
		if !slices.ContainsFunc(abi.Errnos[:], func(e abi.ErrnoInfo) bool { return e.Name == code }) {
			t.Errorf("%s is no errno", code)
		}
	}
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
