package sandbox_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sdk/build"
)

// rustGuest builds a Rust guest of testdata, or skips where Rust has no
// WebAssembly target and nobody demands it.
func rustGuest(t testing.TB, file string) []byte {
	t.Helper()
	return builtWhere(t, "testdata/rust", file)
}

// assemblyScriptGuest builds an AssemblyScript guest of testdata, or skips
// where its compiler is not in sdk/assemblyscript and nobody demands it.
func assemblyScriptGuest(t testing.TB, file string) []byte {
	t.Helper()
	bin, err := filepath.Abs("../sdk/assemblyscript/node_modules/.bin")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+bin)
	return builtWhere(t, "testdata/assemblyscript", file)
}

// builtWhere builds a guest, or skips where its compiler is not installed.
func builtWhere(t testing.TB, dir, file string) []byte {
	t.Helper()
	a, err := build.Build(context.Background(), build.Request{Dir: dir, Main: file})
	var missing *build.MissingError
	if errors.As(err, &missing) && os.Getenv("HEADGATE_REQUIRE_TOOLCHAINS") == "" {
		t.Skip(missing)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a.Files[a.Main]
}

// goGuest builds a Go guest of testdata. Go itself runs these tests, so it is
// there.
func goGuest(t testing.TB, dir string) []byte {
	t.Helper()
	return built(t, dir)
}

// cGuest builds a C guest of testdata, or skips where clang is missing and
// nobody demands it.
func cGuest(t testing.TB, file string) []byte {
	t.Helper()
	if _, err := exec.LookPath("clang"); err != nil && os.Getenv("HEADGATE_REQUIRE_TOOLCHAINS") == "" {
		t.Skip("clang is not installed; set HEADGATE_REQUIRE_TOOLCHAINS=1 to make this a failure")
	}
	return built(t, file)
}

func built(t testing.TB, main string) []byte {
	t.Helper()
	a, err := build.Build(context.Background(), build.Request{Dir: "testdata", Main: main})
	if err != nil {
		t.Fatal(err)
	}
	return a.Files[a.Main]
}

const counterScript = `
let counter = 0;
export default (event) => {
  counter++;
  globalThis.leak = (globalThis.leak ?? 0) + 1;
  if (event.text() === "trap") for (const a = []; ; ) a.push(new Array(4096).fill(a));
  if (event.text() === "fail") throw new Error("asked to fail");
  return counter + globalThis.leak - 1;
};`

const counterPython = `
import headgate
headgate.leak = counter = 0
def handle(event, ctx):
    global counter
    counter += 1
    headgate.leak += 1
    open("counter.py").read(5)
    if event.text() == "trap":
        a = []
        while True: a.append([a] * 4096)
    if event.text() == "fail": raise ValueError("asked to fail")
    return counter + headgate.leak - 1
`

// TestCleanStateInEveryLanguage shows promise 3: a counter that the guest
// keeps is 1 on every call, after a failure and a trap too, and the same call
// costs the same fuel on call 1 and call 1000.
func TestCleanStateInEveryLanguage(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	guests := []struct {
		name, main string
		source     func(t testing.TB) []byte
	}{
		{"go", "counter.wasm", func(t testing.TB) []byte { return goGuest(t, "go/counter") }},
		{"javascript", "counter.js", func(testing.TB) []byte { return []byte(counterScript) }},
		{"python", "counter.py", func(t testing.TB) []byte { needPython(t); return []byte(counterPython) }},
		{"assemblyscript", "counter.wasm", func(t testing.TB) []byte { return assemblyScriptGuest(t, "counter.ts") }},
		{"rust", "counter.wasm", func(t testing.TB) []byte { return rustGuest(t, "counter.rs") }},
		{"c", "counter.wasm", func(t testing.TB) []byte { return cGuest(t, "c/counter.c") }},
	}
	for _, g := range guests {
		t.Run(g.name, func(t *testing.T) {
			u := load(t, e, g.main, g.source(t), testOptions{})
			calls := 1000
			if testing.Short() {
				calls = 100
			}
			fuel := map[bool]uint64{}
			for i := range calls {
				r := u.invoke(host.Invocation{Input: []byte("go")})
				if r.Outcome != function.OK || string(r.Output) != "1" {
					t.Fatalf("call %d: %s %s, output %q", i, r.Outcome, r.Error, r.Output)
				}
				if i == 0 {
					fuel[true] = r.Fuel
				} else if r.Fuel != fuel[true] {
					t.Fatalf("call %d: fuel %d, the first call took %d", i, r.Fuel, fuel[true])
				}
				if i%250 == 100 {
					for _, how := range []string{"fail", "trap"} {
						if r := u.invoke(host.Invocation{Input: []byte(how)}); r.Outcome == function.OK && (g.name != "c" || how == "trap") {
							t.Fatalf("%s: the guest was to fail", how)
						}
					}
				}
			}
			t.Logf("fuel %d, %+v", fuel[true], u.pool.Stats())
		})
	}
}
