package sandbox_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
	. "github.com/headgate-io/headgate/sandbox/wasmtest"
)

const (
	timeout = 15 * time.Millisecond
	// maxOvershoot is how long after its deadline a guest may still run.
	maxOvershoot = 5 * time.Millisecond
)

// loops never end, each in its own way.
func loops() map[string][]byte {
	const pages = 160 // 10 MiB
	walk := New(pages)
	walk.Handler("i", Forever(LocalGet(0), Load32(0), LocalGet(0), Add, I32(69_621), Add,
		I32(pages*65536-8), Op(0x70), LocalSet(0)), I32(0)) // i = (mem[i]+i+69621) % size
	fill := New(pages).Handler("", Forever(I32(0), I32(7), I32(pages*65536), MemoryFill), I32(0))
	recursive := New(1)
	recursive.Handler("", I32(60), Call(2), I32(0))
	recursive.Func("i", "", "", LocalGet(0), If(LocalGet(0), I32(1), Sub, Call(2), LocalGet(0), I32(1), Sub, Call(2)))
	return map[string][]byte{
		"plain": New(1).Handler("", Forever(), I32(0)).Bytes(), "cache misses": walk.Bytes(),
		"bulk fill": fill.Bytes(), "recursion": recursive.Bytes(),
	}
}

// TestDeadlineHolds runs one endless loop more than there are processors, and
// a neighbour that goes on, and wants every loop to end within 5 ms of its
// deadline.
//
// The promise is about the wall clock, and one round of 24 ends that are all in
// time by it is enough: a sandbox that leaves the clock to a timer, or does not
// give way at its yields, is late by 10 ms and more in every round. What other
// programs do to this one is not the sandbox's fault. So a round with a late
// end is repeated, up to five times; and where the machine is too busy for a
// good one, the time that threads of this process were ready and got no
// processor, as the kernel counts it, is taken off. That verdict is weaker,
// and the log says so.
//
// Under emulation (EMULATED_CPU) one in ten may be later: the emulator
// translates code while the guest waits for it.
func TestDeadlineHolds(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	neighbour := load(t, e, "counter.wasm", counterModule(), testOptions{})
	limits := function.Limits{Fuel: 1 << 60, Timeout: function.Duration(timeout)}
	last := func(n int) int { return n - 1 }
	if slow.IsEmulated() {
		last = func(n int) int { return n * 9 / 10 }
	}
	for name, module := range loops() {
		t.Run(name, func(t *testing.T) {
			units := make([]*unit, runtime.GOMAXPROCS(0)+1)
			for i := range units {
				units[i] = load(t, e, "loop.wasm", module, testOptions{limits: limits})
			}
			excused := false
			for range 5 {
				wall, own, served := overshoots(units, neighbour)
				n := len(wall)
				t.Logf("%d ends after their deadline: p50 %s, p90 %s, worst %s (%s without what other programs took); the neighbour served %d",
					n, wall[n/2], wall[n*9/10], wall[n-1], own[n-1], served)
				if served == 0 {
					t.Fatal("the neighbour did not get on")
				}
				if wall[last(n)] <= maxOvershoot {
					return
				}
				excused = excused || own[last(n)] <= maxOvershoot
			}
			if !excused {
				t.Fatalf("no round in which all ended within %s of their deadline", maxOvershoot)
			}
			t.Log("other programs keep this machine too busy for a good round: they are to blame for every late end of one round")
		})
	}
}

// overshoots runs every unit a few times at once, beside the neighbour. It
// returns, sorted, how late the calls ended, and how late without the time
// that the kernel withheld; and how many events the neighbour served.
func overshoots(units []*unit, neighbour *unit) (wall, own []time.Duration, served int64) {
	const calls = 8
	var mu sync.Mutex // guards wall and own
	var loops, others sync.WaitGroup
	stop := make(chan struct{})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if r := neighbour.invoke(host.Invocation{}); r.Outcome != function.OK {
				neighbour.t.Errorf("the neighbour failed: %s %s", r.Outcome, r.Error)
				return
			}
			served++
		}
	})
	for _, u := range units {
		loops.Go(func() {
			for range calls {
				before := withheld()
				r := u.invoke(host.Invocation{})
				lost := withheld() - before
				if r.Outcome != function.TimedOut {
					u.t.Errorf("ended %s: %s", r.Outcome, r.Error)
				}
				mu.Lock()
				late := r.Duration - timeout
				wall, own = append(wall, late), append(own, max(late-lost, 0))
				mu.Unlock()
			}
		})
	}
	loops.Wait()
	close(stop)
	others.Wait()
	slices.Sort(wall)
	slices.Sort(own)
	return wall, own, served
}

// withheld is how long threads of this process were ready to run and did not,
// as Linux counts it; elsewhere 0.
func withheld() time.Duration {
	files, _ := filepath.Glob("/proc/self/task/*/schedstat")
	sum := time.Duration(0)
	for _, f := range files {
		var ran, waited time.Duration
		if b, err := os.ReadFile(f); err == nil {
			if _, err := fmt.Sscan(string(b), &ran, &waited); err == nil {
				sum += waited
			}
		}
	}
	return sum
}

// TestLongMoves: fills and copies that are done in pieces give what the single
// instruction gives, overlapping both ways, and trap where it does.
func TestLongMoves(t *testing.T) {
	const n = 900_001
	e := testEngine(t, sandbox.Config{})
	// First every word holds its own address.
	number := Block(Loop(LocalGet(0), I32(n), Op(0x4f), BrIf(1), // >= n
		LocalGet(0), LocalGet(0), Store32(0), LocalGet(0), I32(4), Add, LocalSet(0), Br(0)))
	for name, c := range map[string]struct {
		op       Code
		dst, src int
		n        int
	}{
		"down":      {MemoryCopy, 100, 70_000, n - 80_000},
		"up":        {MemoryCopy, 70_000, 100, n - 80_000},
		"in place":  {MemoryCopy, 64, 64, n - 80_000},
		"apart":     {MemoryCopy, 0, 450_000, 400_000},
		"fill":      {MemoryFill, 10_000, 7, 800_000},
		"past end":  {MemoryCopy, 70_000, 100, 1 << 20},
		"from past": {MemoryCopy, 100, 70_000, 1 << 20},
		"fill past": {MemoryFill, 70_000, 100, 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			m := New(16)
			output := m.Import("headgate_v1", "output", "ii", "")
			m.Handler("i", number, I32(int32(c.dst)), I32(int32(c.src)), I32(int32(c.n)), c.op,
				I32(0), I32(n), Call(output), I32(0))
			u := load(t, e, "move.wasm", m.Bytes(), testOptions{limits: function.Limits{Output: 2 << 20, Timeout: function.Duration(10 * time.Second)}})
			r := u.invoke(host.Invocation{})
			if c.n >= 1<<20 {
				if r.Outcome != function.Trapped || !strings.Contains(r.Error, "out of bounds memory access") {
					t.Fatalf("ended %s: %s", r.Outcome, r.Error)
				}
				return
			}
			want := make([]byte, n+4)
			for i := 0; i < n; i += 4 {
				binary.LittleEndian.PutUint32(want[i:], uint32(i))
			}
			want = want[:n]
			if bytes.Equal(c.op, MemoryFill) {
				for i := range want[c.dst : c.dst+c.n] {
					want[c.dst+i] = byte(c.src)
				}
			} else {
				copy(want[c.dst:c.dst+c.n], want[c.src:c.src+c.n])
			}
			if r.Outcome != function.OK || !bytes.Equal(r.Output, want) {
				t.Fatalf("ended %s %s, or the memory differs", r.Outcome, r.Error)
			}
		})
	}
}
