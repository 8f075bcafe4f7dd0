package broker

import (
	"sync/atomic"
	"time"
)

// held is how many bytes one direction of a connection keeps in buffers, and
// since when they have been stuck: in a packet that is not complete, in a write
// that does not end. Each connection's buffers are bounded, but thousands of bounded buffers are
// more than a board has, so they have a bound together too (see Server.shed).
type held struct {
	bytes atomic.Int64
	since atomic.Int64 // Unix nanoseconds; 0 is not stuck
	total *budget
	// closing is closed with the connection.
	closing <-chan struct{}
}

// budget is what all connections hold together.
type budget struct {
	bytes atomic.Int64
	limit int64
	over  chan struct{} // wakes Server.shed
}

func (b *budget) exceeded() bool { return b.bytes.Load() > b.limit }

func (b *budget) wake() {
	select {
	case b.over <- struct{}{}:
	default:
	}
}

func newBudget(limit int) *budget {
	return &budget{limit: int64(limit), over: make(chan struct{}, 1)}
}

// add counts bytes that the connection keeps from now on; a negative number
// gives some back.
func (h *held) add(bytes int) {
	if bytes == 0 {
		return
	}
	h.bytes.Add(int64(bytes))
	if h.total.bytes.Add(int64(bytes)) > h.total.limit && bytes > 0 {
		h.total.wake()
	}
}

// waitForRoom returns once so many bytes more keep all connections within twice
// their bound, or this one is closed. Where the others hold little it need not
// wait: one packet may be larger than the bound.
func (h *held) waitForRoom(bytes int, since time.Time) {
	for {
		total := h.total.bytes.Load()
		if total+int64(bytes) <= 2*h.total.limit || total-h.bytes.Load() <= h.total.limit/2 {
			return
		}
		h.waits(since)
		h.total.wake()
		select {
		case <-h.closing:
			return
		case <-time.After(roomEvery):
		}
	}
}

// roomEvery is how often a packet that waits for room looks for it.
const roomEvery = 20 * time.Millisecond

// waits notes that what is held has been stuck since then; moves that it is not.
func (h *held) waits(since time.Time) { h.since.Store(since.UnixNano()) }
func (h *held) moves()                { h.since.Store(0) }

// stuck is for how long it has been.
func (h *held) stuck(now time.Time) time.Duration {
	since := h.since.Load()
	if since == 0 {
		return 0
	}
	return now.Sub(time.Unix(0, since))
}

// release gives back what is left at the end.
func (h *held) release() { h.total.bytes.Add(-h.bytes.Swap(0)) }

// weight grows with what is held and with how long it has been stuck, so that
// a slow sender of one large packet outlives those that never finish theirs.
func (h *held) weight(now time.Time) float64 {
	return float64(h.bytes.Load()) * max(h.stuck(now), time.Millisecond).Seconds()
}

// stuckAfter is how long a connection may keep others waiting for memory.
const stuckAfter = time.Second

// shed closes connections that are stuck while all of them together hold more
// than MaxBufferedBytesTotal, the one that weighs most first; at twice that
// much it asks no longer since when. It returns when the broker closes.
func (s *Server) shed() {
	const pause = 50 * time.Millisecond
	for {
		select {
		case <-s.done:
			return
		case <-s.buffered.over:
		}
		for s.buffered.exceeded() && s.shedOne() {
		}
		if !s.buffered.exceeded() {
			continue
		}
		select { // a burst, it passes; or those that were closed are ending
		case <-s.done:
			return
		case <-time.After(pause):
			s.buffered.wake()
		}
	}
}

// shedOne closes the worst connection. It reports false when what the others
// hold is within the bound, or none of them has been stuck for long.
func (s *Server) shedOne() bool {
	now := time.Now()
	var sum int64
	var worst, stuck *conn
	var most, stuckMost float64
	s.mu.Lock()
	for c := range s.conns {
		if c.shedding.Load() {
			continue // its bytes are about to be given back
		}
		sum += c.inHeld.bytes.Load() + c.outHeld.bytes.Load()
		w := c.inHeld.weight(now) + c.outHeld.weight(now)
		if w > most {
			worst, most = c, w
		}
		if w > stuckMost && max(c.inHeld.stuck(now), c.outHeld.stuck(now)) >= stuckAfter {
			stuck, stuckMost = c, w
		}
	}
	s.mu.Unlock()
	if sum <= 2*s.buffered.limit {
		worst = stuck
	}
	if sum <= s.buffered.limit || worst == nil {
		return false
	}
	worst.shedding.Store(true)
	s.count.shed.Add(1)
	s.notice("connections hold too much memory: the one that is stuck with most of it is closed", "remote", worst.remote,
		"in_bytes", worst.inHeld.bytes.Load(), "out_bytes", worst.outHeld.bytes.Load())
	worst.kick(QuotaExceeded)
	_ = worst.nc.Close() // what waits for it is what has to go
	return true
}
