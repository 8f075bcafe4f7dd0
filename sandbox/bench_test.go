package sandbox_test

import (
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// benchInput is a realistic reading.
var benchInput = []byte(`{"topic":"site/a/temp/3","ts":1700000000000,"device":"gw-17","value":26.75,"unit":"C","seq":104277}`)

func BenchmarkInvokeWarm(b *testing.B) {
	e := testEngine(b, sandbox.Config{})
	for _, g := range benchGuests(b) {
		b.Run(g.name, func(b *testing.B) {
			u := load(b, e, g.main, g.source, testOptions{export: g.export})
			in := host.Invocation{Input: benchInput}
			if r := u.invoke(in); r.Outcome != function.OK {
				b.Fatalf("%s: %s", r.Outcome, r.Error)
			}
			b.ReportAllocs()
			fuel := uint64(0)
			for b.Loop() {
				fuel = u.invoke(in).Fuel
			}
			b.ReportMetric(float64(fuel), "fuel/op")
		})
	}
}

// BenchmarkColdStart starts a function from zero: its code is compiled, its
// clean state is gone.
func BenchmarkColdStart(b *testing.B) {
	e := testEngine(b, sandbox.Config{})
	for _, g := range benchGuests(b) {
		b.Run(g.name, func(b *testing.B) {
			u := load(b, e, g.main, g.source, testOptions{export: g.export})
			b.ReportAllocs()
			for b.Loop() {
				u.pool.Shrink()
				if r := u.invoke(host.Invocation{Input: benchInput}); r.Outcome != function.OK || !r.ColdStart {
					b.Fatalf("%+v", r)
				}
			}
		})
	}
}

// BenchmarkCompileCached loads a function whose code is in the on-disk cache,
// as at a restart of the gateway.
func BenchmarkCompileCached(b *testing.B) {
	for _, g := range benchGuests(b) {
		b.Run(g.name, func(b *testing.B) {
			for b.Loop() {
				e, err := sandbox.New(b.Context(), sandbox.Config{CacheDir: testcache.Dir(b)})
				if err != nil {
					b.Fatal(err)
				}
				m, err := e.Compile(b.Context(), sandbox.Code{Name: "f", Main: g.main, Files: map[string][]byte{g.main: g.source}, Export: g.export}, function.Limits{}, sandbox.Setup{})
				if err != nil {
					b.Fatal(err)
				}
				_ = m.Close(b.Context())
				_ = e.Close(b.Context())
			}
		})
	}
}

// BenchmarkDeadline reports how far past its deadline a pure loop runs.
func BenchmarkDeadline(b *testing.B) {
	e := testEngine(b, sandbox.Config{})
	const timeout = 5 * time.Millisecond
	u := load(b, e, "loop.wasm", New(1).Handler("", Forever(), I32(0)).Bytes(),
		testOptions{limits: function.Limits{Fuel: 1 << 60, Timeout: function.Duration(timeout)}})
	worst, sum := time.Duration(0), time.Duration(0)
	for b.Loop() {
		late := u.invoke(host.Invocation{}).Duration - timeout
		worst, sum = max(worst, late), sum+late
	}
	b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "late-µs/op")
	b.ReportMetric(float64(worst.Microseconds()), "worst-late-µs")
}

type benchGuest struct {
	name, main string
	source     []byte
	export     string
}

func benchGuests(b testing.TB) []benchGuest {
	needPython(b)
	list := []benchGuest{
		{name: "wasm", main: "x.wasm", source: thresholdModule()},
		{name: "c", main: "x.wasm", source: cGuest(b, "c/threshold.c")},
		{name: "assemblyscript", main: "x.wasm", source: assemblyScriptGuest(b, "threshold.ts")},
		{name: "rust", main: "x.wasm", source: rustGuest(b, "threshold.rs")},
		{name: "go", main: "x.wasm", source: goGuest(b, "go/threshold")},
		{name: "extism-c", main: "x.wasm", source: cPlugin(b), export: "threshold"},
		{name: "extism-go", main: "x.wasm", source: goPlugin(b), export: "threshold"},
		{name: "javascript", main: "x.js", source: []byte(`export default (event, ctx) => { if (event.data.value > 25) ctx.publish("alarm/gw-17", {v: event.data.value}); }`)},
		{name: "python", main: "x.py", source: []byte("def handle(event, ctx):\n  if event.data['value'] > 25:\n    ctx.publish('alarm/gw-17', {'v': event.data['value']})\n")},
		{name: "python-empty", main: "x.py", source: []byte("def handle():\n  pass\n")},
		{name: "javascript-empty", main: "x.js", source: []byte(`export default () => {}`)},
	}
	if toolchain.HasTinyGo() {
		list = append(list, benchGuest{name: "tinygo", main: "x.wasm", source: tinyGoGuest(b, "go/threshold")})
	}
	return list
}

// thresholdModule reads its input, scans it, and publishes.
func thresholdModule() []byte {
	m := New(1)
	read := m.Import("headgate_v1", "input_read", "ii", "i")
	publish := m.Import("headgate_v1", "publish", "iiiiii", "i")
	m.Data(0, "alarm/gw-17")
	m.Data(16, `{"v":26.75}`)
	return m.Handler("ii",
		I32(1024), I32(1024), Call(read), LocalSet(0),
		Loop(LocalGet(1), I32(1), Add, LocalSet(1), LocalGet(1), LocalGet(0), LtU, BrIf(0)),
		I32(0), I32(11), I32(16), I32(11), I32(0), I32(0), Call(publish)).Bytes()
}
