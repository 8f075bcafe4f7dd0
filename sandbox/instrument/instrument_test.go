package instrument_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/sandbox/engine/quickjs"
	"github.com/headgate-io/headgate/sandbox/instrument"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// trace is all that a run of a module shows.
type trace struct {
	result uint64
	trap   string
	memory []byte
	a, b   uint64
}

func (x trace) equal(y trace) bool {
	return x.result == y.result && x.trap == y.trap && x.a == y.a && x.b == y.b && bytes.Equal(x.memory, y.memory)
}

// runner runs modules; slice is how much fuel passes between two yields.
type runner struct {
	runtime     wazero.Runtime
	fuel, floor api.MutableGlobal
	slice       uint64
	yields      int
}

func newRunner(t testing.TB) *runner {
	ctx := context.Background()
	r := &runner{runtime: wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())}
	t.Cleanup(func() { _ = r.runtime.Close(ctx) })
	_, err := r.runtime.NewHostModuleBuilder(instrument.HostModule).NewFunctionBuilder().WithFunc(func() {
		r.yields++
		r.floor.Set(r.fuel.Get() - r.slice)
	}).Export(instrument.YieldName).NewFunctionBuilder().WithFunc(func(context.Context, int32, int32, int32) {
		panic("a short fill went to the host")
	}).Export(instrument.FillName).NewFunctionBuilder().WithFunc(func(context.Context, int32, int32, int32) {
		panic("a short copy went to the host")
	}).Export(instrument.MoveName).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const (
	testFuel  = uint64(1) << 40
	testStack = 1 << 20
)

func (r *runner) run(t testing.TB, wasm []byte, metered bool) (tr trace, fuel uint64) {
	ctx := context.Background()
	m, err := r.runtime.InstantiateWithConfig(ctx, wasm, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatalf("instantiate (metered %t): %v", metered, err)
	}
	defer func() { _ = m.Close(ctx) }()
	if metered {
		r.fuel = m.ExportedGlobal(instrument.FuelExport).(api.MutableGlobal)
		r.floor = m.ExportedGlobal(instrument.FloorExport).(api.MutableGlobal)
		stack := m.ExportedGlobal(instrument.StackExport).(api.MutableGlobal)
		r.fuel.Set(testFuel)
		r.floor.Set(testFuel - r.slice)
		stack.Set(testStack)
		defer func() {
			fuel = testFuel - r.fuel.Get()
			if tr.trap == "" && stack.Get() != testStack {
				t.Errorf("stack weight is %d after the call, was %d", stack.Get(), testStack)
			}
		}()
	}
	results, err := m.ExportedFunction("run").Call(ctx, 7)
	if err != nil {
		tr.trap, _, _ = strings.Cut(err.Error(), "\n")
	} else {
		tr.result = results[0]
	}
	view, _ := m.Memory().Read(0, m.Memory().Size())
	tr.memory = bytes.Clone(view)
	tr.a, tr.b = m.ExportedGlobal("a").Get(), m.ExportedGlobal("b").Get()
	return tr, 0
}

// compare wants the rewritten module to do what the original does, whether it
// yields rarely or at every check, for the same fuel. It returns what that is.
func compare(t testing.TB, r *runner, wasm []byte) trace {
	t.Helper()
	ctx := context.Background()
	out, _, err := instrument.Instrument(wasm, instrument.Options{}, func(b []byte) error {
		m, err := r.runtime.CompileModule(ctx, b)
		if err == nil {
			err = m.Close(ctx)
		}
		return err
	})
	if err != nil {
		t.Fatalf("instrument: %v", err)
	}
	want, _ := r.run(t, wasm, false)
	if strings.Contains(want.trap, "stack overflow") {
		return want // the depth at which the interpreter gives up counts the yields too
	}
	r.slice = testFuel
	rare, fuel := r.run(t, out, true)
	r.slice = 1
	often, again := r.run(t, out, true)
	if !want.equal(rare) || !want.equal(often) {
		t.Fatalf("the original gives %d %q %d %d, the rewritten %d %q %d %d and, yielding, %d %q %d %d",
			want.result, want.trap, want.a, want.b, rare.result, rare.trap, rare.a, rare.b, often.result, often.trap, often.a, often.b)
	}
	if fuel != again {
		t.Fatalf("fuel %d, and %d when yielding", fuel, again)
	}
	return want
}

func TestRewrittenAgrees(t *testing.T) {
	r := newRunner(t)
	rng := rand.New(rand.NewPCG(1, 2))
	const modules = 1000
	ended := 0
	for range modules {
		data := make([]byte, 64+rng.IntN(1000))
		for i := range data {
			data[i] = byte(rng.Uint32())
		}
		if compare(t, r, generate(data)).trap == "" {
			ended++
		}
	}
	if r.yields == 0 || ended < modules/2 {
		t.Errorf("%d yields, and %d of %d modules ended without a trap", r.yields, ended, modules)
	}
}

func FuzzRewrittenAgrees(f *testing.F) {
	for i := range 16 {
		seed := make([]byte, 200)
		rng := rand.New(rand.NewPCG(uint64(i), 3))
		for j := range seed {
			seed[j] = byte(rng.Uint32())
		}
		f.Add(seed)
	}
	r := newRunner(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		compare(t, r, generate(data))
	})
}

// FuzzMalformed wants an error or a module that validates, never a panic,
// whatever the bytes are, and whatever the validator lets through.
func FuzzMalformed(f *testing.F) {
	f.Add(generate([]byte("seed")))
	f.Add(New(1).Handler("", I32(0)).Bytes())
	f.Add([]byte("\x00asm\x01\x00\x00\x00"))
	f.Add([]byte("\x00asm\x01\x00\x00\x00\x0a\x06\x01\x04\x01\xff\xff\x03\x7f"))
	ctx := context.Background()
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	f.Cleanup(func() { _ = runtime.Close(ctx) })
	f.Fuzz(func(t *testing.T, wasm []byte) {
		// A validator that accepts everything: the rewriter still must not panic.
		_, _, _ = instrument.Instrument(wasm, instrument.Options{}, func([]byte) error { return nil })
		valid := func(b []byte) error {
			m, err := runtime.CompileModule(ctx, b)
			if err == nil {
				err = m.Close(ctx)
			}
			return err
		}
		out, _, err := instrument.Instrument(wasm, instrument.Options{}, valid)
		if err != nil {
			return
		}
		if err := valid(out); err != nil {
			t.Fatalf("the rewritten module is invalid: %v", err)
		}
	})
}

// TestValidatesFirst shows that an index past the module's own globals never
// reaches the gateway's.
func TestValidatesFirst(t *testing.T) {
	refused := errors.New("no")
	called := false
	_, _, err := instrument.Instrument(New(1).Handler("", I32(0)).Bytes(), instrument.Options{}, func([]byte) error {
		called = true
		return refused
	})
	if !called || !errors.Is(err, refused) {
		t.Errorf("validator called: %t, error: %v", called, err)
	}
}

// TestEngineModuleIsRewritten covers a large real module.
func TestEngineModuleIsRewritten(t *testing.T) {
	out, report, err := instrument.Instrument(quickjs.Wasm(), instrument.Options{GuardStack: true}, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	if report.MutatesTables || len(report.Globals) != 1 {
		t.Errorf("report: %+v", report)
	}
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = r.Close(ctx) }()
	if _, err := r.CompileModule(ctx, out); err != nil {
		t.Error(err)
	}
}

func BenchmarkInstrument(b *testing.B) {
	b.ReportAllocs()
	b.SetBytes(int64(len(quickjs.Wasm())))
	for b.Loop() {
		if _, _, err := instrument.Instrument(quickjs.Wasm(), instrument.Options{}, func([]byte) error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
