package quickjs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/sandbox/engine"
)

// Flags of JS_Eval.
const (
	evalModule  = 1 << 0
	evalCompile = 1 << 5
)

// Tags of a JSValue, which are its upper 32 bits.
const (
	tagString    = -7
	tagModule    = -3
	tagObject    = -1
	tagUndefined = 3
	tagException = 6
)

const undefined = uint64(tagUndefined) << 32

func tag(v uint64) int32 { return int32(v >> 32) }

const (
	// StackBytes is the C stack that scripts get. The build's own 64 KiB lie
	// right above its data and allow few nested calls; and it has no check of
	// its own, so the rewriter guards the stack pointer.
	StackBytes = 512 << 10
	// gcThreshold is how large the heap grows before cycles are collected.
	gcThreshold = 2 << 20
	// stackGlobal is the engine's stack pointer, as the rewriter exports it.
	stackGlobal = "headgate.internal.global.0"
	// lowGlobal is the end of the stack.
	lowGlobal = "headgate.internal.low"
)

// State is where things lie in a booted engine. It is the same in every
// instance that starts from the same clean state.
type State struct {
	runtime, context uint32
	args             uint64 // the array that carries arguments
	run, finish      uint64
	scratch          uint32 // 16 bytes for out parameters
	low              uint32 // the end of the stack
}

// Guest is one instance of a booted engine.
type Guest struct {
	state  *State
	mod    api.Module
	sp     api.MutableGlobal
	outer  struct{ call, pending api.Function }
	nested functions // for calls made from inside a host call
	stack  [8]uint64
}

// functions are the exports that host calls need. Each has a native stack of
// its own, of 10 KiB at first.
type functions struct {
	getIndex, setIndex, toCString, freeCString, freeValue,
	newString, newBytes, getBytes, malloc, free api.Function
}

func bindFunctions(mod api.Module) functions {
	f := mod.ExportedFunction
	return functions{
		getIndex: f("JS_GetPropertyUint32"), setIndex: f("JS_SetPropertyUint32"),
		toCString: f("JS_ToCStringLen2"), freeCString: f("JS_FreeCString"), freeValue: f("JS_FreeValue"),
		newString: f("JS_NewStringLen"), newBytes: f("JS_NewUint8ArrayCopy"), getBytes: f("JS_GetUint8Array"),
		malloc: f("malloc"), free: f("free"),
	}
}

var (
	_ engine.Guest = (*Guest)(nil)
	_ engine.State = (*State)(nil)
)

// State returns where things lie, for instances made from the same image.
func (g *Guest) State() engine.State { return g.state }

// Bind makes the Guest of an instance that starts from the clean state.
func (s *State) Bind(mod api.Module) engine.Guest { return s.bind(mod) }

func (s *State) bind(mod api.Module) *Guest {
	g := &Guest{state: s, mod: mod, nested: bindFunctions(mod)}
	g.outer.call, g.outer.pending = mod.ExportedFunction("JS_Call"), mod.ExportedFunction("JS_ExecutePendingJob")
	g.sp, _ = mod.ExportedGlobal(stackGlobal).(api.MutableGlobal)
	if low, ok := mod.ExportedGlobal(lowGlobal).(api.MutableGlobal); ok {
		low.Set(uint64(s.low))
	}
	return g
}

// Overflowed reports whether the script nested its calls deeper than its
// stack. It is asked after a trap, before anything is restored.
func (g *Guest) Overflowed() bool { return g.sp != nil && uint32(g.sp.Get()) < g.state.low }

// booter makes calls by name while an engine boots.
type booter struct {
	ctx   context.Context
	mod   api.Module
	guest *Guest
	err   error
}

// call calls an export. After the first error it does nothing.
func (b *booter) call(name string, params ...uint64) uint64 {
	if b.err != nil {
		return 0
	}
	f := b.mod.ExportedFunction(name)
	if f == nil {
		b.err = fmt.Errorf("engine export %s is missing", name)
		return 0
	}
	results, err := f.Call(b.ctx, params...)
	if err != nil {
		b.err = err
		return 0
	}
	if len(results) == 0 {
		return 0
	}
	return results[0]
}

// bytes copies data into the engine, with a NUL behind it.
func (b *booter) bytes(data []byte) uint64 {
	p := b.call("malloc", uint64(len(data)+1))
	if b.err != nil {
		return 0
	}
	m := b.mod.Memory()
	if p == 0 || !m.Write(uint32(p), data) || !m.WriteByte(uint32(p)+uint32(len(data)), 0) {
		b.err = errNoMemory
		return 0
	}
	return p
}

var errNoMemory = &engine.Exception{Text: "out of memory while the script was loaded: raise limits.memory"}

// Start starts the engine in a fresh instance and evaluates the glue. What it
// leaves is what every script's instance starts from. link is told the guest
// before the first call to the host.
func Start(ctx context.Context, mod api.Module, link func(engine.Guest)) error {
	b := &booter{ctx: ctx, mod: mod}
	s := &State{low: b.moveStack(), scratch: uint32(b.call("malloc", 64))}
	s.runtime = uint32(b.call("JS_NewRuntime"))
	rt := uint64(s.runtime)
	b.call("js_std_init_handlers", rt)
	s.context = uint32(b.call("JS_NewContext", rt))
	if b.err == nil && (s.context == 0 || s.scratch == 0) {
		b.err = errNoMemory
	}
	b.call("js_init_module_os", uint64(s.context), b.bytes([]byte("headgate:os")))
	if b.err != nil {
		return b.err
	}
	b.guest = s.bind(mod)
	link(b.guest)
	return b.loadGlue(s)
}

// Load evaluates a script in an instance that starts as Start left it.
func Load(ctx context.Context, mod api.Module, started engine.State, p engine.Program, link func(engine.Guest)) error {
	s := started.(*State)
	b := &booter{ctx: ctx, mod: mod, guest: s.bind(mod)}
	link(b.guest)
	return b.load(s, p)
}

// moveStack gives the engine a larger stack on its own heap.
func (b *booter) moveStack() uint32 {
	g, ok := b.mod.ExportedGlobal(stackGlobal).(api.MutableGlobal)
	if !ok {
		b.err = errors.New("the engine's stack pointer is missing")
		return 0
	}
	low, ok := b.mod.ExportedGlobal(lowGlobal).(api.MutableGlobal)
	if !ok {
		b.err = errors.New("the engine's stack guard is missing")
		return 0
	}
	p := b.call("malloc", StackBytes)
	if p == 0 && b.err == nil {
		b.err = errNoMemory
	}
	g.Set((p + StackBytes) &^ 15)
	low.Set(p)
	return uint32(p)
}

// loadGlue evaluates the glue, and finds what the guest calls.
func (b *booter) loadGlue(s *State) error {
	c := uint64(s.context)
	mod, err := b.compile(s, "headgate:glue", glue)
	if err == nil {
		_, err = b.evaluate(s, "headgate:glue", mod)
	}
	if err != nil {
		return err
	}
	hub := b.hub(c)
	s.args = b.property(c, hub, "args")
	s.run, s.finish = b.property(c, hub, "run"), b.property(c, hub, "finish")
	return b.err
}

// hub is the object by which glue and script are joined. It is gone when a
// script was adopted.
func (b *booter) hub(c uint64) uint64 {
	return b.property(c, b.call("JS_GetGlobalObject", c), "__headgate")
}

// load evaluates the script and hands its exports to the glue.
func (b *booter) load(s *State, p engine.Program) error {
	c := uint64(s.context)
	adopt := b.property(c, b.hub(c), "adopt")
	if err := b.loadExtensions(s, p); err != nil {
		return err
	}
	mod, err := b.compileFile(s, p, p.Main, nil)
	if err != nil {
		return err
	}
	exports, err := b.evaluate(s, p.Main, mod)
	if err != nil {
		return err
	}
	m := b.mod.Memory()
	if b.err == nil && !m.WriteUint64Le(s.scratch, exports) {
		b.err = errNoMemory
	}
	r := b.call("JS_Call", c, adopt, undefined, 1, uint64(s.scratch))
	if b.err == nil && tag(r) == tagException {
		return b.thrown(s, p.Main)
	}
	// What loading left behind goes now. The engine's own threshold is below
	// what a loaded script holds, so it would look for garbage in every event.
	b.call("JS_RunGC", uint64(s.runtime))
	b.call("JS_SetGCThreshold", uint64(s.runtime), gcThreshold)
	return b.err
}

// loadExtensions evaluates the parts of the glue that the files name.
func (b *booter) loadExtensions(s *State, p engine.Program) error {
	for _, x := range extensions {
		named := func(file string) bool { return path.Ext(file) != ".json" && x.named.Match(p.Files[file]) }
		if !slices.ContainsFunc(slices.Collect(maps.Keys(p.Files)), named) {
			continue
		}
		mod, err := b.compile(s, x.file, x.source)
		if err == nil {
			_, err = b.evaluate(s, x.file, mod)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *booter) property(c, object uint64, name string) uint64 {
	p := b.bytes([]byte(name))
	v := b.call("JS_GetPropertyStr", c, object, p)
	b.call("free", p)
	return v
}

// compile makes a module of source, which must import only what was compiled
// before it.
func (b *booter) compile(s *State, file string, source []byte) (uint64, error) {
	src, name := b.bytes(source), b.bytes([]byte(file))
	mod := b.call("JS_Eval", uint64(s.context), src, uint64(len(source)), name, evalModule|evalCompile)
	b.call("free", src)
	b.call("free", name)
	if b.err == nil && tag(mod) == tagException {
		return 0, b.thrown(s, file)
	}
	return mod, b.err
}

// evaluate runs a compiled module, top-level await included, and returns its
// namespace.
func (b *booter) evaluate(s *State, file string, mod uint64) (uint64, error) {
	c := uint64(s.context)
	promise := b.call("JS_EvalFunction", c, mod)
	if b.err == nil && tag(promise) == tagException {
		return 0, b.thrown(s, file)
	}
	if b.err == nil {
		b.err = b.guest.runJobs(b.ctx)
	}
	const pending, rejected = 0, 2
	switch state := int32(b.call("JS_PromiseState", c, promise)); {
	case b.err != nil:
		return 0, b.err
	case state == rejected:
		return 0, b.describe(s, b.call("JS_PromiseResult", c, promise), file)
	case state == pending:
		return 0, &engine.Exception{Text: file + ": a top-level await never settles"}
	}
	return b.call("JS_GetModuleNamespace", c, uint64(uint32(mod))), b.err
}

func (b *booter) thrown(s *State, file string) error {
	return b.describe(s, b.call("JS_GetException", uint64(s.context)), file)
}

// describe turns an error value into an Exception with its place.
func (b *booter) describe(s *State, v uint64, file string) error {
	c := uint64(s.context)
	text := b.text(s, v)
	if tag(v) == tagObject {
		stack := b.property(c, v, "stack")
		if tag(stack) == tagString {
			for line := range strings.SplitSeq(b.text(s, stack), "\n") {
				if line = strings.TrimPrefix(strings.TrimSpace(line), "at "); strings.Contains(line, file) {
					text += " at " + line
					break
				}
			}
		}
	}
	if b.err != nil {
		return b.err
	}
	return &engine.Exception{Text: text}
}

func (b *booter) text(s *State, v uint64) string {
	p := b.call("JS_ToCStringLen2", uint64(s.context), uint64(s.scratch), v, 0)
	m := b.mod.Memory()
	n, _ := m.ReadUint32Le(s.scratch)
	raw, ok := m.Read(uint32(p), n)
	if b.err != nil || p == 0 || !ok {
		return "unknown error"
	}
	text := string(raw)
	b.call("JS_FreeCString", uint64(s.context), p)
	return text
}
