package extism

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
)

// allowance admits shared memory up to a size.
type allowance struct{ bytes uint64 }

func (allowance) Charge(int64)                {}
func (a allowance) Reserve(bytes uint64) bool { return bytes <= a.bytes }

func newTestKernel(limit uint64) (*Kernel, *host.Calls) {
	k, calls := NewKernel(allowance{limit}), new(host.Calls)
	calls.Reset(host.NewGrant("f", function.Permissions{}, function.Limits{}, nil, nil), host.Invocation{Input: []byte("input")})
	k.Begin(context.Background(), calls)
	return k, calls
}

// FuzzKernel does with a kernel what its bytes say, beside a model: blocks keep
// what was written to them while they live, never overlap, and nothing is left
// behind by a reset.
func FuzzKernel(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 8 {
		seed := make([]byte, 600)
		for i := range seed {
			seed[i] = byte(rng.Uint32())
		}
		f.Add(seed)
	}
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, data []byte) {
		k, _ := newTestKernel(limit)
		model := map[uint64][]byte{}
		for i := 0; i+3 < len(data); i += 4 {
			op, n := data[i]%8, uint64(data[i+1])|uint64(data[i+2])<<8
			switch op {
			case 0, 1, 2:
				size := n >> (data[i+3] % 16)
				at := k.alloc(size)
				if at == 0 {
					continue
				}
				if _, there := model[at]; there || k.length(at) != size {
					t.Fatalf("alloc(%d) is %d, of %d bytes", size, at, k.length(at))
				}
				fill := bytes.Repeat([]byte{data[i+3] | 1}, int(size))
				for j, b := range fill {
					if err := storeByte(k, []uint64{at + uint64(j), uint64(b)}); err != nil {
						t.Fatal(err)
					}
				}
				model[at] = fill
			case 3, 4:
				for at := range model {
					k.release(at)
					delete(model, at)
					if k.length(at) != 0 {
						t.Fatalf("%d is free and has %d bytes", at, k.length(at))
					}
					break
				}
			case 5:
				k.release(n) // mostly no handle
				delete(model, n)
			case 6:
				_, err := k.load("load_u64", n*997, 8)
				var a *host.Abort
				if err != nil && !errors.As(err, &a) {
					t.Fatal(err)
				}
			case 7:
				if data[i+3] == 0 {
					k.forget()
					clear(model)
				}
			}
		}
		for at, want := range model {
			if got, err := k.bytes("test", at); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("the block at %d does not hold what was written: %v", at, err)
			}
		}
		if len(k.mem) > limit {
			t.Fatalf("%d bytes, over the limit", len(k.mem))
		}
		k.Reset()
		if len(bytes.Trim(k.mem, "\x00")) > 0 || k.length(2*unit) != 0 || len(k.Output()) != 0 || k.Failed() {
			t.Fatal("something is left after a reset")
		}
	})
}

// TestKernelIsBounded: whatever is allocated and freed, the list of blocks is
// bounded by the memory, and what fits no more is refused.
func TestKernelIsBounded(t *testing.T) {
	k, _ := newTestKernel(1 << 16)
	n := 0
	for k.alloc(1) != 0 {
		n++
	}
	if n > 1<<16/(2*unit) {
		t.Errorf("%d blocks of one byte in 64 KiB", n)
	}
	first := k.blocks[0].at
	k.release(uint64(first))
	if at := k.alloc(16); at != uint64(first) {
		t.Errorf("a freed block is not used again: %d, not %d", at, first)
	}
	if k.alloc(1<<40) != 0 || k.alloc(1<<63) != 0 {
		t.Error("memory that there is not")
	}
}

// BenchmarkCopy moves an event's data into the shared memory and back, as PDKs
// do, by words.
func BenchmarkCopy(b *testing.B) {
	k, _ := newTestKernel(1 << 20)
	b.ReportAllocs()
	for b.Loop() {
		at := k.alloc(1024)
		for i := uint64(0); i < 1024; i += 8 {
			if storeWord(k, []uint64{at + i, i}) != nil {
				b.Fatal("out of bounds")
			}
		}
		k.forget()
	}
}
