package instrument_test

import (
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

// What follows makes the instructions beyond i32: every number type, vectors,
// references, and blocks that carry several values.

// typed leaves a value of a type, spelled as in wasmtest.
func (g *generator) typed(t rune, base, depth int) Code {
	switch t {
	case 'i':
		return g.value(base, depth)
	case 'l':
		return g.long(base, depth)
	case 'f':
		return g.float(base, depth)
	case 'd':
		return g.double(base, depth)
	default:
		return g.vector(base, depth)
	}
}

// pick returns one of some opcodes.
func (g *generator) pick(ops ...byte) byte { return ops[g.next(len(ops))] }

// between returns an opcode of a range.
func (g *generator) between(low, high byte) byte { return low + byte(g.next(int(high-low)+1)) }

// access is a load or store of bytes at whatever alignment.
func access(op byte) Code { return Op(op, 0, 3) }

func (g *generator) long(base, depth int) Code {
	if depth == 0 {
		return I64(int64(g.next(256))<<g.next(60) - 100)
	}
	d := depth - 1
	switch g.next(8) {
	case 0:
		return Join(g.long(base, d), g.long(base, d), Op(g.between(0x7c, 0x8a))) // arithmetic; division may trap
	case 1:
		return Join(g.long(base, d), Op(g.pick(0x79, 0x7a, 0x7b, 0xc2, 0xc3, 0xc4)))
	case 2:
		return Join(g.value(base, d), Op(g.pick(0xac, 0xad)))
	case 3:
		return Join(g.float(base, d), Op(0xfc, g.between(4, 5)))
	case 4:
		return Join(g.double(base, d), Op(0xfc, g.between(6, 7)))
	case 5:
		return Join(g.double(base, d), Op(g.pick(0xb0, 0xb1, 0xbd))) // truncation may trap
	case 6:
		return Join(g.address(base), access(g.pick(0x29, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35)))
	default:
		return GlobalGet(1)
	}
}

func (g *generator) float(base, depth int) Code {
	if depth == 0 {
		return Op(0x43, byte(g.next(256)), byte(g.next(256)), byte(g.next(256)), byte(g.next(256)))
	}
	d := depth - 1
	switch g.next(6) {
	case 0:
		return Join(g.float(base, d), g.float(base, d), Op(g.between(0x92, 0x98)))
	case 1:
		return Join(g.float(base, d), Op(g.between(0x8b, 0x91)))
	case 2:
		return Join(g.value(base, d), Op(g.pick(0xb2, 0xb3, 0xbe)))
	case 3:
		return Join(g.long(base, d), Op(g.pick(0xb4, 0xb5)))
	case 4:
		return Join(g.double(base, d), Op(0xb6))
	default:
		return Join(g.address(base), access(0x2a))
	}
}

func (g *generator) double(base, depth int) Code {
	if depth == 0 {
		return Op(0x44, 0, 0, 0, byte(g.next(256)), byte(g.next(256)), byte(g.next(256)), byte(g.next(256)), byte(g.next(256)))
	}
	d := depth - 1
	switch g.next(6) {
	case 0:
		return Join(g.double(base, d), g.double(base, d), Op(g.between(0xa0, 0xa6)))
	case 1:
		return Join(g.double(base, d), Op(g.between(0x99, 0x9f)))
	case 2:
		return Join(g.value(base, d), Op(g.pick(0xb7, 0xb8)))
	case 3:
		return Join(g.long(base, d), Op(g.pick(0xb9, 0xba, 0xbf)))
	case 4:
		return Join(g.float(base, d), Op(0xbb))
	default:
		return Join(g.address(base), access(0x2b))
	}
}

// simd is an instruction behind the vector prefix.
func simd(op byte, immediates ...byte) Code {
	return append(append(Code{0xfd}, U32(uint32(op))...), immediates...)
}

// Vector instructions by what they take besides vectors, none of them with
// immediates.
var (
	vectorUnary = opcodes(77, 77, 94, 98, 0x67, 0x6a, 0x74, 0x75, 0x7a, 0x7a, 0x7c, 0x81, 0x87, 0x8a, 0x94, 0x94,
		0xa0, 0xa1, 0xa7, 0xaa, 0xc0, 0xc1, 0xc7, 0xca, 0xe0, 0xe1, 0xe3, 0xe3, 0xec, 0xed, 0xef, 0xef, 0xf8, 0xff)
	vectorBinary = opcodes(14, 14, 35, 76, 78, 81, 0x65, 0x66, 0x6e, 0x73, 0x76, 0x79, 0x7b, 0x7b, 0x82, 0x82, 0x85, 0x86, 0x8e, 0x93, 0x95, 0x99,
		0x9b, 0x9f, 0xae, 0xae, 0xb1, 0xb1, 0xb5, 0xba, 0xbc, 0xbf, 0xce, 0xce, 0xd1, 0xd1, 0xd5, 0xdf, 0xe4, 0xeb, 0xf0, 0xf7)
	vectorShift = opcodes(0x6b, 0x6d, 0x8b, 0x8d, 0xab, 0xad, 0xcb, 0xcd)
	vectorTest  = opcodes(83, 83, 0x63, 0x64, 0x83, 0x84, 0xa3, 0xa4, 0xc3, 0xc4) // leave an i32
)

// opcodes lists ranges, each by its first and last.
func opcodes(ranges ...byte) (list []byte) {
	for i := 0; i < len(ranges); i += 2 {
		for op := int(ranges[i]); op <= int(ranges[i+1]); op++ {
			list = append(list, byte(op))
		}
	}
	return list
}

func (g *generator) vector(base, depth int) Code {
	if depth == 0 {
		return simd(12, byte(g.next(256)), 2, 3, byte(g.next(256)), 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, byte(g.next(256)), 16)
	}
	d := depth - 1
	switch g.next(9) {
	case 0:
		return Join(g.vector(base, d), simd(g.pick(vectorUnary...)))
	case 1, 2:
		return Join(g.vector(base, d), g.vector(base, d), simd(g.pick(vectorBinary...)))
	case 3:
		return Join(g.vector(base, d), g.value(base, d), simd(g.pick(vectorShift...)))
	case 4: // splat
		n := g.next(6)
		return Join(g.typed(rune("iiilfd"[n]), base, d), simd(15+byte(n)))
	case 5: // replace_lane
		n := g.next(6)
		return Join(g.vector(base, d), g.typed(rune("iiilfd"[n]), base, d), simd([]byte{23, 26, 28, 30, 32, 34}[n], byte(g.next(2))))
	case 6:
		return Join(g.address(base), simd(g.pick(opcodes(0, 10, 92, 93)...), 0, 5))
	case 7:
		return Join(g.address(base), g.vector(base, d), simd(g.between(84, 87), 0, 1, byte(g.next(2))))
	default:
		if g.next(2) == 0 {
			return Join(g.vector(base, d), g.vector(base, d), g.vector(base, d), simd(82))
		}
		return Join(g.vector(base, d), g.vector(base, d), simd(13, byte(g.next(32)), 31, 0, 5, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, byte(g.next(32))))
	}
}

// narrowed makes an i32 of a value of another type.
func (g *generator) narrowed(base, depth int) Code {
	d := depth - 1
	switch g.next(10) {
	case 0:
		return Join(g.long(base, d), Op(g.pick(0xa7, 0x50)))
	case 1:
		return Join(g.long(base, d), g.long(base, d), Op(g.between(0x51, 0x5a)))
	case 2:
		return Join(g.float(base, d), g.float(base, d), Op(g.between(0x5b, 0x60)))
	case 3:
		return Join(g.double(base, d), g.double(base, d), Op(g.between(0x61, 0x66)))
	case 4:
		return Join(g.float(base, d), Op(0xfc, g.between(0, 1)))
	case 5:
		return Join(g.double(base, d), Op(0xfc, g.between(2, 3)))
	case 6:
		return Join(g.float(base, d), Op(g.pick(0xa8, 0xa9, 0xbc))) // truncation may trap
	case 7:
		return Join(g.value(base, d), Op(g.pick(0x45, 0x67, 0x68, 0x69, 0xc0, 0xc1)))
	case 8:
		return Join(g.vector(base, d), simd(g.pick(vectorTest...)))
	default:
		return Join(g.vector(base, d), simd(g.pick(21, 22, 24, 25, 27), byte(g.next(4))))
	}
}

// reference leaves a function reference.
func (g *generator) reference(base int) Code {
	switch {
	case len(g.funcs) == 0 || g.next(3) == 0:
		return Op(0xd0, 0x70) // ref.null
	case g.next(2) == 0:
		return Join(g.value(base, 0), I32(8), Op(0x70), Op(0x25, 0)) // table.get
	default:
		return append(Code{0xd2}, U32(g.funcs[g.next(len(g.funcs))].index)...)
	}
}

// referring makes an i32 of references and tables.
func (g *generator) referring(base int) Code {
	switch g.next(4) {
	case 0:
		return Join(g.reference(base), Op(0xd1))
	case 1:
		return Op(0xfc, 16, 0) // table.size
	case 2:
		return Join(g.reference(base), I32(int32(g.next(3))), Op(0xfc, 15, 0)) // table.grow
	default:
		return Join(g.reference(base), g.reference(base), g.value(base, 0), Op(0x1c, 1, 0x70), Op(0xd1))
	}
}

// further is a statement of what the other kinds leave out.
func (g *generator) further(base, depth int) Code {
	small := func(n int) Code { return I32(int32(g.next(n))) }
	switch g.next(10) {
	case 0:
		n := g.next(9)
		return Join(g.address(base), g.typed(rune("ilfdiilll"[n]), base, 2), access([]byte{0x36, 0x37, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x3e}[n]))
	case 1:
		return Join(g.address(base), g.vector(base, 2), simd(11, 0, 3))
	case 2:
		return Join(g.address(base), g.vector(base, 2), simd(g.between(88, 91), 0, 1, byte(g.next(2))))
	case 3:
		return Join(small(9), g.reference(base), Op(0x26, 0)) // table.set may trap
	case 4:
		return Join(small(9), g.reference(base), small(3), Op(0xfc, 17, 0)) // table.fill
	case 5:
		return Join(small(6), small(6), small(4), Op(0xfc, 14, 0, 0)) // table.copy
	case 6:
		return Op(0xfc, 9, 0) // data.drop
	case 7:
		return Join(g.long(base, 3), GlobalSet(1))
	case 8: // a block that takes and leaves two values
		t := byte(g.m.Type("ii", "ii"))
		return Join(g.value(base, 1), g.value(base, 1), Op(0x02, t), g.statements(base, depth-1),
			g.value(base, 1), BrIf(0), Add, g.value(base, 1), Op(0x0b), Add, LocalSet(g.local(base)))
	default: // a branch table out of several blocks, with a value
		return Join(Op(0x02, 0x7f), Op(0x02, 0x7f), g.value(base, 1), g.value(base, 1), Op(0x0e, 2, 0, 1, 1), Op(0x0b),
			I32(1), Add, g.statements(base, depth-1), Op(0x0b), LocalSet(g.local(base)))
	}
}
