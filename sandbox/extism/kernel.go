package extism

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/bits"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Sizes of the shared memory.
const (
	// pageBytes is how far past the last block a plug-in may read and write:
	// Extism's own kernel lives in pages of WebAssembly, and some PDKs round up.
	pageBytes = 64 << 10
	// firstBytes is what the first block makes room for.
	firstBytes = 4 << 10
	// unit is what the sizes of blocks are multiples of, and what lies before
	// each; so the list of blocks is never larger than the memory.
	unit = 16
	// KeptBytes is how much memory an idle plug-in keeps. One that needed more
	// does not stay.
	KeptBytes = 1 << 20
)

// Limits is what the kernel asks before it costs something.
type Limits interface {
	// Charge takes fuel.
	Charge(fuel int64)
	// Reserve admits that much shared memory in all, or refuses.
	Reserve(bytes uint64) bool
}

// block is one allocation. A handle is the address of its first byte.
type block struct {
	at, size, used uint32
	live           bool
}

// Kernel is the memory that one instance of a plug-in shares with its host,
// and what it left there for the host: the output, the error. Handles are
// offsets in it; 0 is none. It lies outside the plug-in's own memory.
type Kernel struct {
	limits Limits
	ctx    context.Context //nolint:containedctx // of the invocation, between Begin and Reset
	calls  *host.Calls

	mem     []byte
	top     uint32           // where the next block goes
	written uint32           // nothing behind it was written
	blocks  []block          // by address
	free    map[uint32][]int // freed blocks by size

	input      uint64 // handle of the input, once asked for
	outputAt   uint64
	outputSize uint64
	failure    uint64 // handle of the error

	status  int // of the last answer over HTTP
	headers abi.Headers
}

// NewKernel returns the kernel of one instance.
func NewKernel(l Limits) *Kernel {
	return &Kernel{limits: l, top: unit, free: map[uint32][]int{}}
}

// Begin starts an invocation.
func (k *Kernel) Begin(ctx context.Context, calls *host.Calls) { k.ctx, k.calls = ctx, calls }

// Reset ends it: nothing of it is left. It reports false when the kernel holds
// more memory than an idle one may.
func (k *Kernel) Reset() bool {
	k.forget()
	k.ctx, k.calls = context.Background(), nil
	return len(k.mem) <= KeptBytes
}

// forget frees every block and clears what was written.
func (k *Kernel) forget() {
	clear(k.mem[:min(int(k.written), len(k.mem))])
	k.top, k.written = unit, 0
	k.blocks = k.blocks[:0]
	clear(k.free)
	k.input, k.outputAt, k.outputSize, k.failure = 0, 0, 0, 0
	k.status, k.headers = 0, nil
}

// Output is what the plug-in last named as its output, valid until Reset.
func (k *Kernel) Output() []byte { return k.mem[k.outputAt : k.outputAt+k.outputSize] }

// Failed reports whether the plug-in left an error.
func (k *Kernel) Failed() bool { return k.failure != 0 }

// fault ends the invocation.
func fault(format string, args ...any) error {
	return &host.Abort{Outcome: function.Trapped, Reason: fmt.Sprintf(format, args...)}
}

// failed ends the invocation because something that was asked for cannot be
// had: Extism has no other way to tell a plug-in.
func failed(format string, args ...any) error {
	return &host.Abort{Outcome: function.Failed, Reason: fmt.Sprintf(format, args...)}
}

// mapped is the end of what a plug-in may touch.
func (k *Kernel) mapped() uint64 {
	return (uint64(k.top) + pageBytes - 1) / pageBytes * pageBytes
}

// ensure makes room up to end.
func (k *Kernel) ensure(end uint64) bool {
	if end <= uint64(len(k.mem)) {
		return true
	}
	size := max(firstBytes, uint64(1)<<bits.Len64(end-1))
	if !k.limits.Reserve(size) {
		// Less than double will do where memory is short.
		if size = (end + firstBytes - 1) / firstBytes * firstBytes; !k.limits.Reserve(size) {
			return false
		}
	}
	k.limits.Charge(int64(len(k.mem) >> 3))
	mem := make([]byte, size)
	copy(mem, k.mem[:min(int(k.written), len(k.mem))])
	k.mem = mem
	return true
}

// blockSize is the room that n bytes get. Few different sizes make that what
// was freed fits again.
func blockSize(n uint64) uint64 {
	if n <= 1024 {
		return (n + unit - 1) &^ (unit - 1)
	}
	step := uint64(1) << (bits.Len64(n-1) - 3)
	return (n + step - 1) &^ (step - 1)
}

// alloc returns the handle of n bytes; 0 when there is no memory, or n is 0.
// As in Extism's kernel, they hold whatever was there before.
func (k *Kernel) alloc(n uint64) uint64 {
	if n == 0 || n > 1<<31 {
		return 0
	}
	size := blockSize(n)
	if list := k.free[uint32(size)]; len(list) > 0 {
		b := &k.blocks[list[len(list)-1]]
		k.free[uint32(size)] = list[:len(list)-1]
		b.used, b.live = uint32(n), true
		return uint64(b.at)
	}
	at := uint64(k.top) + unit
	if !k.ensure(at + size) {
		return 0
	}
	k.blocks = append(k.blocks, block{at: uint32(at), size: uint32(size), used: uint32(n), live: true})
	k.top = uint32(at + size)
	return at
}

// find returns the index of the block with a handle, -1 for none.
func (k *Kernel) find(handle uint64) int {
	low, high := 0, len(k.blocks)
	for low < high {
		mid := (low + high) / 2
		if uint64(k.blocks[mid].at) < handle {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low < len(k.blocks) && uint64(k.blocks[low].at) == handle && k.blocks[low].live {
		return low
	}
	return -1
}

// release frees a block. What is none is left alone, as Extism does.
func (k *Kernel) release(handle uint64) {
	i := k.find(handle)
	if i < 0 {
		return
	}
	b := &k.blocks[i]
	b.live = false
	if handle == k.input {
		k.input = 0
	}
	if i == len(k.blocks)-1 {
		k.top = b.at - unit
		k.blocks = k.blocks[:i]
		return
	}
	k.free[b.size] = append(k.free[b.size], i)
}

func (k *Kernel) length(handle uint64) uint64 {
	if i := k.find(handle); i >= 0 {
		return uint64(k.blocks[i].used)
	}
	return 0
}

// bytes is the content of the block behind a handle.
func (k *Kernel) bytes(what string, handle uint64) ([]byte, error) {
	i := k.find(handle)
	if i < 0 {
		return nil, fault("%s: %d is no handle of memory that this plug-in has allocated", what, handle)
	}
	b := &k.blocks[i]
	k.limits.Charge(int64(b.used >> 3))
	return k.mem[b.at : b.at+b.used], nil
}

// put allocates a copy of what the host hands to the plug-in.
func (k *Kernel) put(what string, value []byte) (uint64, error) {
	if len(value) == 0 {
		return 0, nil
	}
	k.limits.Charge(int64(len(value) >> 3))
	at := k.alloc(uint64(len(value)))
	if at == 0 {
		return 0, &host.Abort{Outcome: function.OutOfMemory, Reason: fmt.Sprintf("%s: no room for %d bytes beside what the plug-in holds: raise limits.memory", what, len(value))}
	}
	copy(k.mem[at:], value)
	k.written = max(k.written, uint32(at)+uint32(len(value)))
	return at, nil
}

// span is n bytes of the shared memory, for reading or writing.
func (k *Kernel) span(what string, at, n uint64, write bool) ([]byte, error) {
	end := at + n
	if at < unit || end < at || end > k.mapped() || !k.ensure(end) {
		return nil, fault("%s: offset %d with length %d is outside the plug-in's shared memory of %d bytes", what, at, n, k.mapped())
	}
	if write {
		k.written = max(k.written, uint32(end))
	}
	return k.mem[at:end], nil
}

func (k *Kernel) load(what string, at, n uint64) (uint64, error) {
	b, err := k.span(what, at, n, false)
	if err != nil {
		return 0, err
	}
	if n == 1 {
		return uint64(b[0]), nil
	}
	return binary.LittleEndian.Uint64(b), nil
}

func (k *Kernel) loadInput(what string, at, n uint64) (uint64, error) {
	in := k.calls.Input()
	if end := at + n; end < at || end > uint64(len(in)) {
		return 0, fault("%s: offset %d with length %d is outside the input of %d bytes", what, at, n, len(in))
	}
	if n == 1 {
		return uint64(in[at]), nil
	}
	return binary.LittleEndian.Uint64(in[at:]), nil
}
