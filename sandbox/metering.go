package sandbox

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/instrument"
)

// yield is called by metered code when fuel is below the floor: every slice
// of fuel, and when there is none left. It gives way to whoever waits for a
// processor: Go itself would let a guest go on for 10 ms, so that with one
// busy guest more than processors each would learn of its deadline that late.
func (in *instance) yield() {
	fuel := int64(in.fuel.Get())
	if fuel < 0 {
		panic(in.outOfFuel())
	}
	in.fitSlice()
	in.giveWay()
	in.resumed = time.Now()
	in.floor.Set(uint64(max(fuel-in.slice, 0)))
}

// A slice of fuel is as long as the machine's memory is slow: a guest that
// misses the cache with every load takes thirty times as long for it as one
// that counts. So slices shrink and grow towards sliceTime, and are short when
// the deadline is near.
const (
	sliceTime    = 200 * time.Microsecond
	nearDeadline = 10 * time.Millisecond
	minSlice     = 500
)

// fitSlice sets the fuel until the next yield by the time that the last slice
// took.
func (in *instance) fitSlice() {
	now := time.Now()
	most := in.module.engine.slice
	if in.deadline.Sub(now) < nearDeadline {
		most /= 8
	}
	switch took := now.Sub(in.resumed); {
	case in.resumed.IsZero():
	case took > 2*sliceTime:
		in.slice /= 2
	case took < sliceTime:
		in.slice *= 2
	}
	in.slice = max(min(in.slice, most), minSlice)
}

// checkTime ends the call when its deadline has passed or its caller is gone.
func (in *instance) checkTime() {
	if time.Now().After(in.deadline) {
		panic(in.timeout())
	}
	if err := in.ctx.Context.Err(); err != nil {
		panic(&stop{outcome: function.TimedOut, reason: fmt.Sprintf("stopped by its caller: %v", err)})
	}
}

func (in *instance) outOfFuel() *stop {
	reason := fmt.Sprintf("out of fuel: the call needs more than the %d units of limits.fuel", uint64(in.module.limits.Fuel))
	if in.starting {
		reason = fmt.Sprintf("out of fuel: what runs before the first event needs more than %d units", in.module.engine.initFuel)
	}
	return &stop{outcome: function.OutOfFuel, reason: reason}
}

func (in *instance) timeout() *stop {
	reason := fmt.Sprintf("timed out: the call takes longer than %s (limits.timeout)", in.module.limits.Timeout)
	if in.starting {
		reason = fmt.Sprintf("timed out: what runs before the first event takes longer than %s", initTimeout)
	}
	return &stop{outcome: function.TimedOut, reason: reason}
}

// burn charges fuel for what the host does.
func (in *instance) burn(n int64) {
	fuel := int64(in.fuel.Get()) - n
	in.fuel.Set(uint64(fuel))
	if fuel < int64(in.floor.Get()) {
		in.yield()
	}
}

// giveWay lets others run, then ends the call if its time is up.
//
// With Gosched alone a busy guest is often the next to run on its processor
// again, while another waits in the line of the other processor, behind a
// goroutine that runs for its full 10 ms. So one guest at a time is in line;
// who comes to its yield meanwhile blocks until that one runs, and the
// processor, out of work, fetches it.
func (in *instance) giveWay() {
	line := in.module.engine.line
	line <- struct{}{}
	runtime.Gosched()
	<-line
	in.checkTime()
}

// span is the guest's memory at ptr, or the trap that the instruction would
// have ended in.
func (in *instance) span(ptr, n uint64) []byte {
	b, ok := in.linear.Read(uint32(ptr), uint32(n))
	if !ok {
		panic(&stop{outcome: function.Trapped, reason: "out of bounds memory access"})
	}
	return b
}

// fill is a long memory.fill.
func (in *instance) fill(dst uint64, value byte, n uint64) {
	b := in.span(dst, n)
	for piece := range slices.Chunk(b, instrument.LongBytes) {
		piece[0] = value
		for done := 1; done < len(piece); done *= 2 {
			copy(piece[done:], piece[:done])
		}
		in.giveWay()
	}
}

// move is a long memory.copy. Where the ends overlap, what is read must not
// have been written before.
func (in *instance) move(dst, src, n uint64) {
	to, from := in.span(dst, n), in.span(src, n)
	for done := 0; done < len(to); done += instrument.LongBytes {
		i := done
		j := min(i+instrument.LongBytes, len(to))
		if uint32(dst) > uint32(src) {
			i, j = len(to)-j, len(to)-i
		}
		copy(to[i:j], from[i:j])
		in.giveWay()
	}
}
