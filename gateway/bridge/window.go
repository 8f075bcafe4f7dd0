package bridge

import (
	"hash/maphash"
	"sync"
	"time"
)

// Window remembers for a short while what passed over bridges, so that it
// knows a message that comes round: what was sent to one broker and comes back
// over another, or what comes in over two. MQTT 3.1.1 has no place for a mark
// in the message itself, so topic and payload have to do, and counts: two equal
// readings are two messages, and each may pass each way once.
//
// A message that looks like one of the last minute, and comes over a way that
// that one has not taken, is taken for it. So an equal message that somebody
// else publishes on the other side within that minute is lost, where loops are
// possible at all. Where one bridge is all there is, and its broker does not
// send back what it got, nothing ever looks like a repetition.
type Window struct {
	now  func() time.Time
	life time.Duration
	max  int
	seed maphash.Seed

	mu      sync.Mutex // leaf
	ways    map[string]uint
	passing []passage // a ring: passage n is at n % len
	oldest  uint64
	next    uint64
	chains  map[uint64]chain
	stats   WindowStats
}

// WindowStats count what the window saw.
type WindowStats struct {
	// Remembered is how many passages are known now.
	Remembered int
	// Repeats were recognised, Forgotten had to make room before their time,
	// Unwatched came over more ways than can be told apart.
	Repeats, Forgotten, Unwatched uint64
}

// passage is one message and the ways it has taken so far.
type passage struct {
	hash       uint64
	at         time.Time
	left, came uint64 // sets of ways
	later      uint64 // the next passage of the same content; 0 is none
}

// chain is the passages of one content, oldest first.
type chain struct{ first, last uint64 }

// Bounds of a window.
const (
	windowLife  = time.Minute
	windowMax   = 8192
	windowStart = 64
	maxWays     = 64
)

// NewWindow makes a window that measures time by now.
func NewWindow(now func() time.Time) *Window {
	return &Window{
		now: now, life: windowLife, max: windowMax, seed: maphash.MakeSeed(),
		ways: map[string]uint{}, chains: map[uint64]chain{}, passing: make([]passage, windowStart), oldest: 1, next: 1,
	}
}

// Came reports whether a message that comes over way is here already. See
// broker.Loops.
func (w *Window) Came(way, topic string, payload []byte) bool {
	return w.came(way, topic, payload, false)
}

// came is Came; echoes says that the broker behind way sends back what it gets.
func (w *Window) came(way, topic string, payload []byte, echoes bool) bool {
	h := w.hash(topic, payload)
	w.mu.Lock()
	defer w.mu.Unlock()
	bit, ok := w.bitLocked(way)
	if !ok {
		return false
	}
	w.expireLocked()
	others := ^bit
	for n := w.chains[h].first; n != 0; n = w.at(n).later {
		p := w.at(n)
		if p.came&bit == 0 && ((p.left|p.came)&others != 0 || echoes && p.left&bit != 0) {
			p.came |= bit
			w.stats.Repeats++
			return true
		}
	}
	w.addLocked(h).came = bit
	return false
}

// Left notes that a message leaves over way. See broker.Loops.
func (w *Window) Left(way, topic string, payload []byte) { w.leaves(way, topic, payload) }

// leaves is Left, and reports whether the message is news there: it may have
// come from there too, meanwhile.
func (w *Window) leaves(way, topic string, payload []byte) bool {
	h := w.hash(topic, payload)
	w.mu.Lock()
	defer w.mu.Unlock()
	bit, ok := w.bitLocked(way)
	if !ok {
		return true
	}
	w.expireLocked()
	for n := w.chains[h].first; n != 0; n = w.at(n).later {
		p := w.at(n)
		if p.left&bit == 0 && (p.came&bit == 0 || (p.left|p.came)&^bit != 0) {
			p.left |= bit
			return p.came&bit == 0
		}
	}
	w.addLocked(h).left = bit
	return true
}

// Stats returns the counters now.
func (w *Window) Stats() WindowStats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Remembered = int(w.next - w.oldest)
	return s
}

func (w *Window) hash(topic string, payload []byte) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(topic) // never fails
	_ = h.WriteByte(0)          // no topic has it
	_, _ = h.Write(payload)
	return h.Sum64()
}

// bitLocked is the place of a way in the sets. It is false for those that come
// after there are no places left: they are not watched.
func (w *Window) bitLocked(way string) (uint64, bool) {
	i, known := w.ways[way]
	if !known {
		if len(w.ways) == maxWays {
			w.stats.Unwatched++
			return 0, false
		}
		i = uint(len(w.ways))
		w.ways[way] = i
	}
	return 1 << i, true
}

func (w *Window) at(n uint64) *passage { return &w.passing[n%uint64(len(w.passing))] }

func (w *Window) addLocked(h uint64) *passage {
	if w.next-w.oldest == uint64(len(w.passing)) {
		if len(w.passing) < w.max {
			w.growLocked()
		} else {
			w.stats.Forgotten++
			w.dropLocked()
		}
	}
	n := w.next
	w.next++
	p := w.at(n)
	*p = passage{hash: h, at: w.now()}
	c := w.chains[h]
	if c.first == 0 {
		c.first = n
	} else {
		w.at(c.last).later = n
	}
	c.last = n
	w.chains[h] = c
	return p
}

func (w *Window) growLocked() {
	bigger := make([]passage, min(2*len(w.passing), w.max))
	for n := w.oldest; n < w.next; n++ {
		bigger[n%uint64(len(bigger))] = *w.at(n)
	}
	w.passing = bigger
}

// expireLocked forgets what is too old. An idle window is small again.
func (w *Window) expireLocked() {
	since := w.now().Add(-w.life)
	for w.oldest < w.next && w.at(w.oldest).at.Before(since) {
		w.dropLocked()
	}
	if w.oldest == w.next && len(w.passing) > windowStart {
		w.passing = make([]passage, windowStart)
		w.chains = map[uint64]chain{}
	}
}

// dropLocked forgets the oldest passage, which is the first of its chain.
func (w *Window) dropLocked() {
	p := w.at(w.oldest)
	if c := w.chains[p.hash]; p.later == 0 {
		delete(w.chains, p.hash)
	} else {
		c.first = p.later
		w.chains[p.hash] = c
	}
	w.oldest++
}
