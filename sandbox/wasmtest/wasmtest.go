// Package wasmtest assembles small WebAssembly modules in Go, for tests: they
// then need no other toolchain, and can say things that no compiler emits.
//
// Types are spelled with one letter: i is i32, l is i64, f is f32, d is f64,
// v is v128, r is funcref.
package wasmtest

import (
	"bytes"
	"encoding/binary"
)

// Code is a piece of a function body.
type Code []byte

// Builder is a module in the making. Imports must be added before functions.
type Builder struct {
	types   [][]byte
	imports [][]byte
	funcs   []uint32
	bodies  [][]byte
	exports [][]byte
	globals [][]byte
	data    [][]byte
	elems   [][]byte
	tables  [][]byte
	memory  []byte
	start   *uint32
}

// New returns a module with pages of memory, exported as "memory".
func New(pages uint32) *Builder {
	m := &Builder{memory: append([]byte{0}, U32(pages)...)}
	m.exports = append(m.exports, append(name("memory"), 2, 0))
	return m
}

// U32 is an unsigned LEB128.
func U32(v uint32) []byte { return binary.AppendUvarint(nil, uint64(v)) }

// S64 is a signed LEB128.
func S64(v int64) []byte {
	var b []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func name(s string) []byte { return append(U32(uint32(len(s))), s...) }

func valTypes(spec string) []byte {
	b := U32(uint32(len(spec)))
	for _, c := range spec {
		b = append(b, ValType(c))
	}
	return b
}

// ValType is the code of a type letter.
func ValType(c rune) byte {
	return map[rune]byte{'i': 0x7f, 'l': 0x7e, 'f': 0x7d, 'd': 0x7c, 'v': 0x7b, 'r': 0x70}[c]
}

// Type adds a function type and returns its index.
func (m *Builder) Type(params, results string) uint32 {
	t := append(append([]byte{0x60}, valTypes(params)...), valTypes(results)...)
	for i, have := range m.types {
		if bytes.Equal(have, t) {
			return uint32(i)
		}
	}
	m.types = append(m.types, t)
	return uint32(len(m.types) - 1)
}

// Import adds an imported function.
func (m *Builder) Import(module, field, params, results string) uint32 {
	b := append(append(name(module), name(field)...), 0)
	m.imports = append(m.imports, append(b, U32(m.Type(params, results))...))
	return uint32(len(m.imports) - 1)
}

// RawImport adds any import: desc is its kind and type.
func (m *Builder) RawImport(module, field string, desc ...byte) {
	m.imports = append(m.imports, append(append(name(module), name(field)...), desc...))
}

// Func adds a function and returns its index. Its body needs no end.
func (m *Builder) Func(params, results, locals string, body ...Code) uint32 {
	b := U32(uint32(len(locals)))
	for _, c := range locals {
		b = append(b, 1, ValType(c))
	}
	b = append(append(b, Join(body...)...), 0x0b)
	m.funcs = append(m.funcs, m.Type(params, results))
	m.bodies = append(m.bodies, b)
	return uint32(len(m.imports) + len(m.funcs) - 1)
}

// Export exports a function.
func (m *Builder) Export(as string, f uint32) *Builder {
	m.exports = append(m.exports, append(append(name(as), 0), U32(f)...))
	return m
}

// ExportGlobal exports a global.
func (m *Builder) ExportGlobal(as string, g uint32) *Builder {
	m.exports = append(m.exports, append(append(name(as), 3), U32(g)...))
	return m
}

// Global adds a mutable global of type t that starts at init.
func (m *Builder) Global(t rune, init Code) uint32 {
	m.globals = append(m.globals, append(append([]byte{ValType(t), 1}, init...), 0x0b))
	return uint32(len(m.globals) - 1)
}

// Table adds a table of functions and fills its start with funcs.
func (m *Builder) Table(size uint32, funcs ...uint32) {
	m.tables = append(m.tables, append([]byte{0x70, 0}, U32(size)...))
	if len(funcs) > 0 {
		e := append([]byte{0, 0x41, 0, 0x0b}, U32(uint32(len(funcs)))...)
		for _, f := range funcs {
			e = append(e, U32(f)...)
		}
		m.elems = append(m.elems, e)
	}
}

// Passive adds a passive data segment.
func (m *Builder) Passive(content string) {
	m.data = append(m.data, append([]byte{1}, name(content)...))
}

// Data puts content into memory.
func (m *Builder) Data(at uint32, content string) *Builder {
	b := append([]byte{0, 0x41}, S64(int64(int32(at)))...)
	m.data = append(m.data, append(append(b, 0x0b), name(content)...))
	return m
}

// Start makes f the start function.
func (m *Builder) Start(f uint32) { m.start = &f }

// Handler exports what a native guest must: the marker, and handle with body.
func (m *Builder) Handler(locals string, body ...Code) *Builder {
	m.Export("headgate_abi_v1", m.Func("", "", ""))
	return m.Export("headgate_handle", m.Func("", "i", locals, body...))
}

// Bytes assembles the module.
func (m *Builder) Bytes() []byte {
	out := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	section := func(id byte, items [][]byte) {
		if len(items) == 0 {
			return
		}
		body := append(U32(uint32(len(items))), bytes.Join(items, nil)...)
		out = append(append(append(out, id), U32(uint32(len(body)))...), body...)
	}
	section(1, m.types)
	section(2, m.imports)
	var types, bodies [][]byte
	for i, t := range m.funcs {
		types = append(types, U32(t))
		bodies = append(bodies, append(U32(uint32(len(m.bodies[i]))), m.bodies[i]...))
	}
	section(3, types)
	section(4, m.tables)
	if m.memory != nil {
		section(5, [][]byte{m.memory})
	}
	section(6, m.globals)
	section(7, m.exports)
	if m.start != nil {
		f := U32(*m.start)
		out = append(append(out, 8, byte(len(f))), f...)
	}
	section(9, m.elems)
	if len(m.data) > 0 {
		out = append(out, 12, byte(len(U32(uint32(len(m.data))))))
		out = append(out, U32(uint32(len(m.data)))...)
	}
	section(10, bodies)
	section(11, m.data)
	return out
}

// Join puts pieces of code together.
func Join(pieces ...Code) Code {
	var b Code
	for _, p := range pieces {
		b = append(b, p...)
	}
	return b
}

// Op is an instruction without immediates, or with raw ones.
func Op(b ...byte) Code { return Code(b) }

func op1(op byte, v uint32) Code { return append(Code{op}, U32(v)...) }

// I32 pushes a constant.
func I32(v int32) Code { return append(Code{0x41}, S64(int64(v))...) }

// I64 pushes a constant.
func I64(v int64) Code { return append(Code{0x42}, S64(v)...) }

// Call calls the function with index f, imports first.
func Call(f uint32) Code { return op1(0x10, f) }

// LocalGet pushes a local, parameters first.
func LocalGet(i uint32) Code { return op1(0x20, i) }

// LocalSet pops into a local.
func LocalSet(i uint32) Code { return op1(0x21, i) }

// GlobalGet pushes a global.
func GlobalGet(i uint32) Code { return op1(0x23, i) }

// GlobalSet pops into a global.
func GlobalSet(i uint32) Code { return op1(0x24, i) }

// Br leaves depth blocks, or goes to the head of a loop.
func Br(depth uint32) Code { return op1(0x0c, depth) }

// BrIf is Br if the popped value is not zero.
func BrIf(depth uint32) Code { return op1(0x0d, depth) }

// Load32 pops an address and pushes the i32 there.
func Load32(offset uint32) Code { return append(Code{0x28, 2}, U32(offset)...) }

// Store32 pops an i32 and an address, and stores it there.
func Store32(offset uint32) Code { return append(Code{0x36, 2}, U32(offset)...) }

// Instructions without immediates.
var (
	Unreachable = Op(0x00)
	Return      = Op(0x0f)
	Drop        = Op(0x1a)
	Add         = Op(0x6a)
	Sub         = Op(0x6b)
	Eqz         = Op(0x45)
	LtU         = Op(0x49)
	MemorySize  = Op(0x3f, 0)
	MemoryGrow  = Op(0x40, 0)
	MemoryFill  = Op(0xfc, 11, 0)
	MemoryCopy  = Op(0xfc, 10, 0, 0)
)

// Block is a block without operands and results: Br leaves it.
func Block(body ...Code) Code { return block(0x02, body) }

// Loop is a loop without operands and results: Br starts it again.
func Loop(body ...Code) Code { return block(0x03, body) }

// If runs body if the popped value is not zero.
func If(body ...Code) Code { return block(0x04, body) }

func block(op byte, body []Code) Code {
	return Join(Code{op, 0x40}, Join(body...), Code{0x0b})
}

// Forever is a loop that never ends.
func Forever(body ...Code) Code { return Loop(Join(body...), Br(0)) }
