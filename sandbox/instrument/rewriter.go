package instrument

import (
	"fmt"
	"strconv"
)

// rewriter builds the new module.
type rewriter struct {
	m                  *module
	fuel, floor, stack uint32 // global indices
	low                uint32
	guard              bool
	yield, fill, move  uint32 // function indices
	blockTypes         map[string]uint32
	newTypes           []funcType
	mutatesTables      bool
	compileWork        uint64

	body       bodyWriter
	head, tail []byte
}

func newRewriter(m *module) *rewriter {
	n, f := uint32(len(m.globals)), uint32(len(m.imports))
	return &rewriter{
		m: m, fuel: n, floor: n + 1, stack: n + 2, low: n + 3,
		yield: f, fill: f + 1, move: f + 2,
		blockTypes: map[string]uint32{},
		newTypes:   []funcType{{}, {params: []byte{0x7f, 0x7f, 0x7f}}}, // of yield; of fill and move
	}
}

// remap turns a function index of the original into one of the result, where
// the host's functions follow the original's imports.
func (rw *rewriter) remap(i uint32) uint32 {
	if i < rw.yield {
		return i
	}
	return i + 3
}

func (rw *rewriter) appendGet(b []byte, g uint32) []byte { return appendU32(append(b, opGlobalGet), g) }

func (rw *rewriter) appendSet(b []byte, g uint32) []byte { return appendU32(append(b, opGlobalSet), g) }

// appendCharge writes fuel -= cost.
func (rw *rewriter) appendCharge(b []byte, cost uint64) []byte {
	b = append(rw.appendGet(b, rw.fuel), opI64Const)
	b = append(appendS64(b, int64(cost)), opI64Sub)
	return rw.appendSet(b, rw.fuel)
}

// appendCheck writes if fuel < floor { yield() }.
func (rw *rewriter) appendCheck(b []byte) []byte {
	b = rw.appendGet(rw.appendGet(b, rw.fuel), rw.floor)
	b = append(b, opI64LtS, opIf, blockEmpty, opCall)
	return append(appendU32(b, rw.yield), opEnd)
}

// appendLoopCheck writes if fuel < floor { yield(); continue }, which keeps the
// call off the loop's own path: the machine code of the body need not expect
// that it happened.
func (rw *rewriter) appendLoopCheck(b []byte) []byte {
	b = rw.appendGet(rw.appendGet(b, rw.fuel), rw.floor)
	b = append(b, opI64LtS, opIf, blockEmpty, opCall)
	return append(appendU32(b, rw.yield), opBr, 1, opEnd)
}

// appendLong writes, for the memory.fill or memory.copy in op, whose operands
// are on the stack and whose length is in local n as well: if it is long, host
// does it, piece by piece, else op.
func (rw *rewriter) appendLong(b []byte, n, host uint32, op []byte) []byte {
	b = appendS64(append(appendU32(append(b, opLocalGet), n), opI32Const), LongBytes)
	b = appendS64(append(b, opI32GtU, opIf), int64(len(rw.m.types)+1))
	b = appendU32(append(b, opCall), host)
	return append(append(append(b, opElse), op...), opEnd)
}

// appendWeigh writes stack -= weight; if stack < 0 { unreachable }.
func (rw *rewriter) appendWeigh(b []byte, weight uint32) []byte {
	b = append(rw.appendGet(b, rw.stack), opI32Const)
	b = append(appendS64(b, int64(weight)), opI32Sub)
	b = rw.appendGet(rw.appendSet(b, rw.stack), rw.stack)
	return append(b, opI32Const, 0, opI32LtS, opIf, blockEmpty, opUnreachable, opEnd)
}

// appendGuard writes if global0 < low { unreachable }.
func (rw *rewriter) appendGuard(b []byte) []byte {
	b = rw.appendGet(rw.appendGet(b, 0), rw.low)
	return append(b, opI32LtU, opIf, blockEmpty, opUnreachable, opEnd)
}

// appendBlockType writes the type of a block that takes nothing and leaves
// results, adding a function type where the short forms do not reach.
func (rw *rewriter) appendBlockType(b []byte, results []byte) []byte {
	switch len(results) {
	case 0:
		return append(b, blockEmpty)
	case 1:
		return append(b, results[0])
	}
	i, ok := rw.blockTypes[string(results)]
	if !ok {
		i = uint32(len(rw.m.types) + len(rw.newTypes))
		rw.newTypes = append(rw.newTypes, funcType{results: results})
		rw.blockTypes[string(results)] = i
	}
	return appendS64(b, int64(i))
}

// rewrite returns the new module.
func (rw *rewriter) rewrite() ([]byte, error) {
	m := rw.m
	code, err := rw.code() // first: it finds the types to add
	if err != nil {
		return nil, err
	}
	element, err := rw.elements(&reader{data: m.sections[secElement]})
	if err != nil {
		return nil, err
	}
	sections := m.sections
	sections[secType] = rw.types()
	sections[secImport] = rw.imports()
	sections[secGlobal] = rw.globals()
	sections[secExport] = rw.exports()
	sections[secStart] = nil
	sections[secElement] = element
	sections[secCode] = code

	size := len(preamble)
	for _, s := range sections {
		size += len(s) + 6
	}
	out := append(make([]byte, 0, size), preamble...)
	for _, id := range sectionOrder {
		if len(sections[id]) > 0 {
			out = appendSection(out, id, sections[id])
		}
	}
	if names := rw.names(); names != nil {
		out = appendSection(out, secCustom, names)
	}
	return out, nil
}

// startWith replaces the memory section by one of pages at the start, without
// a bound of its own.
func (rw *rewriter) startWith(pages uint32) {
	rw.m.memoryMin = pages
	rw.m.sections[secMemory] = appendU32([]byte{1, 0}, pages)
}

func appendSection(out []byte, id byte, body []byte) []byte {
	return append(appendU32(append(out, id), uint32(len(body))), body...)
}

func (rw *rewriter) types() []byte {
	out := appendU32(nil, uint32(len(rw.m.types)+len(rw.newTypes)))
	for _, list := range [...][]funcType{rw.m.types, rw.newTypes} {
		for _, t := range list {
			out = appendU32(append(out, 0x60), uint32(len(t.params)))
			out = appendU32(append(out, t.params...), uint32(len(t.results)))
			out = append(out, t.results...)
		}
	}
	return out
}

func (rw *rewriter) imports() []byte {
	out := appendU32(nil, uint32(len(rw.m.imports)+3))
	for i, imp := range rw.m.imports {
		out = append(appendName(appendName(out, imp.Module), imp.Name), kindFunction)
		out = appendU32(out, rw.m.importTyp[i])
	}
	for i, name := range [...]string{YieldName, FillName, MoveName} {
		out = append(appendName(appendName(out, HostModule), name), kindFunction)
		out = appendU32(out, uint32(len(rw.m.types)+min(i, 1)))
	}
	return out
}

func (rw *rewriter) globals() []byte {
	r := &reader{data: rw.m.sections[secGlobal]}
	out := appendU32(nil, uint32(len(rw.m.globals)+4))
	if len(rw.m.globals) > 0 {
		r.count()
	}
	for range rw.m.globals {
		out = append(out, r.byte(), r.byte())
		out = r.constExpr(out, rw.remap)
	}
	out = append(out, 0x7e, 1, opI64Const, 0, opEnd)
	out = append(out, 0x7e, 1, opI64Const, 0, opEnd)
	for range 2 {
		out = append(out, 0x7f, 1, opI32Const, 0, opEnd)
	}
	return out
}

func (rw *rewriter) exports() []byte {
	m := rw.m
	add := []export{
		{FuelExport, kindGlobal, rw.fuel},
		{FloorExport, kindGlobal, rw.floor},
		{StackExport, kindGlobal, rw.stack},
		{LowExport, kindGlobal, rw.low},
	}
	for i, g := range m.globals {
		if g.mutable {
			add = append(add, export{globalPrefix + strconv.Itoa(i), kindGlobal, uint32(i)})
		}
	}
	if m.hasStart {
		add = append(add, export{StartExport, kindFunction, m.start})
	}
	out := appendU32(nil, uint32(len(m.exports)+len(add)))
	for _, list := range [...][]export{m.exports, add} {
		for _, e := range list {
			if e.kind == kindFunction {
				e.index = rw.remap(e.index)
			}
			out = appendU32(append(appendName(out, e.name), e.kind), e.index)
		}
	}
	return out
}

func (rw *rewriter) code() ([]byte, error) {
	m := rw.m
	if len(m.bodies) == 0 {
		return nil, nil
	}
	out := make([]byte, 0, 2*len(m.sections[secCode]))
	out = appendU32(out, uint32(len(m.bodies)))
	for _, b := range m.bodies {
		var err error
		if out, err = rw.rewriteBody(out, b.index, b.data); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// elements rewrites the function indices of element segments, in all eight
// encodings.
func (rw *rewriter) elements(r *reader) ([]byte, error) {
	if len(r.data) == 0 {
		return nil, nil
	}
	n := r.items()
	out := appendU32(nil, uint32(n))
	for i := 0; i < n && r.err == nil; i++ {
		flags := r.u32()
		if flags > 7 {
			return nil, faultf(fmt.Sprintf("element segment %d", i), "kind %d is not supported", flags)
		}
		out = appendU32(out, flags)
		if flags&1 == 0 { // active
			if flags&2 != 0 {
				out = appendU32(out, r.u32()) // table
			}
			out = r.constExpr(out, rw.remap)
		}
		if flags&3 != 0 {
			out = append(out, r.byte()) // element kind or type
		}
		count := r.items()
		out = appendU32(out, uint32(count))
		for j := 0; j < count && r.err == nil; j++ {
			if flags&4 != 0 {
				out = r.constExpr(out, rw.remap)
			} else {
				out = appendU32(out, rw.remap(r.u32()))
			}
		}
	}
	if r.err != nil || r.more() {
		return nil, faultf("element section", "malformed")
	}
	return out, nil
}

// names keeps the function names, for the traces of traps.
func (rw *rewriter) names() []byte {
	r := &reader{data: rw.m.names}
	for r.more() {
		id, body := r.byte(), r.bytes(r.count())
		if r.err != nil || id != 1 {
			continue
		}
		f := &reader{data: body}
		n := f.count()
		list := appendU32(nil, uint32(n))
		for range n {
			list = appendU32(list, rw.remap(f.u32()))
			list = appendName(list, f.name())
		}
		if f.err != nil || f.more() {
			return nil
		}
		out := append(appendName(nil, "name"), 1)
		return append(appendU32(out, uint32(len(list))), list...)
	}
	return nil
}

// where names the module's own function i in messages.
func (m *module) where(i int) string {
	index := i + len(m.imports)
	for _, e := range m.exports {
		if e.kind == kindFunction && int64(e.index) == int64(index) {
			return fmt.Sprintf("function %d (%s)", index, e.name)
		}
	}
	return fmt.Sprintf("function %d", index)
}
