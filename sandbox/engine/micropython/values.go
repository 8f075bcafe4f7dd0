package micropython

import (
	"encoding/binary"
	"math"

	"github.com/tetratelabs/wazero/api"
)

// A value that crosses the engine's border is three words: a kind, and what
// the kind says. Numbers of kinds differ by direction.
const valueBytes = 12

const (
	fromException = -1
	fromNone      = 1
	fromBool      = 2
	fromInt       = 3
	fromFloat     = 4
	fromString    = 5
	fromCallable  = 6

	toInt    = 3
	toDouble = 4
	toObject = 7
)

// References to JavaScript objects: the module of host calls, and the calls.
const (
	hostModule = 2
	firstCall  = 16
)

// Call is a host call that scripts reach by name.
type Call struct {
	Name            string
	Params, Results []api.ValueType
	// Func takes its parameters from the stack and leaves its result there.
	Func api.GoFunc
}

type value struct {
	kind int32
	a, b uint32
}

func (g *Guest) value(ptr uint32) value {
	m := g.bytes(ptr, valueBytes)
	return value{int32(binary.LittleEndian.Uint32(m)), binary.LittleEndian.Uint32(m[4:]), binary.LittleEndian.Uint32(m[8:])}
}

func (g *Guest) setValue(ptr uint32, kind int32, payload uint64) {
	m := g.bytes(ptr, valueBytes)
	binary.LittleEndian.PutUint32(m, uint32(kind))
	binary.LittleEndian.PutUint64(m[4:], payload)
}

func (v value) float() float64 {
	if v.kind == fromFloat {
		return math.Float64frombits(uint64(v.b)<<32 | uint64(v.a))
	}
	return float64(int32(v.a))
}

// load puts the values at args onto the stack of a call. A string counts as
// two parameters, its address and length, so that it need not be copied.
func (g *Guest) load(c *Call, stack []uint64, args []uint32) {
	n := 0
	push := func(v uint64) {
		if n == len(c.Params) {
			panic(&trap{text: c.Name + ": too many arguments"})
		}
		stack[n] = v
		n++
	}
	for _, at := range args {
		switch v := g.value(at); {
		case v.kind == fromString:
			push(uint64(v.b))
			push(uint64(v.a))
		case n < len(c.Params) && c.Params[n] == api.ValueTypeF64:
			push(math.Float64bits(v.float()))
		case n < len(c.Params) && c.Params[n] == api.ValueTypeI64:
			push(uint64(int64(v.float())))
		case v.kind == fromFloat:
			push(uint64(uint32(int64(v.float()))))
		case v.kind == fromInt || v.kind == fromBool:
			push(uint64(v.a))
		default:
			panic(&trap{text: c.Name + ": an argument of a kind that does not cross the border"})
		}
	}
	if n != len(c.Params) {
		panic(&trap{text: c.Name + ": too few arguments"})
	}
}

// store puts a call's result into the value at out.
func (g *Guest) store(c *Call, result uint64, out uint32) {
	switch {
	case len(c.Results) == 0:
		g.setValue(out, toInt, 0)
	case c.Results[0] == api.ValueTypeI64:
		g.setValue(out, toDouble, math.Float64bits(float64(int64(result))))
	case c.Results[0] == api.ValueTypeF64:
		g.setValue(out, toDouble, result)
	default:
		g.setValue(out, toInt, uint64(uint32(result)))
	}
}
