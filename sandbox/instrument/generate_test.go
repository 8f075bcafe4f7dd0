package instrument_test

import (
	"strconv"

	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// generator turns bytes into a valid module, so that a fuzzer explores
// programs instead of syntax errors. Every loop counts down.
type generator struct {
	data  []byte
	m     *Builder
	funcs []genFunc // callable: those made before
	size  int
}

type genFunc struct {
	index           uint32
	params, results string
}

const (
	genLocals = 4 // i32 locals behind the parameters; two more count loops
	genPage   = 65536
)

func (g *generator) next(n int) int {
	if len(g.data) == 0 {
		return 0
	}
	b := g.data[0]
	g.data = g.data[1:]
	return int(b) % n
}

// generate makes a module with a function "run" of type (i32) -> (i32).
func generate(data []byte) []byte {
	g := &generator{data: data, m: New(1)}
	g.m.Global('i', I32(5))
	g.m.Global('l', I64(6))
	shapes := []struct{ params, results string }{{"", ""}, {"i", "i"}, {"ii", "ii"}, {"", "i"}}
	for range 1 + g.next(4) {
		s := shapes[g.next(len(shapes))]
		g.function(s.params, s.results)
	}
	run := g.function("i", "i")
	var table []uint32
	for _, f := range g.funcs {
		if f.params == "i" && f.results == "i" && f.index != run {
			table = append(table, f.index)
		}
	}
	g.m.Table(8, table...)
	g.m.Passive("passive data")
	g.m.Export("run", run)
	g.m.ExportGlobal("a", 0)
	g.m.ExportGlobal("b", 1)
	return g.m.Bytes()
}

func (g *generator) function(params, results string) uint32 {
	g.size = 60
	base := len(params)
	body := g.statements(base, 3)
	for range results {
		body = append(body, g.value(base, 2)...)
	}
	locals := "iiiiiiii"[:genLocals+4]
	f := g.m.Func(params, results, locals, body)
	g.funcs = append(g.funcs, genFunc{f, params, results})
	g.m.Export("f"+strconv.Itoa(int(f)), f) // so that ref.func may name it
	return f
}

func (g *generator) local(base int) uint32 { return uint32(g.next(base + genLocals)) }

func (g *generator) statements(base, depth int) Code {
	var out Code
	for range 1 + g.next(5) {
		if g.size--; g.size < 0 {
			break
		}
		out = append(out, g.statement(base, depth)...)
	}
	return out
}

func (g *generator) statement(base, depth int) Code {
	kind := g.next(20)
	if depth == 0 {
		kind %= 8
	}
	switch kind {
	case 0:
		return Join(g.value(base, 2), LocalSet(g.local(base)))
	case 1:
		return Join(g.value(base, 2), GlobalSet(0))
	case 2:
		return Join(GlobalGet(1), I64(int64(g.next(256))), Op(0x7c), GlobalSet(1))
	case 3:
		return Join(g.address(base), g.value(base, 2), Store32(0))
	case 4:
		return Join(g.address(base), g.value(base, 1), I32(int32(g.next(64))), MemoryFill)
	case 5:
		return Join(g.address(base), g.address(base), I32(int32(g.next(64))), MemoryCopy)
	case 6:
		return g.call(base)
	case 7:
		return Join(I32(int32(g.next(200))), I32(int32(g.next(16))), I32(int32(g.next(16))), Op(0xfc, 8, 0, 0)) // memory.init, may trap
	case 8, 9:
		return Join(g.value(base, 2), Op(0x04, 0x40), g.statements(base, depth-1), Op(0x05), g.statements(base, depth-1), Op(0x0b))
	case 10:
		return Join(g.value(base, 2), If(g.statements(base, depth-1)))
	case 11:
		return Block(g.statements(base, depth-1), g.value(base, 1), BrIf(0), g.statements(base, depth-1))
	case 12:
		return Block(Block(g.value(base, 1), Op(0x0e, 1, 0, 1)), g.statements(base, depth-1))
	case 13:
		return Join(g.value(base, 1), Op(0x04, 0x7f), g.value(base, 1), Op(0x05), g.value(base, 1), Op(0x0b), Drop)
	case 14, 15, 16:
		return g.further(base, depth)
	default:
		return g.loop(base, depth)
	}
}

// loop runs its body a few times; depth picks a counter of its own. The odd
// kind carries an operand around.
func (g *generator) loop(base, depth int) Code {
	counter := uint32(base + genLocals + depth)
	n := I32(int32(1 + g.next(4)))
	count := Join(LocalGet(counter), I32(1), Sub, Op(0x22), U32(counter))
	if g.next(2) == 0 {
		return Join(n, LocalSet(counter), Loop(g.statements(base, depth-1), count, BrIf(0)))
	}
	t := byte(g.m.Type("i", "i"))
	return Join(n, LocalSet(counter), I32(3), Op(0x03, t), I32(1), Add, g.statements(base, depth-1), count, BrIf(0), Op(0x0b), LocalSet(g.local(base)))
}

// address leaves an address well inside memory.
func (g *generator) address(base int) Code {
	return Join(g.value(base, 1), I32(genPage-256), Op(0x70)) // rem_u
}

func (g *generator) call(base int) Code {
	if len(g.funcs) == 0 {
		return Op(0x01)
	}
	f := g.funcs[g.next(len(g.funcs))]
	var out Code
	for range f.params {
		out = append(out, g.value(base, 1)...)
	}
	out = append(out, Call(f.index)...)
	for range f.results {
		out = append(out, Drop...)
	}
	return out
}

func (g *generator) value(base, depth int) Code {
	kind := g.next(15)
	if depth == 0 {
		kind %= 4
	}
	switch kind {
	case 0:
		return I32(int32(g.next(256)) - 100)
	case 1, 2:
		return LocalGet(g.local(base))
	case 3:
		return GlobalGet(0)
	case 4, 5:
		op := []byte{0x6a, 0x6b, 0x6c, 0x6e, 0x71, 0x72, 0x73, 0x74, 0x48, 0x4d}[g.next(10)] // div_u may trap
		return Join(g.value(base, depth-1), g.value(base, depth-1), Op(op))
	case 6:
		return Join(g.address(base), Load32(0))
	case 7:
		return MemorySize
	case 9, 10, 11, 12:
		return g.narrowed(base, depth)
	case 13:
		return g.referring(base)
	case 8:
		return Join(g.value(base, depth-1), I32(int32(g.next(9))), Op(0x11, byte(g.m.Type("i", "i")), 0)) // may trap
	default:
		return Join(g.value(base, depth-1), g.value(base, depth-1), g.value(base, depth-1), Op(0x1b))
	}
}
