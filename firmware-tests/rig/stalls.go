package rig

import (
	"sync"
	"time"
)

// Stalls measures for how long a machine stood still, or had no processor for
// who looks on. What is promised to happen within a second is not late by that:
// it is taken off where somebody judges by the clock.
type Stalls struct {
	mu    sync.Mutex
	total time.Duration
	end   chan struct{}
	ended chan struct{}
}

const (
	stallTick = 10 * time.Millisecond
	// stallLeast is what a tick may be late by on a machine that has room.
	stallLeast = 20 * time.Millisecond
)

// WatchStalls begins to measure, until Close.
func WatchStalls() *Stalls {
	s := &Stalls{end: make(chan struct{}), ended: make(chan struct{})}
	go s.watch()
	return s
}

func (s *Stalls) watch() {
	defer close(s.ended)
	for last := time.Now(); ; {
		select {
		case <-s.end:
			return
		case <-time.After(stallTick):
		}
		now := time.Now()
		if late := now.Sub(last) - stallTick; late > stallLeast {
			s.mu.Lock()
			s.total += late
			s.mu.Unlock()
		}
		last = now
	}
}

// Total is for how long that was so far.
func (s *Stalls) Total() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Close ends it.
func (s *Stalls) Close() {
	close(s.end)
	<-s.ended
}
