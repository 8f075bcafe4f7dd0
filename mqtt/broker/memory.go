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
}

// budget is what all connections hold together.
type budget struct {
	bytes atomic.Int64
	limit int64
	over  chan struct{} // wakes Server.shed
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
		select {
		case h.total.over <- struct{}{}:
		default:
		}
	}
}

// waits notes that what is held is stuck from now on; moves that it is not.
func (h *held) waits() { h.since.Store(time.Now().UnixNano()) }
func (h *held) moves() { h.since.Store(0) }

// release gives back what is left at the end.
func (h *held) release() { h.total.bytes.Add(-h.bytes.Swap(0)) }

// weight grows with what is held and with how long it has been stuck, so that
// a slow sender of one large packet outlives those that never finish theirs.
func (h *held) weight(now int64) float64 {
	stuck := time.Millisecond
	if since := h.since.Load(); since != 0 {
		stuck = max(stuck, time.Duration(now-since))
	}
	return float64(h.bytes.Load()) * stuck.Seconds()
}

// shed closes connections while all of them together hold more than
// MaxBufferedBytesTotal, the one that weighs most first. It returns when the
// broker closes.
func (s *Server) shed() {
	for {
		select {
		case <-s.done:
			return
		case <-s.buffered.over:
		}
		for s.shedOne() {
		}
	}
}

// shedOne closes the worst connection. It reports false when what the others
// hold is within the bound.
func (s *Server) shedOne() bool {
	now := time.Now().UnixNano()
	var sum int64
	var worst *conn
	var most float64
	s.mu.Lock()
	for c := range s.conns {
		if c.shedding.Load() {
			continue // its bytes are about to be given back
		}
		sum += c.inHeld.bytes.Load() + c.outHeld.bytes.Load()
		if w := c.inHeld.weight(now) + c.outHeld.weight(now); w > most {
			worst, most = c, w
		}
	}
	s.mu.Unlock()
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
