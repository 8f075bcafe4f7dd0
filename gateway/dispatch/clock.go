package dispatch

import (
	"container/heap"
	"sync"
	"time"
)

// clock is everything that happens later: arrivals to spill, retries, rates.
// One goroutine serves it.
type clock struct {
	mu sync.Mutex
	// first and last are the arrivals by deadline. All have the same time to
	// run, so that a new one goes to the end.
	first, last *arrival
	hurried     []*arrival
	timers      timerHeap
	seq         uint64
	armed       time.Time // when the goroutine will look again
	wake        chan struct{}
}

type timer struct {
	at  time.Time
	seq uint64
	fn  func()
}

type timerHeap []timer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	return h[i].at.Before(h[j].at) || h[i].at.Equal(h[j].at) && h[i].seq < h[j].seq
}
func (h timerHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *timerHeap) Push(x any)   { *h = append(*h, x.(timer)) }
func (h *timerHeap) Pop() any {
	old := *h
	x := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return x
}

// list puts an arrival where its deadline says, mostly the end.
func (c *clock) list(a *arrival) {
	c.mu.Lock()
	at := c.last
	for at != nil && at.deadline.After(a.deadline) {
		at = at.prev
	}
	a.listed, a.prev = true, at
	if at == nil {
		a.next, c.first = c.first, a
	} else {
		a.next, at.next = at.next, a
	}
	if a.next == nil {
		c.last = a
	} else {
		a.next.prev = a
	}
	c.armLocked(a.deadline)
	c.mu.Unlock()
}

func (c *clock) unlist(a *arrival) {
	c.mu.Lock()
	c.unlistLocked(a)
	c.mu.Unlock()
}

func (c *clock) unlistLocked(a *arrival) {
	if !a.listed {
		return
	}
	if a.prev != nil {
		a.prev.next = a.next
	} else {
		c.first = a.next
	}
	if a.next != nil {
		a.next.prev = a.prev
	} else {
		c.last = a.prev
	}
	a.listed, a.prev, a.next = false, nil, nil
}

// hurry spills arrivals now, in this order.
func (c *clock) hurry(as []*arrival) {
	c.mu.Lock()
	c.hurried = append(c.hurried, as...)
	c.armLocked(time.Time{})
	c.mu.Unlock()
}

// at calls fn at the given time, on the clock's goroutine.
func (c *clock) at(when time.Time, fn func()) {
	c.mu.Lock()
	c.seq++
	heap.Push(&c.timers, timer{when, c.seq, fn})
	c.armLocked(when)
	c.mu.Unlock()
}

// armLocked wakes the goroutine when it would look too late.
func (c *clock) armLocked(when time.Time) {
	if !c.armed.IsZero() && !when.Before(c.armed) {
		return
	}
	c.armed = when
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// due takes what is due and says when to look again; zero is never.
func (c *clock) due(now time.Time, spills []*arrival, calls []func()) ([]*arrival, []func(), time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	spills = append(spills, c.hurried...)
	clear(c.hurried)
	c.hurried = c.hurried[:0]
	for c.first != nil && !c.first.deadline.After(now) {
		spills = append(spills, c.first)
		c.unlistLocked(c.first)
	}
	for len(c.timers) > 0 && !c.timers[0].at.After(now) {
		calls = append(calls, heap.Pop(&c.timers).(timer).fn)
	}
	var next time.Time
	if c.first != nil {
		next = c.first.deadline
	}
	if len(c.timers) > 0 && (next.IsZero() || c.timers[0].at.Before(next)) {
		next = c.timers[0].at
	}
	c.armed = next
	return spills, calls, next
}

// takeArrivals empties the list, at the end.
func (c *clock) takeArrivals() []*arrival {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []*arrival
	for c.first != nil {
		out = append(out, c.first)
		c.unlistLocked(c.first)
	}
	return out
}

// run serves the clock until stop is closed.
func (c *clock) run(stop <-chan struct{}) {
	t := time.NewTimer(time.Hour)
	defer t.Stop()
	var spills []*arrival
	var calls []func()
	for {
		var next time.Time
		spills, calls, next = c.due(time.Now(), spills[:0], calls[:0])
		for _, a := range spills {
			a.spill()
		}
		for _, fn := range calls {
			fn()
		}
		clear(spills)
		clear(calls)
		var expired <-chan time.Time
		if !next.IsZero() {
			t.Reset(time.Until(next))
			expired = t.C
		}
		select {
		case <-expired:
		case <-c.wake:
		case <-stop:
			return
		}
	}
}
