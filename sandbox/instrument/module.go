package instrument

import (
	"bytes"
	"fmt"
	"unicode/utf8"
)

// Section ids of the binary format, in their fixed order in a file except
// for dataCount, which stands before code.
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secCode      = 10
	secData      = 11
	secDataCount = 12
)

var sectionNames = [...]string{
	"custom", "type", "import", "function", "table", "memory", "global",
	"export", "start", "element", "code", "data", "data count",
}

// sectionOrder is the order that the binary format demands.
var sectionOrder = [...]byte{
	secType, secImport, secFunction, secTable, secMemory, secGlobal,
	secExport, secStart, secElement, secDataCount, secCode, secData,
}

var preamble = []byte{0, 'a', 's', 'm', 1, 0, 0, 0}

// Kinds of imports and exports.
const (
	kindFunction = 0
	kindTable    = 1
	kindMemory   = 2
	kindGlobal   = 3
)

type funcType struct {
	params, results []byte
}

// Import is one imported function of a module.
type Import struct{ Module, Name string }

type export struct {
	name  string
	kind  byte
	index uint32
}

type global struct {
	valType byte
	mutable bool
}

type codeBody struct {
	index int // among the module's own functions
	data  []byte
}

// module is what the rewriter needs to know of a module. Sections it does not
// change are kept as they came.
type module struct {
	sections [len(sectionNames)][]byte
	present  [len(sectionNames)]bool
	original [len(sectionNames)][]byte
	names    []byte // payload of the name section

	types     []funcType
	imports   []Import
	importTyp []uint32
	funcs     []uint32 // type index of each own function
	globals   []global
	exports   []export
	bodies    []codeBody
	start     uint32
	hasStart  bool
	memoryMin uint32
}

// Error says which part of a module cannot be run, and why.
type Error struct {
	// Where names the section, function, import or export.
	Where string
	// Problem says what is wrong and what to do.
	Problem string
}

func (e *Error) Error() string { return e.Where + ": " + e.Problem }

func faultf(where, format string, args ...any) error {
	return &Error{Where: where, Problem: fmt.Sprintf(format, args...)}
}

// malformed is the fault of a section that its reader could not follow.
func malformed(section byte, r *reader) error {
	return faultf(sectionNames[section]+" section", "malformed: %v", r.err)
}

// parse reads the structure of a module and refuses what cannot be metered,
// bounded or reset. It allocates in proportion to the module's size, whatever
// the module claims, and follows every count to its elements: a validator
// would believe a forged one and allocate gigabytes. So it comes before
// validation.
func parse(wasm []byte) (*module, error) {
	if !bytes.HasPrefix(wasm, preamble) {
		return nil, faultf("header", "not a WebAssembly module (version 1)")
	}
	m := &module{}
	if err := m.split(wasm); err != nil {
		return nil, err
	}
	steps := [...]struct {
		id    byte
		parse func(*reader) error
	}{
		{secType, m.parseTypes},
		{secImport, m.parseImports},
		{secFunction, m.parseFunctions},
		{secTable, m.parseTables},
		{secMemory, m.parseMemory},
		{secGlobal, m.parseGlobals},
		{secExport, m.parseExports},
		{secStart, m.parseStart},
		{secElement, m.parseElements},
		{secDataCount, parseDataCount},
		{secCode, m.parseCode},
		{secData, parseData},
	}
	m.original = m.sections
	for _, s := range steps {
		if !m.present[s.id] {
			continue
		}
		r := &reader{data: m.sections[s.id]}
		if err := s.parse(r); err != nil {
			return nil, err
		}
		if r.err != nil {
			return nil, malformed(s.id, r)
		}
		if r.more() {
			return nil, faultf(sectionNames[s.id]+" section", "malformed: %d bytes too many", len(r.data)-r.pos)
		}
	}
	if len(m.bodies) != len(m.funcs) {
		return nil, faultf("code section", "malformed: %d bodies for %d functions", len(m.bodies), len(m.funcs))
	}
	return m, nil
}

// split finds the sections and checks their order.
func (m *module) split(wasm []byte) error {
	r := &reader{data: wasm, pos: len(preamble)}
	last := -1
	for r.more() {
		id := r.byte()
		body := r.bytes(r.count())
		if r.err != nil {
			return faultf("module", "section cut short: %v", r.err)
		}
		if id == secCustom {
			c := &reader{data: body}
			if c.name() == "name" && c.err == nil {
				m.names = body[c.pos:]
			}
			continue
		}
		order := bytes.IndexByte(sectionOrder[:], id)
		if order < 0 {
			return faultf("module", "section %d is not supported: compile for WebAssembly 2.0 without threads or exceptions", id)
		}
		if order <= last {
			return faultf(sectionNames[id]+" section", "out of order")
		}
		last = order
		m.sections[id], m.present[id] = body, true
	}
	return nil
}

func (m *module) parseTypes(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		if form := r.byte(); form != 0x60 {
			return faultf("type section", "type %d has form 0x%02x: only function types are supported", i, form)
		}
		m.types = append(m.types, funcType{params: r.bytes(r.count()), results: r.bytes(r.count())})
	}
	return nil
}

func (m *module) parseImports(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		imp := Import{Module: r.name(), Name: r.name()}
		kind := r.byte()
		if r.err != nil {
			return malformed(secImport, r)
		}
		where := fmt.Sprintf("import %s.%s", imp.Module, imp.Name)
		if imp.Module == reservedModule {
			return faultf(where, "the module name %s belongs to the gateway", reservedModule)
		}
		switch kind {
		case kindFunction:
			m.imports = append(m.imports, imp)
			m.importTyp = append(m.importTyp, r.u32())
		case kindTable, kindMemory, kindGlobal:
			return faultf(where, "a %s cannot be imported: define it in the module (with clang, drop -Wl,--import-memory and -Wl,--import-table)",
				[...]string{"function", "table", "memory", "global"}[kind])
		default:
			return faultf(where, "kind %d cannot be imported", kind)
		}
	}
	return nil
}

func (m *module) parseFunctions(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		t := r.u32()
		if r.err == nil && int64(t) >= int64(len(m.types)) {
			return faultf("function section", "function %d has unknown type %d", i, t)
		}
		m.funcs = append(m.funcs, t)
	}
	return nil
}

// maxTableEntries bounds all tables of a module together: 1 MiB of pointers.
const maxTableEntries = 1 << 17

// parseTables checks the tables' sizes and rewrites their maxima, because a
// table that may grow without bound is memory that no limit sees.
func (m *module) parseTables(r *reader) error {
	n := r.items()
	out := appendU32(nil, uint32(n))
	total := uint64(0)
	for i := 0; i < n && r.err == nil; i++ {
		where := fmt.Sprintf("table %d", i)
		refType, flag := r.byte(), r.byte()
		if flag > 1 {
			return faultf(where, "kind of limits 0x%02x is not supported", flag)
		}
		minimum, maximum := r.u32(), uint32(maxTableEntries)
		if flag == 1 {
			maximum = min(maximum, r.u32())
		}
		if total += uint64(minimum); total > maxTableEntries || n > 16 {
			return faultf(where, "the tables have more than %d entries or there are more than 16 of them", maxTableEntries)
		}
		out = append(out, refType, 1)
		out = appendU32(appendU32(out, minimum), max(minimum, maximum))
	}
	m.sections[secTable] = out
	return nil
}

func (m *module) parseMemory(r *reader) error {
	n := r.count()
	if n > 1 {
		return faultf("memory section", "%d memories: one is supported", n)
	}
	if n == 1 {
		flag := r.byte()
		if flag > 1 {
			return faultf("memory section", "shared and 64-bit memories are not supported: compile for wasm32 without threads")
		}
		m.memoryMin = r.u32()
		if flag == 1 {
			r.u32()
		}
	}
	return nil
}

func (m *module) parseGlobals(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		g := global{valType: r.byte(), mutable: r.byte() == 1}
		if g.mutable && (g.valType < 0x7c || g.valType > 0x7f) {
			return faultf(fmt.Sprintf("global %d", i), "a mutable v128 or reference global cannot be reset between calls: keep the value in memory")
		}
		m.globals = append(m.globals, g)
		r.constExpr(nil, nil)
	}
	return nil
}

func (m *module) parseExports(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		e := export{name: r.name(), kind: r.byte(), index: r.u32()}
		if r.err != nil {
			return malformed(secExport, r)
		}
		if len(e.name) >= len(reservedPrefix) && e.name[:len(reservedPrefix)] == reservedPrefix {
			return faultf(fmt.Sprintf("export %q", e.name), "names that start with %q belong to the gateway: rename it", reservedPrefix)
		}
		if !utf8.ValidString(e.name) {
			return faultf("export section", "name %q is not UTF-8", e.name)
		}
		m.exports = append(m.exports, e)
	}
	return nil
}

func (m *module) parseStart(r *reader) error {
	m.start, m.hasStart = r.u32(), true
	return nil
}

// maxItems bounds the entries of any section: what a decoder keeps of one is
// many times its two or three bytes.
const maxItems = 1 << 18

// items reads the length of a section's vector.
func (r *reader) items() int {
	n := r.count()
	if n > maxItems {
		r.fail(fmt.Errorf("%d entries: at most %d are accepted", n, maxItems))
		return 0
	}
	return n
}

func (m *module) parseElements(r *reader) error {
	_, err := (&rewriter{m: m}).elements(r)
	return err
}

func parseDataCount(r *reader) error {
	r.u32()
	return nil
}

func parseData(r *reader) error {
	n := r.items()
	for i := 0; i < n && r.err == nil; i++ {
		flags := r.u32()
		if flags > 2 {
			return faultf(fmt.Sprintf("data segment %d", i), "kind %d is not supported", flags)
		}
		if flags == 2 {
			r.u32()
		}
		if flags != 1 {
			r.constExpr(nil, nil)
		}
		r.bytes(r.count())
	}
	return nil
}

// withoutCustom is the module without its custom sections, for the validator:
// they have no meaning, and counts of their own.
func (m *module) withoutCustom() []byte {
	out := bytes.Clone(preamble)
	for _, id := range sectionOrder {
		if m.present[id] {
			out = appendSection(out, id, m.original[id])
		}
	}
	return out
}

// maxLocals bounds the locals of all functions together. A module can claim
// 50 000 of them per function in six bytes, and validation keeps them all.
const maxLocals = 4 << 20

func (m *module) parseCode(r *reader) error {
	n := r.items()
	locals := uint64(0)
	for i := 0; i < n && r.err == nil; i++ {
		body := r.bytes(r.count())
		b := &reader{data: body}
		for groups := b.count(); groups > 0 && b.err == nil; groups-- {
			locals += uint64(b.u32())
			b.byte()
		}
		if b.err != nil {
			return faultf(fmt.Sprintf("function %d", i+len(m.imports)), "malformed locals: %v", b.err)
		}
		if locals > maxLocals {
			return faultf("code section", "more than %d locals in all functions together", maxLocals)
		}
		if err := b.scan(); err != nil {
			return faultf(fmt.Sprintf("function %d", i+len(m.imports)), "%v", err)
		}
		m.bodies = append(m.bodies, codeBody{index: i, data: body})
	}
	return nil
}

// scan passes over the instructions of a body.
func (r *reader) scan() error {
	for r.more() {
		op := r.byte()
		var err error
		switch op {
		case opBlock, opLoop, opIf:
			r.s33()
		case opElse, opEnd, opReturn, opUnreachable:
		case opBr, opBrIf, opCall, opRefFunc:
			r.skipLEB(5)
		case opBrTable:
			for n := r.count() + 1; n > 0 && r.err == nil; n-- {
				r.skipLEB(5)
			}
		case opCallIndirect:
			r.skipLEB(5)
			r.skipLEB(5)
		case opBulk:
			_, err = r.bulk(r.u32())
		default:
			_, err = r.plain(op)
		}
		if err != nil {
			return err
		}
	}
	if r.err != nil {
		return fmt.Errorf("malformed: %w", r.err)
	}
	return nil
}

// constExpr passes over a constant expression and its end. With a remap it
// appends the expression to out, function indices remapped.
func (r *reader) constExpr(out []byte, remap func(uint32) uint32) []byte {
	for r.err == nil {
		start := r.pos
		op := r.byte()
		switch {
		case op == opEnd:
			return append(out, op)
		case op == opRefFunc:
			i := r.u32()
			if remap != nil {
				i = remap(i)
			}
			out = appendU32(append(out, op), i)
			continue
		default:
			if _, err := r.plain(op); err != nil {
				r.fail(err)
				return out
			}
		}
		out = append(out, r.data[start:r.pos]...)
	}
	return out
}
