package broker

import (
	"container/heap"
	"sync"
	"time"
)

// timer is one pending call. Its owner embeds it; the zero value is stopped.
type timer struct {
	at    time.Time
	fire  func()
	index int // in the heap, plus one
}

// timers runs the calls that are due, one after the other, on one goroutine:
// session expiry, delayed wills, refusals. Calls must not block.
type timers struct {
	mu   sync.Mutex // leaf
	heap timerHeap
	wake chan struct{}
}

func newTimers() *timers { return &timers{wake: make(chan struct{}, 1)} }

// after sets t, replacing what it was set to.
func (ts *timers) after(t *timer, d time.Duration, fire func()) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	t.at, t.fire = time.Now().Add(d), fire
	if t.index > 0 {
		heap.Fix(&ts.heap, t.index-1)
	} else {
		heap.Push(&ts.heap, t)
	}
	if ts.heap[0] == t {
		select {
		case ts.wake <- struct{}{}:
		default:
		}
	}
}

func (ts *timers) stop(t *timer) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	if t.index > 0 {
		heap.Remove(&ts.heap, t.index-1)
	}
}

// run fires timers until done is closed.
func (ts *timers) run(done <-chan struct{}) {
	clock := time.NewTimer(time.Hour)
	defer clock.Stop()
	for {
		clock.Reset(ts.fireDue())
		select {
		case <-clock.C:
		case <-ts.wake:
		case <-done:
			return
		}
	}
}

// fireDue runs what is due and returns the time to the next one.
func (ts *timers) fireDue() time.Duration {
	for {
		ts.mu.Lock()
		if len(ts.heap) == 0 {
			ts.mu.Unlock()
			return time.Hour
		}
		t := ts.heap[0]
		if wait := time.Until(t.at); wait > 0 {
			ts.mu.Unlock()
			return wait
		}
		heap.Pop(&ts.heap)
		fire := t.fire
		ts.mu.Unlock()
		fire()
	}
}

type timerHeap []*timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i+1, j+1
}

// Push implements heap.Interface.
func (h *timerHeap) Push(x any) {
	t, _ := x.(*timer)
	t.index = len(*h) + 1
	*h = append(*h, t)
}

// Pop implements heap.Interface.
func (h *timerHeap) Pop() any {
	last := len(*h) - 1
	t := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	t.index = 0
	return t
}
