package sandbox

import (
	"fmt"

	"github.com/tetratelabs/wazero/experimental"
)

// pageSize is WebAssembly's.
const pageSize = 64 << 10

// copyLimit is the largest image that is restored by copying it whole, at
// about a microsecond for 64 KiB. Larger ones are mapped copy-on-write where
// the system can: finding and copying back the few pages that an event wrote
// takes two.
const copyLimit = 64 << 10

// memory is the linear memory of one instance: a reservation of address space
// as large as the function may need, so that it grows in place.
type memory struct {
	module *Module
	base   []byte // the reservation
	size   uint64 // in use
	// outside is what the instance's Extism kernel holds besides.
	outside uint64
	// charged is how much of the engine's budget it holds.
	charged int64
	// denied is true once a growth was refused during this call.
	denied bool
	// initial is the size of the image that the instance starts from.
	initial  uint64
	restorer restorer
}

var _ experimental.LinearMemory = (*memory)(nil)

// allocator makes the memory of one instance.
type allocator struct {
	module  *Module
	initial uint64
	made    *memory
	err     error
}

var _ experimental.MemoryAllocator = (*allocator)(nil)

// Allocate reserves address space. A fault shows when the minimum is asked
// for, since wazero expects no error here.
func (a *allocator) Allocate(_, _ uint64) experimental.LinearMemory {
	m := &memory{module: a.module, initial: a.initial, restorer: restorer{table: a.module.engine.pages}}
	limit := uint64(a.module.limits.Memory)
	if m.base, a.err = reserve(limit); a.err != nil {
		a.err = fmt.Errorf("reserve %d bytes of address space: %w", limit, a.err)
	}
	a.made = m
	return m
}

// Reallocate grows the memory in place, or returns nil.
func (m *memory) Reallocate(size uint64) []byte {
	size = max(size, m.initial)
	if size+m.outside > uint64(len(m.base)) || !m.charge(int64(size+m.outside)) {
		m.denied = true
		return nil
	}
	m.size = size
	return m.base[:size:len(m.base)]
}

// reserveOutside admits size bytes outside the linear memory, in all.
func (m *memory) reserveOutside(size uint64) bool {
	if m.size+size > uint64(len(m.base)) || !m.charge(int64(m.size+size)) {
		m.denied = true
		return false
	}
	m.outside = size
	return true
}

// charge takes what the memory needs from the engine's budget.
func (m *memory) charge(size int64) bool {
	if size > m.charged {
		if !m.module.engine.budget.take(size - m.charged) {
			return false
		}
		m.module.memory.Add(size - m.charged)
		m.charged = size
	}
	return true
}

// Free returns the address space and the budget.
func (m *memory) Free() {
	if m.base != nil {
		release(m.base)
		m.base = nil
	}
	m.module.engine.budget.give(m.charged)
	m.module.memory.Add(-m.charged)
	m.charged = 0
}

// image is the clean state that every invocation starts from.
type image struct {
	engine  *Engine
	size    uint64
	copy    []byte   // of small images
	file    pageFile // of large ones
	clean   []byte   // file, mapped for reading
	globals []uint64
}

// newImage takes the state of an instance.
func newImage(e *Engine, m *memory, globals []uint64) (*image, error) {
	img := &image{engine: e, size: m.size, globals: globals}
	if !e.budget.take(int64(m.size)) {
		return nil, errNoBudget
	}
	if m.size > copyLimit && e.pages.copyOnWrite {
		err := img.mapFile(m.base[:m.size])
		if err == nil {
			return img, nil
		}
		if !e.warnedCopy.Swap(true) {
			e.log.Warn("large instances are restored by copying", "error", err)
		}
	}
	img.copy = append(make([]byte, 0, m.size), m.base[:m.size]...)
	return img, nil
}

func (img *image) mapFile(content []byte) (err error) {
	if img.file, err = newPageFile(content); err != nil {
		return err
	}
	if img.clean, err = img.file.view(img.size); err != nil {
		img.file.close()
		img.file = pageFile{}
	}
	return err
}

// attach gives a fresh instance's memory the clean state.
func (img *image) attach(m *memory) error {
	if img.copy != nil {
		copy(m.base[:img.size], img.copy)
		return nil
	}
	return img.file.mapPrivate(m.base[:img.size])
}

// restore undoes whatever a call did to the memory. It must not have grown.
func (img *image) restore(m *memory) error {
	m.denied = false
	if img.copy != nil {
		copy(m.base[:img.size], img.copy)
		return nil
	}
	return m.restorer.restore(m.base[:img.size], img.clean)
}

func (img *image) close() {
	if img.clean != nil {
		release(img.clean)
		img.file.close()
	}
	img.engine.budget.give(int64(img.size))
	img.copy = nil
}
