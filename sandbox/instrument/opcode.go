package instrument

import "fmt"

// Opcodes that the rewriter looks at or writes.
const (
	opUnreachable  = 0x00
	opNop          = 0x01
	opBlock        = 0x02
	opLoop         = 0x03
	opIf           = 0x04
	opElse         = 0x05
	opEnd          = 0x0b
	opBr           = 0x0c
	opBrIf         = 0x0d
	opBrTable      = 0x0e
	opReturn       = 0x0f
	opCall         = 0x10
	opCallIndirect = 0x11
	opSelectTyped  = 0x1c
	opLocalGet     = 0x20
	opLocalSet     = 0x21
	opGlobalGet    = 0x23
	opGlobalSet    = 0x24
	opTableSet     = 0x26
	opMemorySize   = 0x3f
	opMemoryGrow   = 0x40
	opI32Const     = 0x41
	opI64Const     = 0x42
	opI32LtS       = 0x48
	opI32LtU       = 0x49
	opI32GtU       = 0x4b
	opI64LtS       = 0x53
	opI32Add       = 0x6a
	opI32Sub       = 0x6b
	opI64Sub       = 0x7d
	opI64ShrU      = 0x88
	opI64ExtendU   = 0xad
	opRefNull      = 0xd0
	opRefFunc      = 0xd2
	opBulk         = 0xfc
	opVector       = 0xfd

	blockEmpty = 0x40
)

// Second opcodes behind opBulk.
const (
	bulkMemoryInit = 8
	bulkDataDrop   = 9
	bulkMemoryCopy = 10
	bulkMemoryFill = 11
	bulkTableInit  = 12
	bulkElemDrop   = 13
	bulkTableCopy  = 14
	bulkTableGrow  = 15
	bulkTableSize  = 16
	bulkTableFill  = 17
)

// effect is how many operands an instruction takes and leaves.
type effect struct{ pop, push int }

// spans of plain numeric opcodes that share one effect, in order.
var numericSpans = []struct {
	last byte
	effect
}{
	{0x45, effect{1, 1}},
	{0x4f, effect{2, 1}},
	{0x50, effect{1, 1}},
	{0x66, effect{2, 1}},
	{0x69, effect{1, 1}},
	{0x78, effect{2, 1}},
	{0x7b, effect{1, 1}},
	{0x8a, effect{2, 1}},
	{0x91, effect{1, 1}},
	{0x98, effect{2, 1}},
	{0x9f, effect{1, 1}},
	{0xa6, effect{2, 1}},
	{0xc4, effect{1, 1}},
}

// plain passes over the immediates of an opcode that neither branches nor
// calls and returns its effect. Unknown opcodes are an error.
func (r *reader) plain(op byte) (effect, error) {
	switch {
	case op == opNop:
		return effect{0, 0}, nil
	case op == 0x1a: // drop
		return effect{1, 0}, nil
	case op == 0x1b: // select
		return effect{3, 1}, nil
	case op == opSelectTyped:
		r.skip(r.count())
		return effect{3, 1}, nil
	case op >= 0x20 && op <= 0x26: // local.* global.* table.get table.set
		r.skipLEB(5)
		return [...]effect{{0, 1}, {1, 0}, {1, 1}, {0, 1}, {1, 0}, {1, 1}, {2, 0}}[op-0x20], nil
	case op >= 0x28 && op <= 0x3e: // loads and stores
		r.skipLEB(5)
		r.skipLEB(5)
		if op >= 0x36 {
			return effect{2, 0}, nil
		}
		return effect{1, 1}, nil
	case op == opMemorySize:
		r.skip(1)
		return effect{0, 1}, nil
	case op == opMemoryGrow:
		r.skip(1)
		return effect{1, 1}, nil
	case op >= opI32Const && op <= 0x44:
		r.constant(op)
		return effect{0, 1}, nil
	case op >= 0x45 && op <= 0xc4:
		for _, s := range numericSpans {
			if op <= s.last {
				return s.effect, nil
			}
		}
	case op == opRefNull:
		r.skip(1)
		return effect{0, 1}, nil
	case op == 0xd1: // ref.is_null
		return effect{1, 1}, nil
	case op == opVector:
		return r.vector()
	}
	return effect{}, fmt.Errorf("opcode 0x%02x is not supported: compile for WebAssembly 2.0 without threads, exceptions or tail calls", op)
}

func (r *reader) constant(op byte) {
	switch op {
	case opI32Const:
		r.skipLEB(5)
	case opI64Const:
		r.skipLEB(10)
	case 0x43:
		r.skip(4)
	case 0x44:
		r.skip(8)
	}
}

// bulk passes over the immediates behind opBulk.
func (r *reader) bulk(sub uint32) (effect, error) {
	switch {
	case sub <= 7: // saturating truncations
		return effect{1, 1}, nil
	case sub == bulkMemoryInit:
		r.skipLEB(5)
		r.skip(1)
		return effect{3, 0}, nil
	case sub == bulkDataDrop || sub == bulkElemDrop:
		r.skipLEB(5)
		return effect{0, 0}, nil
	case sub == bulkMemoryCopy:
		r.skip(2)
		return effect{3, 0}, nil
	case sub == bulkMemoryFill:
		r.skip(1)
		return effect{3, 0}, nil
	case sub == bulkTableInit || sub == bulkTableCopy:
		r.skipLEB(5)
		r.skipLEB(5)
		return effect{3, 0}, nil
	case sub == bulkTableGrow:
		r.skipLEB(5)
		return effect{2, 1}, nil
	case sub == bulkTableSize:
		r.skipLEB(5)
		return effect{0, 1}, nil
	case sub == bulkTableFill:
		r.skipLEB(5)
		return effect{3, 0}, nil
	}
	return effect{}, fmt.Errorf("opcode 0xfc %d is not supported", sub)
}

// vector passes over the immediates of a SIMD instruction.
func (r *reader) vector() (effect, error) {
	sub := r.u32()
	switch {
	case sub <= 10 || sub == 92 || sub == 93: // loads
		r.skipLEB(5)
		r.skipLEB(5)
		return effect{1, 1}, nil
	case sub == 11: // store
		r.skipLEB(5)
		r.skipLEB(5)
		return effect{2, 0}, nil
	case sub == 12: // const
		r.skip(16)
		return effect{0, 1}, nil
	case sub == 13: // shuffle
		r.skip(16)
		return effect{2, 1}, nil
	case sub >= 21 && sub <= 34: // extract_lane, replace_lane
		r.skip(1)
		if sub == 23 || sub >= 26 && sub%2 == 0 {
			return effect{2, 1}, nil
		}
		return effect{1, 1}, nil
	case sub >= 84 && sub <= 91: // load_lane, store_lane
		r.skipLEB(5)
		r.skipLEB(5)
		r.skip(1)
		if sub >= 88 {
			return effect{2, 0}, nil
		}
		return effect{2, 1}, nil
	case sub == 82: // bitselect
		return effect{3, 1}, nil
	case sub > 0xff:
		return effect{}, fmt.Errorf("opcode 0xfd %d is not supported: compile without relaxed SIMD", sub)
	case vectorUnary(sub):
		return effect{1, 1}, nil
	}
	return effect{2, 1}, nil
}

// vectorUnary reports whether a SIMD instruction without immediates takes one
// operand.
func vectorUnary(sub uint32) bool {
	if sub >= 15 && sub <= 20 || sub == 77 || sub == 83 || sub == 94 || sub == 95 {
		return true // splats, not, any_true, demote, promote
	}
	if sub >= 0xe0 {
		switch sub {
		case 0xe0, 0xe1, 0xe3, 0xec, 0xed, 0xef:
			return true // float abs, neg, sqrt
		}
		return sub >= 0xf8 // conversions
	}
	switch sub {
	case 0x67, 0x68, 0x69, 0x6a, 0x74, 0x75, 0x7a, 0x94: // float rounding
		return true
	case 0x60, 0x61, 0x62, 0x63, 0x64, 0x7c, 0x7d, 0x7e, 0x7f:
		return true // i8x16 abs, neg, popcnt, all_true, bitmask; extadd_pairwise
	}
	if sub >= 0x80 && sub < 0xe0 {
		switch sub & 0x1f {
		case 0x00, 0x01, 0x03, 0x04, 0x07, 0x08, 0x09, 0x0a: // abs, neg, all_true, bitmask, extend
			return true
		}
	}
	return false
}
