package micropython

import (
	"context"
	"errors"
	"strings"

	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental/table"

	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// stackGlobal is the engine's stack pointer, as the rewriter exports it.
const stackGlobal = "headgate.internal.global.0"

// state is where things lie in a booted engine.
type state struct {
	// references to functions of the glue
	run, settle, rest uint32

	out   uint32 // a value, for results
	files *files
	open  []openFile // left open by the top level
}

// Guest is one instance of a booted engine.
type Guest struct {
	state      *state
	mod        api.Module
	sp, weight api.MutableGlobal
	call       api.Function
	threw      api.Function
	open       []openFile
	// free are functions of the module's table, by index, that no call uses.
	free  []*pointer
	stack [8]uint64
}

// pointer is a function that is called through the table. Each has a native
// stack of its own, so a nested call of the same function needs another.
type pointer struct {
	function api.Function
	stack    [6]uint64
	next     *pointer
}

var (
	_ engine.Guest      = (*Guest)(nil)
	_ engine.State      = (*state)(nil)
	_ engine.FileReader = (*Guest)(nil)
)

// State returns where things lie, for instances made from the same image.
func (g *Guest) State() engine.State { return g.state }

// Bind makes the Guest of an instance that starts from the clean state.
func (s *state) Bind(mod api.Module) engine.Guest { return s.bind(mod) }

func (s *state) bind(mod api.Module) *Guest {
	g := &Guest{state: s, mod: mod}
	g.sp, _ = mod.ExportedGlobal(stackGlobal).(api.MutableGlobal)
	g.weight, _ = mod.ExportedGlobal(instrument.StackExport).(api.MutableGlobal)
	g.call, g.threw = mod.ExportedFunction("proxy_c_to_js_call"), mod.ExportedFunction("setThrew")
	return g
}

// Overflowed reports whether the C stack was outgrown: it lies first, so its
// pointer went below zero.
func (g *Guest) Overflowed() bool { return int32(uint32(g.sp.Get())) < 0 }

// Handle runs the handler on the current event.
func (g *Guest) Handle(ctx context.Context, _ func() string) error {
	g.open = append(g.open[:0], g.state.open...)
	g.stack = [8]uint64{uint64(g.state.run), 0, 0, uint64(g.state.out)}
	if err := g.call.CallWithStack(ctx, g.stack[:]); err != nil {
		return err
	}
	return g.thrown(g.state.out)
}

// thrown is the exception in the value at ptr, nil when it holds another.
func (g *Guest) thrown(ptr uint32) error {
	v := g.value(ptr)
	if v.kind != fromException {
		return nil
	}
	kind, trace, _ := strings.Cut(string(g.bytes(v.b, v.a)), "\x04")
	return &engine.Exception{Text: g.state.files.explain(kind, trace)}
}

// trap ends a call that cannot go on. What it wraps keeps its own trace: each
// of many nested calls would add one more.
type trap struct {
	text string
	err  error
}

func (t *trap) Error() string {
	if t.err != nil {
		return t.err.Error()
	}
	return t.text
}

func (t *trap) Unwrap() error { return t.err }

func (g *Guest) bytes(ptr, n uint32) []byte {
	b, ok := g.mod.Memory().Read(ptr, n)
	if !ok {
		panic(&trap{text: "the script engine passed a pointer outside its memory"})
	}
	return b
}

var errLongjmp = errors.New("longjmp outside of a call")

// invoke calls function s[0] of the table with the rest of s, and returns
// after a longjmp out of it with its mark set.
func (g *Guest) invoke(ctx context.Context, t *invokeType, s []uint64) {
	index := uint32(s[0])
	p := g.take(index, t)
	sp, weight := g.sp.Get(), g.weight.Get()
	copy(p.stack[:], s[1:1+len(t.params)])
	err := p.function.CallWithStack(ctx, p.stack[:])
	p.next, g.free[index] = g.free[index], p
	if err == nil {
		if len(t.results) > 0 {
			s[0] = p.stack[0]
		}
		return
	}
	if !errors.Is(err, errLongjmp) {
		var inner *trap
		if !errors.As(err, &inner) {
			inner = &trap{err: err}
		}
		panic(inner)
	}
	g.sp.Set(sp)
	g.weight.Set(weight)
	threw := [2]uint64{1, 0}
	if err := g.threw.CallWithStack(ctx, threw[:]); err != nil {
		panic(err)
	}
	if len(t.results) > 0 {
		s[0] = 0
	}
}

// take returns a function of the table that no call uses.
func (g *Guest) take(index uint32, t *invokeType) *pointer {
	if index < uint32(len(g.free)) {
		if p := g.free[index]; p != nil {
			g.free[index] = p.next
			return p
		}
	}
	// It panics where call_indirect would trap.
	p := &pointer{function: table.LookupFunction(g.mod, 0, index, t.params, t.results)}
	if index >= uint32(len(g.free)) {
		g.free = append(g.free, make([]*pointer, int(index)+1-len(g.free))...)
	}
	return p
}
