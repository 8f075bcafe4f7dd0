package broker

import (
	"sync"
	"testing"
	"time"
)

// holder is a handler that keeps everything until the test releases it.
type holder struct {
	mu   sync.Mutex
	all  []*Inbound
	here chan *Inbound
}

func newHolder() *holder { return &holder{here: make(chan *Inbound, 100000)} }

var _ Handler = (*holder)(nil)

func (h *holder) Publish(in *Inbound) {
	h.mu.Lock()
	h.all = append(h.all, in)
	h.mu.Unlock()
	h.here <- in
}

// take returns the next message that the broker has handed over.
func (h *holder) take(t testing.TB) *Inbound {
	t.Helper()
	select {
	case in := <-h.here:
		return in
	case <-time.After(patience):
		t.Fatal("the handler got nothing")
		return nil
	}
}

func (h *holder) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// reset forgets and releases what is held.
func (h *holder) reset() {
	h.mu.Lock()
	all := h.all
	h.all = nil
	h.mu.Unlock()
	for _, in := range all {
		in.Release(Success)
	}
	for len(h.here) > 0 {
		<-h.here
	}
}

// releaser is a handler that releases at once.
type releaser struct{}

func (releaser) Publish(in *Inbound) { in.Release(Success) }
