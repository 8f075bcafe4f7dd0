package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/internal/toolchain"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// broken is a project that cannot be deployed, and what its author is told.
type broken struct {
	name  string
	files map[string]string
	says  []string
	// needs is a command without which the case says something else.
	needs string
}

// one is a project whose manifest is the given lines below functions.f.
func one(lines string, files ...string) map[string]string {
	p := map[string]string{"headgate.yaml": "functions:\n  f:\n" + indent(lines), "f.js": "export default () => 1;\n"}
	for i := 0; i+1 < len(files); i += 2 {
		p[files[i]] = files[i+1]
	}
	return p
}

func indent(lines string) string {
	var out strings.Builder
	for line := range strings.Lines(lines) {
		out.WriteString("    " + line)
	}
	return out.String() + "\n"
}

func triggered(trigger string) map[string]string {
	return one("main: f.js\ntriggers:\n  - " + strings.ReplaceAll(trigger, "\n", "\n    "))
}

func wasm(module []byte) map[string]string { return one("main: f.wasm", "f.wasm", string(module)) }

func imports(module, name string, desc ...byte) []byte {
	m := New(1)
	m.Type("", "")
	m.RawImport(module, name, desc...)
	return m.Handler("", I32(0)).Bytes()
}

// pluginOf is an Extism plug-in with these functions.
func pluginOf(module string, names ...string) []byte {
	m := New(1)
	m.Import(module, "alloc", "l", "l")
	f := m.Func("", "", "")
	for _, name := range names {
		m.Export(name, f)
	}
	return m.Bytes()
}

// tooMuchAtFirst is in the refusal of what has no end. Whether its fuel is used
// up first or its time depends on the machine.
const tooMuchAtFirst = ": what runs before the first event "

var brokenProjects = []broken{
	// Manifests.
	{"no manifest", map[string]string{"f.js": ""}, []string{"no manifest at", "headgate.yaml"}, ""},
	{"empty manifest", map[string]string{"headgate.yaml": ""}, []string{"headgate.yaml", "declares no function"}, ""},
	{"no YAML", map[string]string{"headgate.yaml": "functions: [\n"}, []string{"headgate.yaml:1:"}, ""},
	{"a list", map[string]string{"headgate.yaml": "- f\n"}, []string{"headgate.yaml:1:1"}, ""},
	{"no functions", map[string]string{"headgate.yaml": "functions: {}\n"}, []string{"headgate.yaml:1:12", "declares no function"}, ""},
	{"function without anything", map[string]string{"headgate.yaml": "functions:\n  f:\n"}, []string{"headgate.yaml:2:", "is empty"}, ""},
	{"unknown field", one("main: f.js\nmemory: 1MiB"), []string{"headgate.yaml:4:5", `unknown field "memory"`}, ""},
	{"name with capitals", map[string]string{"headgate.yaml": "functions:\n  Irrigate: {main: f.js}\n"}, []string{"headgate.yaml:2:", "a-z, 0-9 and -"}, ""},
	{"no main", one("description: x"), []string{"main", "is missing"}, ""},
	{"main elsewhere", one("main: ../f.js"), []string{"headgate.yaml:3:11", "below the manifest's folder"}, ""},
	{"main is gone", one("main: g.js"), []string{"headgate.yaml:3:11", "there is no file"}, ""},
	{"main of no language", one("main: f.pl"), []string{"headgate.yaml:3:11", `"f.pl": the ending must be`}, ""},
	{"compiler of no name", one("main: f.go\ncompiler: gccgo"), []string{"headgate.yaml:4:", `"gccgo": the one to choose is tinygo`}, ""},
	{"compiler for a script", one("main: f.js\ncompiler: tinygo"), []string{"headgate.yaml:4:", "tinygo builds a main that ends in .go"}, ""},
	{"memory in words", one("main: f.js\nlimits: {memory: lots}"), []string{"headgate.yaml:4:", "lots"}, ""},
	{"too little memory", one("main: f.js\nlimits: {memory: 1KiB}"), []string{"headgate.yaml:4:", "outside 64KiB to 512MiB"}, ""},
	{"negative timeout", one("main: f.js\nlimits: {timeout: -1s}"), []string{"headgate.yaml:4:", "-1s"}, ""},
	{"more warm than there may be", one("main: f.js\nlimits: {concurrency: 2, min_instances: 3}"), []string{"headgate.yaml:4:", "outside 0 to limits.concurrency, 2"}, ""},
	{"attempts in words", one("main: f.js\nretry: {attempts: many}"), []string{"headgate.yaml:4:23", "expected a whole number"}, ""},
	{"backoff turned round", one("main: f.js\nretry: {backoff: 1h, max_backoff: 1s}"), []string{"headgate.yaml:4:", "shorter than backoff"}, ""},
	{"publish to a bad filter", one("main: f.js\npermissions: {publish: [a/#/b]}"), []string{"headgate.yaml:4:", "permissions.publish[0]"}, ""},
	{"fetch from no origin", one("main: f.js\npermissions: {fetch: [api.example.org]}"), []string{"headgate.yaml:4:", "permissions.fetch[0]", "https://"}, ""},
	{"secret twice", one("main: f.js\nsecrets: [key, key]"), []string{"headgate.yaml:4:", `"key" is there twice`}, ""},
	{"hears its own failures", one("main: f.js\non_failure: {function: f}"), []string{"headgate.yaml:4:", "its own failures"}, ""},
	{"a million laughs", map[string]string{"headgate.yaml": laughs()}, []string{"headgate.yaml:5:9", "unfolds to more than 100000 values"}, ""},

	// Triggers.
	{"trigger of no kind", triggered("qos: 1"), []string{"headgate.yaml:5:", "triggers[0]"}, ""},
	{"trigger of two kinds", triggered("mqtt: a\nqueue: b"), []string{"headgate.yaml:", "triggers[0]", "queue"}, ""},
	{"bad topic filter", triggered("mqtt: a/#/b"), []string{"headgate.yaml:5:15", "# must be the last level"}, ""},
	{"quality of service 3", triggered("mqtt: a\nqos: 3"), []string{"headgate.yaml:6:", "0, 1 or 2"}, ""},
	{"order by nothing", triggered("mqtt: a\norder_by: b"), []string{"headgate.yaml:6:", `"b" is not a capture`}, ""},
	{"condition on nothing", triggered("mqtt: a\nwhen: nosuch > 1"), []string{"headgate.yaml:6:", "unknown name nosuch"}, ""},
	{"condition that is none", triggered("mqtt: a\nwhen: 1 + 1"), []string{"headgate.yaml:6:", "when"}, ""},
	{"condition on missing config", triggered("mqtt: a\nwhen: data.x > config.y"), []string{"headgate.yaml:6:", "config.y is not in the function's config"}, ""},
	{"the same twice", one("main: f.js\ntriggers: [{mqtt: a}, {mqtt: a}]"), []string{"headgate.yaml:4:", "says the same as triggers[0]"}, ""},
	{"bad calendar", triggered(`cron: "61 * * * *"`), []string{"headgate.yaml:5:", "cron", "61"}, ""},
	{"no such place", triggered("cron: \"0 5 * * *\"\ntimezone: Europe/Nowhere"), []string{"headgate.yaml:6:", "Europe/Nowhere"}, ""},
	{"too often", triggered("every: 1ms"), []string{"headgate.yaml:5:", "every"}, ""},
	{"an option of another kind", triggered("queue: a\nretained: true"), []string{"headgate.yaml:6:", "retained"}, ""},
	{"no such lifecycle", triggered("lifecycle: device.exploded"), []string{"headgate.yaml:5:", "device.exploded", "device.connected"}, ""},
	{"too many triggers", one("main: f.js\ntriggers:" + many(65)), []string{"65 triggers, more than the 64"}, ""},

	// Modules.
	{"not wasm", wasm([]byte("hello")), []string{"f.wasm", "not a WebAssembly module"}, ""},
	{"cut short", wasm(New(1).Handler("", I32(0)).Bytes()[:20]), []string{"f.wasm"}, ""},
	{"wrong import", wasm(imports("env", "puts", 0, 0)), []string{"import env.puts", `there is no host module "env"`}, ""},
	{"unknown host call", wasm(imports("headgate_v1", "nope", 0, 0)), []string{"import headgate_v1.nope", "no such host call"}, ""},
	{"imported memory", wasm(imports("env", "memory", 2, 0, 1)), []string{"import env.memory"}, ""},
	{"reserved import", wasm(imports("headgate.internal", "yield", 0, 0)), []string{"belongs to the gateway"}, ""},
	{"forged global", wasm(New(1).Handler("", I64(1<<40), GlobalSet(0), I32(0)).Bytes()), []string{"not a valid module"}, ""},
	{"forged function", wasm(New(1).Handler("", Call(99), I32(0)).Bytes()), []string{"not a valid module"}, ""},
	{"unknown opcode", wasm(New(1).Handler("", Op(0xff), I32(0)).Bytes()), []string{"f.wasm", "opcode 0xff is not supported"}, ""},
	{"opcode of no standard", wasm(New(1).Handler("", Op(0xfe, 0x00), I32(0)).Bytes()), []string{"f.wasm"}, ""},
	{"too many pages", wasm(New(1000).Handler("", I32(0)).Bytes()), []string{"limits.memory allows 16MiB: raise it"}, ""},
	{"no handler", wasm(New(1).Bytes()), []string{"headgate_abi_v1", "not a Headgate function"}, ""},
	{"plug-in with functions of its host's", wasm(pluginOf("extism:host/user", "handle")), []string{"import extism:host/user.alloc", "functions of its host's own"}, ""},
	{"plug-in with several functions", wasm(pluginOf("extism:host/env", "first", "second")), []string{"several functions", "export: first", "first, second"}, ""},
	{"plug-in without that function", one("main: f.wasm\nexport: third", "f.wasm", string(pluginOf("extism:host/env", "first"))), []string{"export third", "it has first"}, ""},
	{"export of what is no plug-in", one("main: f.wasm\nexport: x", "f.wasm", string(New(1).Handler("", I32(0)).Bytes())), []string{"export is for Extism plug-ins"}, ""},
	{"export of a script", one("main: f.js\nexport: x"), []string{"headgate.yaml:4:", "is for Extism plug-ins"}, ""},
	{"endless start", one("main: f.wasm\nlimits: {timeout: 1m}", "f.wasm", string(endlessStart())), []string{tooMuchAtFirst}, ""},

	// Sources.
	{"JavaScript syntax", one("main: f.js", "f.js", "export default (event) => {\n  return event..data;\n};\n"), []string{"SyntaxError", "f.js:2"}, ""},
	{"JavaScript without handler", one("main: f.js", "f.js", "export const a = 1;\n"), []string{"exports no handler", "export default"}, ""},
	{"JavaScript that throws at once", one("main: f.js", "f.js", "const a = 1;\nnull.x;\nexport default () => a;\n"), []string{"TypeError", "f.js:2"}, ""},
	{"JavaScript that never ends", one("main: f.js", "f.js", "for (;;);\n"), []string{tooMuchAtFirst}, ""},
	{"JavaScript that imports nothing", one("main: f.js", "f.js", "import x from './gone.js';\nexport default () => x;\n"), []string{"gone.js"}, ""},
	{"C syntax", one("main: f.c", "f.c", "#include <headgate.h>\nHG_HANDLE {\n  return nosuch;\n}\n"), []string{"f.c:3:", "nosuch"}, "clang"},
	{"Go that does not compile", one("main: f.go", "f.go", "package main\n\nfunc main() {\n\tnosuch()\n}\n", "go.mod", "module f\n\ngo 1.24\n"), []string{"f.go:4:", "nosuch"}, ""},
}

// hugeProjects are made when the test runs and not when the binary starts:
// each command of each script starts it.
func hugeProjects() []broken {
	return []broken{
		{"a huge manifest", one("main: f.js\ndescription: " + strings.Repeat("x", 2<<20)), []string{"headgate.yaml", "more than the 1048576 a manifest may have"}, ""},
		{"too big", map[string]string{"headgate.yaml": "functions:\n  f: {main: f.wasm}\n", "f.wasm": "\x00asm\x01\x00\x00\x00" + strings.Repeat("x", 65<<20)}, []string{"f.wasm"}, ""},
	}
}

func many(n int) (lines string) {
	for i := range n {
		lines += "\n  - {mqtt: a/" + strconv.Itoa(i) + "}"
	}
	return lines
}

// laughs is a manifest whose aliases would unfold to gigabytes.
func laughs() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		n := strconv.Itoa(i)
		b.WriteString("a" + n + ": &a" + n + " [" + strings.Repeat("*a"+strconv.Itoa(i-1)+", ", 9) + "*a" + strconv.Itoa(i-1) + "]\n")
	}
	return b.String() + "functions:\n  f: {main: f.js, config: {x: *a11}}\n"
}

func endlessStart() []byte {
	m := New(1)
	m.Handler("", I32(0))
	m.Start(m.Func("", "", "", Forever()))
	return m.Bytes()
}

// TestBrokenProjects deploys what cannot run. Each is refused with words that
// say where and what; nothing is deployed, and what runs goes on: no event of it
// is lost. Who signs for a fleet is told the same, and nothing is signed.
func TestBrokenProjects(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	g := openTestGateway(t)
	t.Setenv("HEADGATE_KEYS_PASSPHRASE", "correct horse battery")
	ownCache(t)
	repository := filepath.Join(t.TempDir(), "repository")
	g.must(t, "keys", "init", repository)
	g.deploy(map[string]string{
		"headgate.yaml": "functions:\n  keeper: {main: f.js, triggers: [{mqtt: in}]}\n",
		"f.js":          "export default (event, { state }) => state.set(\"n\", (state.get(\"n\") ?? 0) + 1);\n",
	})
	events := 0
	for _, c := range slices.Concat(brokenProjects, hugeProjects()) {
		t.Run(c.name, func(t *testing.T) {
			if c.needs != "" {
				toolchain.Need(t, c.needs)
			}
			project := writeProject(t, c.files)
			verbs := [][]string{{"deploy", project}, {"publish", repository, project}}
			if c.name == "endless start" {
				verbs = verbs[:1] // it takes all the fuel that a start may, which is a second: the scripts take less
			}
			for _, verb := range verbs {
				code, out, errs := g.run(t, verb...)
				if code == exitOK {
					t.Fatalf("%s takes it: %s", verb[0], out)
				}
				for _, want := range c.says {
					if !strings.Contains(errs, want) {
						t.Errorf("%s says\n%s\nnot %q", verb[0], clipped(errs), want)
					}
				}
				if len(errs) > 4096 {
					t.Errorf("the error of %s has %d bytes", verb[0], len(errs))
				}
			}
			if signed := strings.TrimSpace(g.must(t, "repository", "list", repository, "--json")); signed != "[]" && signed != "null" {
				t.Errorf("signed are %s", signed)
			}
			if names := g.functions(t); names != "keeper@1" {
				t.Errorf("deployed are %s", names)
			}
			g.must(t, "pub", "in", "x", "--qos", "1")
			events++
			g.awaitCount(t, events)
		})
	}
}

// awaitCount waits until keeper has counted that many events: what is acknowledged
// is handled soon, and not yet.
func (g testGateway) awaitCount(t *testing.T, events int) {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		code, out, errs := g.run(t, "state", "get", "keeper", "n")
		if code == exitOK && strings.TrimSpace(out) == strconv.Itoa(events) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("keeper had %q events of %d: %s", out, events, errs)
		}
	}
}

// ownCache has what tools compile kept with the tests' own, and Go's build cache
// stay where it is.
func ownCache(t *testing.T) {
	t.Helper()
	if user, err := os.UserCacheDir(); err == nil && os.Getenv("GOCACHE") == "" {
		t.Setenv("GOCACHE", filepath.Join(user, "go-build"))
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(testcache.Dir(t), "user"))
}

func clipped(s string) string {
	if len(s) > 2000 {
		return s[:2000] + "…"
	}
	return s
}

// testGateway is a gateway in this process, and the command line for it.
type testGateway struct{ *testing.T }

func openTestGateway(t *testing.T) testGateway {
	t.Helper()
	dir := t.TempDir()
	if err := testcache.Link(dir); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.StateDir = dir
	cfg.MQTT.Listeners = nil
	ctx, cancel := context.WithCancel(t.Context())
	gw, err := gateway.New(ctx, cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- gw.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("the gateway ended: %v", err)
		}
	})
	t.Setenv("HEADGATE_HOST", "unix://"+cfg.SocketPath())
	t.Setenv("HEADGATE_HOME", filepath.Join(dir, "author"))
	g := testGateway{t}
	c, err := (&app{}).client()
	if err == nil {
		err = c.WaitReady(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func (testGateway) run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = execute(t.Context(), args, strings.NewReader(""), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func (g testGateway) must(t *testing.T, args ...string) string {
	t.Helper()
	code, out, errs := g.run(t, args...)
	if code != exitOK {
		t.Fatalf("headgate %v: exit code %d: %s", args, code, errs)
	}
	return out
}

func (g testGateway) deploy(files map[string]string) {
	g.Helper()
	g.must(g.T, "deploy", writeProject(g.T, files))
}

// functions are what is deployed, as name@version.
func (g testGateway) functions(t *testing.T) string {
	t.Helper()
	var list []struct {
		Name    string
		Version int
	}
	if err := json.Unmarshal([]byte(g.must(t, "list", "--json")), &list); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range list {
		names = append(names, f.Name+"@"+strconv.Itoa(f.Version))
	}
	return strings.Join(names, " ")
}

func writeProject(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}
