package micropython

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/headgate-io/headgate/sandbox/engine"
)

const (
	// StackBytes is the C stack that the build has. The engine refuses deep
	// recursion before it is used up.
	StackBytes = 64 << 10
	// MinMemoryBytes is the least memory that a function needs.
	MinMemoryBytes = 768 << 10
	// frameWords is the stack of Python frames, in words.
	frameWords = 4096
	// heapBytes is the heap at the start. The engine does not collect garbage
	// while a handler runs, it doubles the heap; an instance whose memory grew
	// is replaced after the event. Doubled again and again it just fits into
	// memories of 1, 2, 4, … MiB.
	heapBytes = 472 << 10
)

// loadError is what the glue raises when it cannot use the author's file.
const loadError = "LoadError"

// booter makes calls by name while an engine boots.
type booter struct {
	ctx   context.Context
	guest *Guest
	err   error
}

// call calls an export. After the first error it does nothing.
func (b *booter) call(name string, params ...uint64) uint32 {
	if b.err != nil {
		return 0
	}
	f := b.guest.mod.ExportedFunction(name)
	if f == nil {
		b.err = fmt.Errorf("engine export %s is missing", name)
		return 0
	}
	results, err := f.Call(b.ctx, params...)
	if err != nil {
		b.err = err
	}
	if err != nil || len(results) == 0 {
		return 0
	}
	return uint32(results[0])
}

var errNoMemory = &engine.Exception{Text: "out of memory while the script was loaded: raise limits.memory"}

// text copies text into the engine, with a NUL behind it.
func (b *booter) text(text string) uint64 {
	p := b.call("malloc", uint64(len(text)+1))
	if b.err != nil {
		return 0
	}
	if p == 0 {
		b.err = errNoMemory
		return 0
	}
	copy(b.guest.bytes(p, uint32(len(text)+1)), text+"\x00")
	return uint64(p)
}

// run runs Python source that is the engine's own.
func (b *booter) run(source string) {
	p := b.text(source)
	out := uint64(b.guest.state.out)
	b.call("mp_js_do_exec", p, uint64(len(source)), out)
	b.call("free", p)
	b.check()
}

// check turns an exception in the result into the error.
func (b *booter) check() {
	if b.err == nil {
		b.err = b.guest.thrown(b.guest.state.out)
	}
}

// Start starts the engine in a fresh instance, without a script. What it
// leaves is what every script's instance starts from.
func Start(ctx context.Context, mod api.Module, link func(engine.Guest)) error {
	s := &state{files: newFiles("", nil, libraryFiles())}
	b := &booter{ctx: ctx, guest: s.bind(mod)}
	if b.guest.sp == nil || b.guest.weight == nil {
		return errors.New("the engine's stack pointer is missing")
	}
	link(b.guest)
	b.call("emscripten_stack_init")
	b.call("__wasm_call_ctors")
	b.call("mp_js_init", frameWords, heapBytes)
	b.call("proxy_c_init")
	s.out = b.call("malloc", valueBytes)
	if b.err == nil && s.out == 0 {
		b.err = errNoMemory
	}
	if b.err != nil {
		return b.err
	}
	b.guest.setValue(s.out, toObject, hostModule)
	b.call("mp_js_register_js_module", b.text("_host"), uint64(s.out))
	b.run("import sys\nsys.path[:] = ['" + libraryDir + "', '.frozen']\nimport headgate\n")
	s.run = b.find("_run")
	s.settle, s.rest = b.find("_settle"), b.find("_rest")
	b.settle()
	return b.err
}

// Load imports a script in an instance that starts as Start left it. link is
// told the guest before the first call to the host.
func Load(ctx context.Context, mod api.Module, started engine.State, p engine.Program, link func(engine.Guest)) error {
	stem := strings.TrimSuffix(path.Base(p.Main), path.Ext(p.Main))
	if strings.Contains(stem, ".") {
		return &engine.Exception{Text: p.Main + ": Python cannot import a file with a dot in its name: rename it"}
	}
	s := *started.(*state)
	s.files = newFiles(p.Main, p.Files, libraryFiles())
	b := &booter{ctx: ctx, guest: s.bind(mod)}
	link(b.guest)
	b.run(fmt.Sprintf("headgate._load(%s, %s)\n", strconv.Quote(p.Main), strconv.Quote(stem)))
	b.settle()
	s.open = append([]openFile(nil), b.guest.open...)
	return b.err
}

// settle makes the heap ready for what follows. A collection that was asked
// for happens at the next call from outside: so the last one is here and not
// in an event, and nothing is compiled in between.
func (b *booter) settle() {
	for _, step := range [...]uint32{b.guest.state.settle, b.guest.state.settle, b.guest.state.rest} {
		b.call("proxy_c_to_js_call", uint64(step), 0, 0, uint64(b.guest.state.out))
		b.check()
	}
}

// find looks a function of the glue up and keeps a reference to it.
func (b *booter) find(name string) uint32 {
	out := b.guest.state.out
	b.call("mp_js_do_import", b.text("headgate"), uint64(out))
	b.check()
	if b.err != nil {
		return 0
	}
	b.call("proxy_c_to_js_lookup_attr", uint64(b.guest.value(out).a), b.text(name), uint64(out))
	b.check()
	if b.err != nil {
		return 0
	}
	v := b.guest.value(out)
	if v.kind != fromCallable {
		b.err = fmt.Errorf("the engine has no function headgate.%s", name)
	}
	return v.a
}
