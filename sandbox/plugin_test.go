package sandbox_test

import (
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// goPlugin builds the plug-in that uses Extism's PDK for Go. The PDK is a
// module that this one does not need otherwise: without a network it may be
// missing.
func goPlugin(t testing.TB) []byte {
	t.Helper()
	dir := filepath.Join("testdata", "extism", "go")
	get := exec.Command("go", "mod", "download")
	get.Dir, get.Env = dir, append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	if out, err := get.CombinedOutput(); err != nil {
		toolchain.Skip(t, "Extism's PDK for Go cannot be had: "+string(out))
	}
	return builtWhere(t, dir, "main.go")
}

// assemblyScriptPlugin builds the plug-in that uses Extism's PDK for
// AssemblyScript.
func assemblyScriptPlugin(t testing.TB) []byte {
	t.Helper()
	asc := filepath.Join(toolchain.AssemblyScript(t), "asc")
	if _, err := os.Stat(asc); err != nil {
		toolchain.Skip(t, "the AssemblyScript compiler is not there: make toolchains")
	}
	return runCompiler(t, asc, "plugin.ts", "--path", filepath.Dir(toolchain.AssemblyScript(t)), "--runtime", "stub", "-O3", "--use", "abort=plugin/aborted", "--outFile")
}

// cPlugin builds the plug-in that uses no PDK.
func cPlugin(t testing.TB) []byte {
	t.Helper()
	toolchain.Need(t, "clang")
	return runCompiler(t, "clang", "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-Werror", "plugin.c", "-o")
}

func runCompiler(t testing.TB, compiler string, args ...string) []byte {
	t.Helper()
	if wasm, ok := guests.Load(compiler); ok {
		return wasm.([]byte)
	}
	out := filepath.Join(t.TempDir(), "plugin.wasm")
	c := exec.Command(compiler, append(args, out)...)
	c.Dir = filepath.Join("testdata", "extism")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	wasm, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	guests.Store(compiler, wasm)
	return wasm
}

// plugin loads an Extism plug-in.
func plugin(t testing.TB, e *sandbox.Engine, wasm []byte, export string, o testOptions) *unit {
	t.Helper()
	o.export = export
	return load(t, e, "plugin.wasm", wasm, o)
}

// TestPlugins runs plug-ins built with PDKs of Extism's, and one built with
// none: input, output, variables, config, log and failure.
func TestPlugins(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	for name, source := range map[string]func(testing.TB) []byte{"go": goPlugin, "assemblyscript": assemblyScriptPlugin, "c": cPlugin} {
		t.Run(name, func(t *testing.T) {
			o := testOptions{config: map[string][]byte{"mode": []byte(`"on"`), "n": []byte("7")}}
			u := plugin(t, e, source(t), "run", o)
			for range 3 {
				r := u.invoke(host.Invocation{Input: []byte("hello you"), State: mapState{"test:seen:all": "4"}})
				if r.Outcome != function.OK || string(r.Output) != "1 on 4 HELLO YOU" {
					t.Fatalf("%s %s %q %v", r.Outcome, r.Error, r.Output, u.calls.Logs())
				}
				w := u.calls.Effects().Writes
				if len(w) == 0 || w[0].Namespace != "test" || w[0].Key != "seen:all" || string(w[0].Value) != "5" {
					t.Errorf("%+v", w)
				}
				if l := u.calls.Logs(); len(l) != 1 || l[0].Text != "a plug-in runs" || l[0].Level != function.Info {
					t.Errorf("%+v", l)
				}
			}
			r := u.invoke(host.Invocation{Input: []byte("fail"), State: mapState{}})
			if r.Outcome != function.Failed || r.Error != "asked to fail" || len(r.Output) != 0 {
				t.Errorf("%s %s %q", r.Outcome, r.Error, r.Output)
			}
			if r = u.invoke(host.Invocation{Input: []byte("trap"), State: mapState{}}); r.Outcome == function.OK {
				t.Errorf("%s %s", r.Outcome, r.Error)
			}
			if r = u.invoke(host.Invocation{State: mapState{}}); r.Outcome != function.OK || string(r.Output) != "1 on 0 " {
				t.Errorf("no input: %s %s %q", r.Outcome, r.Error, r.Output)
			}
		})
	}
}

// TestPluginFetches sends requests by the function's permissions.
func TestPluginFetches(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	perms := function.Permissions{Fetch: []string{"https://api.example.org"}}
	u := plugin(t, e, goPlugin(t), "fetch", testOptions{perms: perms})
	f := &large{}
	u.grant = u.grant.WithFetcher(f)
	r := u.invoke(host.Invocation{Input: []byte("https://api.example.org/x")})
	var got struct {
		Status     int
		Kind, Body string
	}
	if err := json.Unmarshal(r.Output, &got); err != nil || got.Status != 201 || len(got.Body) < 1000 {
		t.Fatalf("%s %s %.100q %v", r.Outcome, r.Error, r.Output, err)
	}
	if len(f.asked) != 1 || f.asked[0].Method != http.MethodPost || string(f.asked[0].Body) != "hello" || f.asked[0].Headers[0].Name != "x-a" {
		t.Errorf("%+v", f.asked)
	}
	if r = u.invoke(host.Invocation{Input: []byte("https://evil.example.org")}); r.Outcome != function.Failed || !strings.Contains(r.Error, "permissions.fetch") {
		t.Errorf("%s %s", r.Outcome, r.Error)
	}
}

// TestPluginBounds: the shared memory counts as the function's, and what is
// over a limit ends the event with words.
func TestPluginBounds(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	u := plugin(t, e, goPlugin(t), "large", testOptions{limits: function.Limits{Memory: 12 << 20, Output: 2 << 20}})
	for _, c := range []struct {
		bytes   int
		outcome function.Outcome
		says    string
	}{
		{100_000, function.OK, ""},
		{1_500_000, function.OK, ""}, // more than an idle plug-in keeps
		{2_500_000, function.Failed, "limits.output"},
		{7_000_000, function.OutOfMemory, "limits.memory"},
		{100_000, function.OK, ""},
	} {
		r := u.invoke(host.Invocation{Input: []byte(strconv.Itoa(c.bytes))})
		if r.Outcome != c.outcome || !strings.Contains(r.Error, c.says) || c.outcome == function.OK && len(r.Output) != c.bytes {
			t.Errorf("%d: %s %s, %d bytes", c.bytes, r.Outcome, r.Error, len(r.Output))
		}
	}
}

const extismEnv = "extism:host/env"

// TestPluginExport: which function of a plug-in handles events.
func TestPluginExport(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	exporting := func(names ...string) []byte {
		m := New(1)
		output, alloc, store := m.Import(extismEnv, "output_set", "ll", ""), m.Import(extismEnv, "alloc", "l", "l"), m.Import(extismEnv, "store_u8", "li", "")
		for i, name := range names {
			m.Export(name, m.Func("", "", "l", I64(1), Call(alloc), LocalSet(0), LocalGet(0), I32(int32('0'+i)), Call(store), LocalGet(0), I64(1), Call(output)))
		}
		m.Export("malloc", m.Func("i", "i", "", I32(0)))
		return m.Bytes()
	}
	for _, c := range []struct {
		exports      []string
		choose, want string
		says         string
	}{
		{[]string{"only", "_initialize", "asyncify_stop_unwind"}, "", "0", ""},
		{[]string{"first", "handle"}, "", "1", ""},
		{[]string{"first", "second"}, "second", "1", ""},
		{[]string{"_start"}, "", "0", ""},
		{[]string{"other", "_start"}, "_start", "1", ""},
		{[]string{"first", "second"}, "", "", "say in the manifest which one handles events (export: first), of first, second"},
		{[]string{"first"}, "third", "", "it has first"},
		{nil, "", "", "exports no function that takes nothing"},
		{nil, "malloc", "", "it has none"},
	} {
		code := sandbox.Code{Name: "f", Main: "f.wasm", Files: map[string][]byte{"f.wasm": exporting(c.exports...)}, Export: c.choose}
		if c.says != "" {
			if _, err := e.Compile(t.Context(), code, function.Limits{}, sandbox.Setup{}); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v %s: %v", c.exports, c.choose, err)
			}
			continue
		}
		u := plugin(t, e, code.Files["f.wasm"], c.choose, testOptions{})
		if r := u.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != c.want {
			t.Errorf("%v %s: %s %s %q", c.exports, c.choose, r.Outcome, r.Error, r.Output)
		}
	}
}

// TestPluginHandles: whatever a plug-in hands its host, that is no memory it
// has, ends the event with words, and leaves nothing to the next.
func TestPluginHandles(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	const forged = 1 << 40
	for _, c := range []struct {
		call, params, results string
		args                  []Code
		says                  string
	}{
		{"load_u8", "l", "i", []Code{I64(0)}, "load_u8: offset 0 with length 1 is outside"},
		{"load_u8", "l", "i", []Code{I64(forged)}, "load_u8: offset 1099511627776"},
		{"load_u64", "l", "l", []Code{I64(-4)}, "load_u64: offset 18446744073709551612"},
		{"load_u64", "l", "l", []Code{I64(65532)}, "load_u64: offset 65532 with length 8"},
		{"store_u8", "li", "", []Code{I64(70000), I32(1)}, "store_u8: offset 70000"},
		{"store_u64", "ll", "", []Code{I64(1), I64(1)}, "store_u64: offset 1 with length 8"},
		{"input_load_u8", "l", "i", []Code{I64(5)}, "input_load_u8: offset 5 with length 1 is outside the input of 5 bytes"},
		{"input_load_u64", "l", "l", []Code{I64(-1)}, "input_load_u64"},
		{"output_set", "ll", "", []Code{I64(16), I64(1 << 33)}, "output_set: offset 16 with length 8589934592"},
		{"output_set", "ll", "", []Code{I64(-1), I64(2)}, "output_set"},
		{"error_set", "l", "", []Code{I64(33)}, "error_set: 33 is no handle"},
		{"config_get", "l", "l", []Code{I64(0)}, "config_get: 0 is no handle"},
		{"var_get", "l", "l", []Code{I64(48)}, "var_get: 48 is no handle"},
		{"var_set", "ll", "", []Code{I64(forged), I64(0)}, "var_set: 1099511627776 is no handle"},
		{"var_set", "ll", "", []Code{I64(32), I64(forged)}, "var_set: 1099511627776 is no handle"},
		{"http_request", "ll", "l", []Code{I64(7), I64(0)}, "http_request: 7 is no handle"},
		{"http_request", "ll", "l", []Code{I64(32), I64(0)}, "http_request: the request cannot be read"},
		{"log_info", "l", "", []Code{I64(9)}, "log_info: 9 is no handle"},
		{"log_trace", "l", "", []Code{I64(9)}, "log_trace: 9 is no handle"},
	} {
		t.Run(c.call, func(t *testing.T) {
			m := New(1)
			alloc, store, set := m.Import(extismEnv, "alloc", "l", "l"), m.Import(extismEnv, "store_u8", "li", ""), uint32(0)
			if c.call != "var_set" {
				set = m.Import(extismEnv, "var_set", "ll", "")
			}
			call := m.Import(extismEnv, c.call, c.params, c.results)
			if c.call == "var_set" {
				set = call
			}
			body := Join(I64(1), Call(alloc), Drop, I64(32), I32('k'), Call(store), I64(32), I64(32), Call(set), Join(c.args...), Call(call))
			if c.results != "" {
				body = Join(body, Drop)
			}
			m.Export("handle", m.Func("", "", "", body))
			u := plugin(t, e, m.Bytes(), "", testOptions{})
			for range 2 {
				r := u.invoke(host.Invocation{Input: []byte("12345"), State: mapState{}})
				if r.Outcome == function.OK || !strings.Contains(r.Error, c.says) {
					t.Errorf("%s %q, want %q", r.Outcome, r.Error, c.says)
				}
			}
		})
	}
}

// TestPluginMemoryIsClean: what a plug-in wrote to the shared memory, the next
// event does not find there, nor its handles, output or error.
func TestPluginMemoryIsClean(t *testing.T) {
	m := New(1)
	alloc, load, store := m.Import(extismEnv, "alloc", "l", "l"), m.Import(extismEnv, "load_u64", "l", "l"), m.Import(extismEnv, "store_u64", "ll", "")
	output, length := m.Import(extismEnv, "output_set", "ll", ""), m.Import(extismEnv, "length", "l", "l")
	input := m.Import(extismEnv, "input_length", "", "l")
	// Adds what it finds behind its block, and how long the block was, to the
	// length of the input; fails where the length is 0.
	m.Export("handle", m.Func("", "i", "l",
		I64(32), Call(length), LocalSet(0),
		I64(5000), Call(alloc), Drop,
		I64(32), I64(40), Call(load), LocalGet(0), Op(0x7c), Call(input), Op(0x7c), Call(store),
		I64(40), I64(77), Call(store), I64(60000), I64(78), Call(store),
		I64(32), I64(60000), Call(load), I64(78), Op(0x7d), I64(32), Call(load), Op(0x7c), Call(store),
		I64(32), I64(8), Call(output),
		Call(input), Op(0x50)))
	e := testEngine(t, sandbox.Config{})
	u := plugin(t, e, m.Bytes(), "", testOptions{})
	for i := range 20 {
		if i%5 == 4 {
			if r := u.invoke(host.Invocation{}); r.Outcome != function.Failed || !strings.Contains(r.Error, "handle returned 1") {
				t.Fatalf("%s %s", r.Outcome, r.Error)
			}
			continue
		}
		if r := u.invoke(host.Invocation{Input: []byte("x")}); r.Outcome != function.OK || string(r.Output) != "\x01\x00\x00\x00\x00\x00\x00\x00" {
			t.Fatalf("call %d: %s %s %q", i, r.Outcome, r.Error, r.Output)
		}
	}
}

// TestPluginRefused: what cannot run here is refused with what to do.
func TestPluginRefused(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	importing := func(module, name string) []byte {
		m := New(1)
		m.Import(extismEnv, "alloc", "l", "l")
		m.Import(module, name, "l", "l")
		m.Export("handle", m.Func("", "", ""))
		return m.Bytes()
	}
	user := New(1)
	user.Import("extism:host/user", "say", "l", "l")
	old := New(1)
	old.Import("env", "extism_alloc", "l", "l")
	for says, wasm := range map[string][]byte{
		"import extism:host/user.say: this plug-in wants functions of its host's own": importing("extism:host/user", "say"),
		"import extism:host/env.nosuch: this gateway has no such host call":           importing(extismEnv, "nosuch"),
		"import extism:host/env.var_set: declared with the wrong type":                importing(extismEnv, "var_set"),
		"import extism:host/user.say: this plug-in wants functions":                   user.Bytes(),
		"built with a PDK older than 1.0":                                             old.Bytes(),
	} {
		code := sandbox.Code{Name: "f", Main: "f.wasm", Files: map[string][]byte{"f.wasm": wasm}}
		if _, err := e.Compile(t.Context(), code, function.Limits{}, sandbox.Setup{}); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	code := sandbox.Code{Name: "f", Main: "f.wasm", Files: map[string][]byte{"f.wasm": counterModule()}, Export: "x"}
	if _, err := e.Compile(t.Context(), code, function.Limits{}, sandbox.Setup{}); err == nil || !strings.Contains(err.Error(), "export is for Extism plug-ins") {
		t.Error(err)
	}
}

// TestPluginOfTheSDK: a guest of the gateway's ABI may use Extism's functions
// too, as a library that was written with a PDK does.
func TestPluginOfTheSDK(t *testing.T) {
	m := New(1)
	alloc, out := m.Import(extismEnv, "alloc", "l", "l"), m.Import("headgate_v1", "output", "ii", "")
	m.Handler("", I32(0), I64(9), Call(alloc), Op(0xa7), Store32(0), I32(0), I32(4), Call(out), I32(0))
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "f.wasm", m.Bytes(), testOptions{})
	for range 2 {
		if r := u.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != "\x20\x00\x00\x00" {
			t.Errorf("%s %s %q", r.Outcome, r.Error, r.Output)
		}
	}
}
