package main

import (
	"bytes"
	"io"
	"sync"
)

// turn is where one of several writes that go on at the same time. Its readers
// get them one after the other: the first at once, another when those before it
// have ended.
type turn struct {
	mu     *sync.Mutex // guards all turns of a writer, and the writer
	out    io.Writer
	next   *turn // nil for the last
	now    bool
	ended  bool
	before bytes.Buffer // what was written before its turn came
}

// turns makes n of them that write to out.
func turns(out io.Writer, n int) []*turn {
	all, mu := make([]*turn, n), new(sync.Mutex)
	for i := n - 1; i >= 0; i-- {
		all[i] = &turn{mu: mu, out: out, now: i == 0}
		if i+1 < n {
			all[i].next = all[i+1]
		}
	}
	return all
}

func (t *turn) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now {
		return t.out.Write(b)
	}
	return t.before.Write(b)
}

// end says that no more is written.
func (t *turn) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.ended = true
	for t.now && t.ended && t.next != nil {
		t = t.next
		t.now = true
		_, _ = t.before.WriteTo(t.out)
	}
}
