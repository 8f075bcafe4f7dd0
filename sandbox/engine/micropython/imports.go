package micropython

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Host is what the engine's imports need of the sandbox.
type Host interface {
	// Python returns the guest that runs.
	Python() *Guest
	Now() time.Time
	ReadRandom(dst []byte)
	// Charge takes fuel for what the host does.
	Charge(fuel int64)
}

// Fuel that imports cost.
const (
	invokeFuel = 20
	hostFuel   = 100
)

const (
	i32 = api.ValueTypeI32
	f64 = api.ValueTypeF64
)

// imports are the engine's imports, in the making.
type imports struct {
	builder wazero.HostModuleBuilder
	hostOf  func(context.Context) Host
	calls   []Call
}

// ImportModule is the module that the engine imports from.
const ImportModule = "env"

// AddImports defines the module env. hostOf finds the host that a call
// belongs to; calls are what scripts may call.
func AddImports(ctx context.Context, r wazero.Runtime, hostOf func(context.Context) Host, calls []Call) error {
	m := &imports{r.NewHostModuleBuilder(ImportModule), hostOf, calls}
	m.addInvokes()
	m.addObjects()
	m.addSystem()
	m.addFiles()
	if _, err := m.builder.Instantiate(ctx); err != nil {
		return fmt.Errorf("define env: %w", err)
	}
	return nil
}

func words(n int) []api.ValueType {
	types := make([]api.ValueType, n)
	for i := range types {
		types[i] = i32
	}
	return types
}

// add defines a function of params words that returns results words.
func (m *imports) add(name string, params, results int, f func(g *Guest, s []uint64)) {
	m.builder.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
		h := m.hostOf(ctx)
		h.Charge(hostFuel)
		f(h.Python(), s)
	}), words(params), words(results)).Export(name)
}

// invokeType is the type of a function that is called through a pointer.
type invokeType struct{ params, results []api.ValueType }

func (m *imports) addInvokes() {
	// The names spell the type: v or i for the result, an i a parameter.
	for _, spelled := range []string{"i", "ii", "iii", "iiii", "iiiii", "iiiiii", "v", "vi", "vii", "viii", "viiii"} {
		t := &invokeType{params: words(len(spelled) - 1)}
		if spelled[0] == 'i' {
			t.results = words(1)
		}
		m.builder.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
			h := m.hostOf(ctx)
			h.Charge(invokeFuel)
			h.Python().invoke(ctx, t, s)
		}), words(len(spelled)), t.results).Export("invoke_" + spelled)
	}
	m.builder.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(context.Context, []uint64) {
		panic(errLongjmp)
	}), nil, nil).Export("_emscripten_throw_longjmp")
}

// addObjects defines the calls on JavaScript objects. There are the module of
// host calls, and the calls.
func (m *imports) addObjects() {
	find := func(g *Guest, ref, name uint64) int {
		if uint32(ref) != hostModule {
			return -1
		}
		wanted := g.cString(uint32(name))
		for i := range m.calls {
			if m.calls[i].Name == wanted {
				return i
			}
		}
		return -1
	}
	m.add("has_attr", 2, 1, func(g *Guest, s []uint64) {
		s[0] = uint64(min(1, find(g, s[0], s[1])+1))
	})
	m.add("lookup_attr", 3, 1, func(g *Guest, s []uint64) {
		i := find(g, s[0], s[1])
		if i < 0 {
			s[0] = 0
			return
		}
		g.setValue(uint32(s[2]), toObject, uint64(firstCall+i))
		s[0] = 1
	})
	m.addCall("call0", 2, 0, func(s []uint64) ([]uint32, uint64) { return nil, s[1] })
	m.addCall("call1", 4, 1, func(s []uint64) ([]uint32, uint64) { return []uint32{uint32(s[2])}, s[3] })
	m.addCall("call2", 5, 1, func(s []uint64) ([]uint32, uint64) { return []uint32{uint32(s[2]), uint32(s[3])}, s[4] })
	m.addCall("calln", 5, 1, func(s []uint64) ([]uint32, uint64) {
		args := make([]uint32, min(uint32(s[2]), maxArgs))
		for i := range args {
			args[i] = uint32(s[3]) + uint32(i)*valueBytes
		}
		return args, s[4]
	})
	m.add("js_check_existing", 1, 1, func(_ *Guest, s []uint64) { s[0] = uint64(^uint32(0)) })
	m.add("proxy_js_free_obj", 1, 0, func(*Guest, []uint64) {})
	// Nothing leads to these.
	unreachable := map[string][2]int{
		"proxy_convert_mp_to_js_then_js_to_mp_obj_jsside":               {1, 0},
		"proxy_convert_mp_to_js_then_js_to_js_then_js_to_mp_obj_jsside": {1, 0},
		"js_get_proxy_js_ref_info":                                      {1, 0}, "call0_kwarg": {6, 0}, "calln_kwarg": {8, 0}, "store_attr": {3, 0},
		"js_subscr_load": {3, 0}, "js_subscr_store": {3, 0}, "js_get_iter": {2, 0}, "js_reflect_construct": {4, 0},
		"js_iter_next": {2, 1}, "js_get_error_info": {3, 0}, "js_then_resolve": {2, 0},
		"create_promise": {2, 0}, "js_then_continue": {5, 0}, "js_then_reject": {2, 0},
	}
	for name, arity := range unreachable {
		m.add(name, arity[0], arity[1], func(*Guest, []uint64) {
			panic(&trap{text: "there is no JavaScript here: the modules js and jsffi are of no use"})
		})
	}
}

// maxArgs is more than any host call has.
const maxArgs = 16

// addCall defines one form of calling object s[0]; values says where its
// arguments and its result are.
func (m *imports) addCall(name string, params, results int, values func(s []uint64) (args []uint32, out uint64)) {
	m.builder.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
		g := m.hostOf(ctx).Python()
		i := uint32(s[0]) - firstCall
		if i >= uint32(len(m.calls)) {
			panic(&trap{text: "the script engine called an object that is no function"})
		}
		args, out := values(s)
		c := &m.calls[i]
		var stack [maxArgs]uint64
		g.load(c, stack[:], args)
		c.Func(ctx, stack[:])
		g.store(c, stack[0], uint32(out))
		if results > 0 {
			s[0] = 0
		}
	}), words(params), words(results)).Export(name)
}

// cString is the text at ptr up to its NUL.
func (g *Guest) cString(ptr uint32) string {
	size := g.mod.Memory().Size()
	b := g.bytes(ptr, min(maxPathBytes, size-min(ptr, size)))
	if i := bytes.IndexByte(b, 0); i >= 0 {
		b = b[:i]
	}
	return string(b)
}

// addSystem defines clock, random and memory.
func (m *imports) addSystem() {
	define := func(name string, params, results []api.ValueType, f func(h Host, s []uint64)) {
		m.builder.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(ctx context.Context, s []uint64) {
			h := m.hostOf(ctx)
			h.Charge(hostFuel)
			f(h, s)
		}), params, results).Export(name)
	}
	define("mp_js_random_u32", nil, words(1), func(h Host, s []uint64) {
		var b [4]byte
		h.ReadRandom(b[:])
		s[0] = uint64(binary.LittleEndian.Uint32(b[:]))
	})
	define("mp_js_ticks_ms", nil, words(1), func(h Host, s []uint64) { s[0] = uint64(uint32(h.Now().UnixMilli())) })
	define("mp_js_time_ms", nil, []api.ValueType{f64}, func(h Host, s []uint64) {
		s[0] = math.Float64bits(float64(h.Now().UnixMilli()))
	})
	m.add("emscripten_resize_heap", 1, 1, func(g *Guest, s []uint64) {
		memory := g.mod.Memory()
		want, have := uint64(uint32(s[0])), uint64(memory.Size())
		const page = 64 << 10
		ok := true
		if want > have {
			_, ok = memory.Grow(uint32((want - have + page - 1) / page))
		}
		s[0] = 0
		if ok {
			s[0] = 1
		}
	})
	m.add("_abort_js", 0, 0, func(*Guest, []uint64) {
		panic(&trap{text: "the script engine gave up: it had no memory left to say why"})
	})
}
