package instrument

import (
	"fmt"
	"strconv"
)

// Names that the rewritten module adds. No original may use them.
const (
	reservedPrefix = "headgate.internal."
	reservedModule = "headgate.internal"

	// HostModule is what the additions import from.
	HostModule = reservedModule
	// YieldName is what metered code calls when fuel falls below the floor:
	// () -> ().
	YieldName = "yield"
	// FillName and MoveName stand for memory.fill and memory.copy of more than
	// LongBytes, with their operands: (i32, i32, i32) -> ().
	FillName = "fill"
	MoveName = "move"

	// FuelExport (i64) counts down; FloorExport (i64) is where code yields;
	// StackExport (i32) is what is left of the stack weight.
	FuelExport  = reservedPrefix + "fuel"
	FloorExport = reservedPrefix + "floor"
	StackExport = reservedPrefix + "stack"
	// LowExport (i32) is the lowest value that a guarded stack pointer may have.
	LowExport = reservedPrefix + "low"
	// StartExport is the original's start function, to be called once.
	StartExport = reservedPrefix + "start"
	// globalPrefix and a number name the original's mutable globals.
	globalPrefix = reservedPrefix + "global."
)

// Options change how a module is rewritten.
type Options struct {
	// GuardStack watches a C stack that lies above data, where growing too
	// deep would overwrite it: every write of the stack pointer, which must be
	// global 0, is checked against LowExport.
	GuardStack bool
	// MemoryPages is the memory that the module starts with instead of what it
	// asks for; 0 leaves that as it is. The module must be one that grows its
	// memory by itself.
	MemoryPages uint32
}

// Version changes whenever the same original is rewritten differently.
const Version = "5"

// LongBytes is the longest piece of memory that is filled or copied without a
// look at the clock. Small boards move about a gigabyte in a second.
const LongBytes = 256 << 10

// StackWeight is what the call stack of one guest may weigh, in bytes.
const StackWeight = 1 << 20

// MaxModuleBytes is the largest module that is accepted.
const MaxModuleBytes = 32 << 20

// maxCompileWork bounds the sum of the squares of the functions' blocks:
// wazero's compiler takes time with the square of the blocks of a function
// (10 000 take 0.4 to 1.7 s, 20 000 four times as long), and cannot be stopped.
const maxCompileWork = 5e8

// Report is what the sandbox needs to know of a rewritten module.
type Report struct {
	// Globals are the export names of the original's mutable globals.
	Globals []string
	// Imports are the original's imported functions.
	Imports []Import
	// Exports are the original's exported functions.
	Exports []string
	// HasStart is true when StartExport must be called once.
	HasStart bool
	// HasMemory is true when the original exports its memory as "memory".
	HasMemory bool
	// MemoryPages is the memory the module starts with.
	MemoryPages uint32
	// MutatesTables is true when code may write tables or drop segments,
	// which a restore of memory and globals would miss.
	MutatesTables bool
}

// Instrument rewrites a module. validate must return the verdict of a
// WebAssembly validator on the original (without custom sections); nothing is rewritten before it
// agreed. Errors are *Error where a part of the module is to blame.
func Instrument(wasm []byte, o Options, validate func([]byte) error) ([]byte, *Report, error) {
	if len(wasm) > MaxModuleBytes {
		return nil, nil, faultf("module", "%d bytes: at most %d are accepted", len(wasm), MaxModuleBytes)
	}
	m, err := parse(wasm)
	if err != nil {
		return nil, nil, err
	}
	if err := validate(m.withoutCustom()); err != nil {
		return nil, nil, fmt.Errorf("not a valid module: %w", err)
	}
	rw := newRewriter(m)
	if o.GuardStack && (len(m.globals) == 0 || m.globals[0] != global{valType: 0x7f, mutable: true}) {
		return nil, nil, faultf("global 0", "is not a stack pointer")
	}
	rw.guard = o.GuardStack
	if o.MemoryPages > 0 {
		rw.startWith(o.MemoryPages)
	}
	out, err := rw.rewrite()
	if err != nil {
		return nil, nil, err
	}
	report := m.report()
	report.MutatesTables = rw.mutatesTables
	return out, report, nil
}

func (m *module) report() *Report {
	r := &Report{Imports: m.imports, HasStart: m.hasStart, MemoryPages: m.memoryMin}
	for _, e := range m.exports {
		switch {
		case e.kind == kindFunction:
			r.Exports = append(r.Exports, e.name)
		case e.kind == kindMemory && e.name == "memory":
			r.HasMemory = true
		}
	}
	for i, g := range m.globals {
		if g.mutable {
			r.Globals = append(r.Globals, globalPrefix+strconv.Itoa(i))
		}
	}
	return r
}

// functionType returns the type of the function with the original's index i.
func (m *module) functionType(i uint32) (funcType, bool) {
	var t uint32
	switch n := uint32(len(m.imports)); {
	case i < n:
		t = m.importTyp[i]
	case uint64(i) < uint64(n)+uint64(len(m.funcs)):
		t = m.funcs[i-n]
	default:
		return funcType{}, false
	}
	if int64(t) >= int64(len(m.types)) {
		return funcType{}, false
	}
	return m.types[t], true
}
