package bridge

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// at is a window on a clock of its own.
func at(now *time.Time) *Window { return NewWindow(func() time.Time { return *now }) }

func TestWindow(t *testing.T) {
	type step struct {
		act    string // left, came, echo: came over a way that echoes
		way    string
		repeat bool
	}
	for name, steps := range map[string][]step{
		"one way that does not echo": {{"left", "a", false}, {"came", "a", false}, {"came", "a", false}},
		"one way that echoes":        {{"left", "a", false}, {"echo", "a", true}, {"echo", "a", false}},
		"two readings, two echoes":   {{"left", "a", false}, {"left", "a", false}, {"echo", "a", true}, {"echo", "a", true}, {"echo", "a", false}},
		"out by one, back by other":  {{"left", "a", false}, {"came", "b", true}, {"came", "b", false}},
		"in by two":                  {{"came", "a", false}, {"came", "b", true}, {"came", "b", false}, {"came", "a", true}},
		"each twice by two":          {{"came", "a", false}, {"came", "a", false}, {"came", "b", true}, {"came", "b", true}},
		"out by two, back by both":   {{"left", "a", false}, {"left", "b", false}, {"came", "a", true}, {"came", "b", true}, {"came", "a", false}},
		"passed on and come round":   {{"came", "a", false}, {"left", "b", false}, {"came", "b", true}, {"came", "c", true}},
		"came, and said here too":    {{"came", "a", false}, {"left", "a", false}, {"came", "a", false}},
		"there before it is sent":    {{"came", "a", false}, {"came", "b", true}, {"left", "b", true}, {"came", "a", false}, {"came", "b", true}},
		"passed on to a ring of two": {{"came", "a", false}, {"left", "b", false}, {"left", "c", false}, {"came", "c", true}, {"came", "b", true}},
	} {
		t.Run(name, func(t *testing.T) {
			now := time.Now()
			w := at(&now)
			for i, s := range steps {
				switch s.act {
				case "left":
					if got := w.leaves(s.way, "t", []byte("x")); got == s.repeat {
						t.Errorf("step %d: to %s it is news: %v", i, s.way, got)
					}
				default:
					if got := w.came(s.way, "t", []byte("x"), s.act == "echo"); got != s.repeat {
						t.Errorf("step %d: came over %s is a repeat: %v", i, s.way, got)
					}
				}
			}
			if w.Came("z", "other", []byte("x")) || w.Came("z", "t", []byte("y")) {
				t.Error("another topic or payload is a repeat")
			}
		})
	}
}

// A reading that never changes, sent out at any pace and echoed within the
// window, is told from its echoes for ever.
func TestWindowOfAConstantReading(t *testing.T) {
	for _, period := range []time.Duration{time.Millisecond, time.Second, windowLife - time.Second, windowLife, windowLife + time.Second} {
		now := time.Now()
		w := at(&now)
		for range 300 {
			w.Left("a", "t", nil)
			now = now.Add(period / 2)
			if period < windowLife && !w.came("a", "t", nil, true) {
				t.Fatalf("every %s: an echo went through", period)
			}
			now = now.Add(period / 2)
		}
	}
}

// The window is bounded, forgets the oldest first, and is small when idle.
func TestWindowIsBounded(t *testing.T) {
	now := time.Now()
	w := at(&now)
	for i := range 3 * windowMax {
		w.Left("a", fmt.Sprint(i), nil)
	}
	s := w.Stats()
	if s.Remembered != windowMax || s.Forgotten != 2*windowMax || len(w.chains) != windowMax {
		t.Errorf("%+v, %d chains", s, len(w.chains))
	}
	if w.Came("b", "0", nil) || !w.Came("b", fmt.Sprint(3*windowMax-1), nil) {
		t.Error("not the oldest were forgotten")
	}
	now = now.Add(windowLife + time.Second)
	w.Left("a", "t", nil)
	if s := w.Stats(); s.Remembered != 1 || len(w.passing) != windowStart || len(w.chains) != 1 {
		t.Errorf("after its life: %+v, %d places, %d chains", s, len(w.passing), len(w.chains))
	}
	for i := range maxWays + 3 {
		w.Left(fmt.Sprint("way", i), "t", nil)
	}
	if s := w.Stats(); s.Unwatched == 0 {
		t.Errorf("%+v", s)
	}
}

// Whatever happens, what the window holds is consistent.
func TestWindowChains(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // reproducible
	now := time.Now()
	w := at(&now)
	w.max = 256
	for range 20_000 {
		way, name := fmt.Sprint(r.IntN(4)), fmt.Sprint(r.IntN(8))
		if r.IntN(2) == 0 {
			w.Left(way, name, nil)
		} else {
			w.Came(way, name, nil)
		}
		now = now.Add(time.Duration(r.IntN(int(windowLife / 100))))
		n := 0
		for h, c := range w.chains {
			last := uint64(0)
			for i := c.first; i != 0; i = w.at(i).later {
				if i < w.oldest || i >= w.next || w.at(i).hash != h || i <= last {
					t.Fatalf("passage %d of %d..%d is in the wrong chain", i, w.oldest, w.next)
				}
				last = i
				n++
			}
			if last != c.last {
				t.Fatalf("a chain ends at %d, not %d", last, c.last)
			}
		}
		if n != int(w.next-w.oldest) {
			t.Fatalf("%d passages are in chains, %d are known", n, w.next-w.oldest)
		}
	}
}

func BenchmarkWindow(b *testing.B) {
	w := NewWindow(time.Now)
	topics := make([]string, 4096)
	for i := range topics {
		topics[i] = fmt.Sprint("farm/", i, "/moisture")
	}
	payload := []byte(`{"moisture":27.5}`)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		w.Left("a", topics[i%len(topics)], payload)
		w.Came("b", topics[i%len(topics)], payload)
	}
}
