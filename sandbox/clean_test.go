package sandbox_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

const counterScript = `
let counter = 0;
export default (event) => {
  counter++;
  globalThis.leak = (globalThis.leak ?? 0) + 1;
  if (event.text() === "random") return Math.random();
  if (event.text() === "rand") return crypto.randomUUID();
  if (event.text() === "trap") for (const a = []; ; ) a.push(new Array(4096).fill(a));
  if (event.text() === "fail") throw new Error("asked to fail");
  return counter + globalThis.leak - 1;
};`

const counterPython = `
import headgate, os, random
headgate.leak = counter = 0
def handle(event, ctx):
    global counter
    counter += 1
    headgate.leak += 1
    open("counter.py").read(5)
    if event.text() == "random": return str(random.random())
    if event.text() == "rand": return os.urandom(8)
    if event.text() == "trap":
        a = []
        while True: a.append([a] * 4096)
    if event.text() == "fail": raise ValueError("asked to fail")
    return counter + headgate.leak - 1
`

// counterGuest counts its events in memory. Of "random" and "rand" it makes
// some, each by another generator, of "fail" and "trap" what they say.
type counterGuest struct {
	name, main, export string
	source             func(t testing.TB) []byte
	// first is what every event finds in its place.
	first string
	// dear is true where an event costs a thousand times what others do.
	dear bool
	// large is a guest of megabytes.
	large bool
	// draws are its generators.
	draws []string
}

var counterGuests = []counterGuest{
	{name: "go", large: true, draws: []string{"random", "rand"}, main: "counter.wasm", first: "1", source: func(t testing.TB) []byte { return goGuest(t, "go/counter") }},
	{name: "tinygo", draws: []string{"random", "rand"}, main: "counter.wasm", first: "1", source: func(t testing.TB) []byte { return tinyGoGuest(t, "go/counter") }},
	{name: "javascript", draws: []string{"random", "rand"}, main: "counter.js", first: "1", source: func(testing.TB) []byte { return []byte(counterScript) }},
	{name: "python", draws: []string{"random", "rand"}, main: "counter.py", first: "1", source: func(t testing.TB) []byte { needPython(t); return []byte(counterPython) }},
	{name: "assemblyscript", draws: []string{"random"}, main: "counter.wasm", first: "1", source: func(t testing.TB) []byte { return assemblyScriptGuest(t, "counter.ts") }},
	{name: "rust", draws: []string{"random"}, main: "counter.wasm", first: "1", source: func(t testing.TB) []byte { return rustGuest(t, "counter.rs") }},
	{name: "c", draws: []string{"random", "rand"}, main: "counter.wasm", first: "1", source: func(t testing.TB) []byte { return cGuest(t, "c/counter.c") }},
	{name: "command", large: true, draws: []string{"random", "rand"}, main: "counter.wasm", first: "1 1 GO\n", source: goCommandGuest, dear: true},
	{name: "extism-go", large: true, draws: []string{"random"}, main: "counter.wasm", first: "1 none 0 GO", export: "run", source: goPlugin},
	{name: "extism-assemblyscript", main: "counter.wasm", first: "1 none 0 GO", export: "run", source: assemblyScriptPlugin},
	{name: "extism-c", draws: []string{"random"}, main: "counter.wasm", first: "1  0 GO", export: "run", source: cPlugin},
}

// goCommandGuest builds a program that knows nothing of the gateway.
func goCommandGuest(t testing.TB) []byte {
	t.Helper()
	if wasm, ok := guests.Load("command"); ok {
		return wasm.([]byte)
	}
	out := filepath.Join(t.TempDir(), "command.wasm")
	build := exec.Command("go", "build", "-o", out, "./testdata/go/command")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if b, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	guests.Store("command", wasm)
	return wasm
}

// TestCleanStateInEveryLanguage shows promise 3 for each: a counter that the
// guest keeps is 1 on every call, after a failure and a trap too; the same call
// costs the same fuel on call 1 and call 1000; and random differs between
// events, though not between an event and its rerun.
func TestCleanStateInEveryLanguage(t *testing.T) {
	slow.UnderRace(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	for _, g := range counterGuests {
		t.Run(g.name, func(t *testing.T) {
			if g.large {
				slow.Emulated(t, slow.LargeGuests)
			}
			u := load(t, e, g.main, g.source(t), testOptions{export: g.export, limits: function.Limits{Memory: 32 << 20}})
			calls := 1000
			if testing.Short() || g.dear {
				calls = 110
			}
			u.countsCleanly(t, g.first, calls)
			for _, generator := range g.draws {
				u.drawsFresh(t, generator)
			}
			t.Logf("%+v", u.pool.Stats())
		})
	}
}

// countsCleanly wants the same answer for the same fuel, again and again.
func (u *unit) countsCleanly(t *testing.T, first string, calls int) {
	t.Helper()
	fuel := uint64(0)
	for i := range calls {
		// What a language draws to seed itself decides what it takes.
		seed := bytes.NewReader(make([]byte, 32))
		r := u.invoke(host.Invocation{Input: []byte("go"), State: mapState{}, Random: seed})
		if r.Outcome != function.OK || string(r.Output) != first {
			t.Fatalf("call %d: %s %s, output %q", i, r.Outcome, r.Error, r.Output)
		}
		if i == 0 {
			fuel = r.Fuel
		} else if r.Fuel != fuel {
			t.Fatalf("call %d: fuel %d, the first call took %d", i, r.Fuel, fuel)
		}
		if i%250 == 100 {
			for _, how := range []string{"fail", "trap"} {
				if r := u.invoke(host.Invocation{Input: []byte(how), State: mapState{}}); r.Outcome == function.OK {
					t.Fatalf("%s: the guest was to fail", how)
				}
			}
		}
	}
	t.Logf("fuel %d", fuel)
}

// drawsFresh wants different random in different events, and the same in the
// rerun of one.
func (u *unit) drawsFresh(t *testing.T, generator string) {
	t.Helper()
	seen := map[string]bool{}
	for i := range 20 {
		r := u.invoke(host.Invocation{Input: []byte(generator), State: mapState{}})
		if r.Outcome != function.OK || len(r.Output) == 0 || seen[string(r.Output)] {
			t.Fatalf("event %d drew %q again: %s %s", i, r.Output, r.Outcome, r.Error)
		}
		seen[string(r.Output)] = true
		drawn := bytes.Clone(r.Output)
		u.calls.Rewind(mapState{})
		if again := u.pool.Invoke(t.Context(), &u.calls); !bytes.Equal(again.Output, drawn) || again.Fuel != r.Fuel {
			t.Fatalf("the rerun of event %d drew %q for %d of fuel, the first run %q for %d", i, again.Output, again.Fuel, drawn, r.Fuel)
		}
	}
}
