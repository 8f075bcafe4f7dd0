package sandbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sandbox/engine/quickjs"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// scriptKind is a language whose functions run on one shared engine.
type scriptKind struct {
	name    string // of the language, for messages
	wasm    func() ([]byte, error)
	options instrument.Options
	// imports defines the module importsName that the engine imports besides
	// WASI; nil for nothing.
	imports     func(context.Context, *Engine) error
	importsName string
	// start makes what every instance starts from.
	start func(context.Context, api.Module, func(engine.Guest)) error
	// load loads a program into an instance that start made.
	load func(context.Context, api.Module, engine.State, engine.Program, func(engine.Guest)) error
	// stackBytes is the engine's own stack, for messages.
	stackBytes int
	// minMemory is the least that a function needs.
	minMemory function.ByteSize
}

var (
	javaScript = &scriptKind{
		name: "JavaScript", options: instrument.Options{GuardStack: true}, start: quickjs.Start, load: quickjs.Load, stackBytes: quickjs.StackBytes,
		wasm: func() ([]byte, error) { return quickjs.Wasm(), nil },
	}
	python = &scriptKind{
		name: "Python", options: micropython.Options(), start: micropython.Start, load: micropython.Load, stackBytes: micropython.StackBytes,
		wasm: micropython.Wasm, imports: addPythonImports, importsName: micropython.ImportModule, minMemory: micropython.MinMemoryBytes,
	}
	scriptKinds = map[string]*scriptKind{".js": javaScript, ".mjs": javaScript, ".py": python}
)

// scriptEngine is an engine, compiled, and what its instances start from.
type scriptEngine struct {
	*compiled
	base    *image
	started engine.State
}

// script is the function of a module that runs on a script engine.
type script struct {
	kind    *scriptKind
	engine  *scriptEngine
	program engine.Program
}

func newScript(kind *scriptKind, code Code, limits function.Limits) (*script, error) {
	if limits.Memory < kind.minMemory {
		return nil, fmt.Errorf("%s needs %s of memory, limits.memory allows %s: raise it", kind.name, kind.minMemory, limits.Memory)
	}
	return &script{kind: kind, program: engine.Program{Main: code.Main, Files: code.Files, MemoryBytes: uint64(limits.Memory)}}, nil
}

// scriptEngine returns the shared engine of a language, compiled at first
// use. The caller holds compiling.
func (e *Engine) scriptEngine(ctx context.Context, kind *scriptKind) (*scriptEngine, error) {
	if s := e.scripts[kind]; s != nil {
		return s, nil
	}
	wasm, err := kind.wasm()
	if err != nil {
		return nil, err
	}
	if kind.imports != nil && e.runtime.Module(kind.importsName) == nil {
		if err := kind.imports(ctx, e); err != nil {
			return nil, err
		}
	}
	c, err := e.compileWasm(ctx, wasm, kind.options)
	if err != nil {
		return nil, fmt.Errorf("compile the %s engine: %w", kind.name, err)
	}
	s := &scriptEngine{compiled: c}
	if err := e.startScripts(ctx, kind, s); err != nil {
		return nil, errors.Join(fmt.Errorf("start the %s engine: %w", kind.name, err), c.code.Close(ctx))
	}
	e.scripts[kind] = s
	return s, nil
}

// startScripts makes the image that the instances of a script engine start
// from.
func (e *Engine) startScripts(ctx context.Context, kind *scriptKind, s *scriptEngine) error {
	limits := function.Limits{}.WithDefaults()
	m := &Module{
		engine: e, name: kind.name, limits: limits, code: s.compiled,
		grant:  host.NewGrant(kind.name, function.Permissions{}, limits, nil, nil),
		script: &script{kind: kind, engine: s},
	}
	in, err := m.instantiate(ctx, nil)
	if err != nil {
		return err
	}
	defer in.close()
	err = in.initialiseWith(ctx, func() error {
		if err := in.runSteps(instrument.StartExport, abi.ExportInitialize); err != nil {
			return err
		}
		return in.scriptFault(kind.start(&in.ctx, in.mod, func(g engine.Guest) { in.script = g }))
	})
	if err != nil {
		return err
	}
	s.started = in.script.State()
	if s.base, err = newImage(e, in.mem, in.values()); err == nil {
		e.scriptBytes.Add(int64(s.base.size))
	}
	return err
}

// room reports an error where the engine alone takes more memory than the
// function may have.
func (s *script) room(limits function.Limits) error {
	if need := function.ByteSize(s.engine.base.size); need > limits.Memory {
		return fmt.Errorf("%s needs %s of memory before a script is loaded, limits.memory allows %s: raise it", s.kind.name, need, limits.Memory)
	}
	return nil
}

// loadScript loads the script, its top level included.
func (in *instance) loadScript() error {
	s := in.module.script
	return in.scriptFault(s.kind.load(&in.ctx, in.mod, s.engine.started, s.program, func(g engine.Guest) { in.script = g }))
}

// scriptFault puts what went wrong while a script was loaded into words.
func (in *instance) scriptFault(err error) error {
	var thrown *engine.Exception
	if err == nil {
		return nil
	}
	if errors.As(err, &thrown) {
		return &engine.Exception{Text: in.orMemoryText(thrown.Text)}
	}
	_, reason, _ := in.explain(err)
	return errors.New(reason)
}

// scriptCall serves a host call of a JavaScript function, under the rules of
// all host calls.
func (in *instance) scriptCall(op, ptr uint32) bool {
	guest, ok := in.script.(*quickjs.Guest)
	if !ok {
		return false
	}
	call, ok := quickjs.Call(op)
	if !ok {
		return false
	}
	in.burn(hostCallFuel)
	in.calls.Enter(call)
	in.abortIfAsked()
	stored := strings.HasPrefix(call.Name, "kv_") || strings.HasPrefix(call.Name, "blob_")
	if stored {
		in.burn(hostStateFuel)
	}
	moved := in.calls.BlobMoved()
	guest.HostCall(&in.ctx, in.ctx.Context, in.calls, op, ptr)
	in.abortIfAsked()
	in.burn((in.calls.BlobMoved() - moved) / 4)
	if stored || call.Name == "http_fetch" {
		in.checkTime()
	}
	return true
}

// pythonHost is an instance as the Python engine sees it.
type pythonHost instance

var _ micropython.Host = (*pythonHost)(nil)

// Python returns the instance's guest.
func (p *pythonHost) Python() *micropython.Guest { return p.script.(*micropython.Guest) }

// Now is the invocation's time, which stands still while the guest computes.
func (p *pythonHost) Now() time.Time { return p.calls.Now() }

// ReadRandom fills dst with the invocation's random.
func (p *pythonHost) ReadRandom(dst []byte) { p.calls.ReadRandom(dst) }

// Charge takes fuel.
func (p *pythonHost) Charge(fuel int64) { (*instance)(p).burn(fuel) }

// addPythonImports gives Python functions every call of the ABI, and those
// that only its glue makes. The caller holds compiling.
func addPythonImports(ctx context.Context, e *Engine) error {
	var calls []micropython.Call
	for i := range abi.Calls {
		c := &abi.Calls[i]
		calls = append(calls, micropython.Call{Name: c.Name, Params: valueTypes(c.Params), Results: valueTypes(c.Results), Func: hostFunction(c)})
	}
	for _, c := range pythonCalls {
		calls = append(calls, micropython.Call{Name: c.name, Params: c.params, Results: types("i"), Func: func(ctx context.Context, s []uint64) {
			in := instanceOf(ctx)
			in.burn(hostCallFuel)
			s[0] = uint64(c.body(in, s))
			in.abortIfAsked()
		}})
	}
	hostOf := func(ctx context.Context) micropython.Host { return (*pythonHost)(instanceOf(ctx)) }
	return micropython.AddImports(ctx, e.runtime, hostOf, calls)
}

// pythonCalls are host calls for the Python glue alone. They take part in
// neither effects nor answers, so headgate_init may make them too.
var pythonCalls = []wasiCall{
	// reason(dst, cap) says why the last call failed.
	{"reason", types("ii"), func(in *instance, s []uint64) uint32 {
		dst, ok := in.linear.Read(uint32(s[0]), uint32(s[1]))
		if !ok {
			return 0
		}
		return uint32(copy(dst, strings.ToValidUTF8(in.calls.Reason(), "?")))
	}},
	// config_json(dst, cap) is the function's whole config as one object.
	{"config_json", types("ii"), func(in *instance, s []uint64) uint32 {
		object := map[string]json.RawMessage{}
		in.calls.ConfigKeys(func(k string, v []byte) { object[k] = v })
		b, err := json.Marshal(object)
		if err != nil {
			b = []byte("{}")
		}
		if dst, ok := in.linear.Read(uint32(s[0]), min(uint32(s[1]), uint32(len(b)))); ok {
			copy(dst, b)
		}
		return uint32(len(b))
	}},
	// is_json(ptr, n) tells JSON from what the engine writes for values that
	// JSON does not have.
	{"is_json", types("ii"), func(in *instance, s []uint64) uint32 {
		b, ok := in.linear.Read(uint32(s[0]), uint32(s[1]))
		if !ok || !json.Valid(b) {
			return 0
		}
		in.burn(int64(len(b)))
		return 1
	}},
	// sleep_ms(n) lets time pass.
	{"sleep_ms", types("i"), func(in *instance, s []uint64) uint32 {
		in.sleep(time.Duration(max(0, int32(uint32(s[0])))) * time.Millisecond)
		return 0
	}},
}
