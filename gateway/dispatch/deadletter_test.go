package dispatch_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// diary is a function that fails while bad is set, and else notes its events.
type diary struct {
	mu   sync.Mutex
	seen []string
	bad  atomic.Bool
}

func (d *diary) run(_ context.Context, c *host.Calls) error {
	if d.bad.Load() {
		return errors.New("boom")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seen = append(d.seen, string(c.Input()))
	return nil
}

func (d *diary) all() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

// giveUp makes dead letters of a function, without its running.
func (r *rig) giveUp(name string, n int) {
	r.t.Helper()
	for i := range n {
		e := &event.Event{ID: fmt.Sprint(name, i), Source: "/test", Type: event.TypeMQTT, Data: []byte(strconv.Itoa(i))}
		_, err := r.store.Seal(&store.Unit{Dead: []*store.DeadLetter{{Function: name, Key: "k", Died: time.Now(), Reason: "attempts", Event: e}}})
		if err != nil {
			r.t.Fatal(err)
		}
	}
	r.sync()
}

var byKey = []function.Trigger{{MQTT: "a/{key}", OrderBy: "key"}}

// All dead letters of a function run again in the order in which they came,
// over several commits, and those of others stay.
func TestRedriveFunction(t *testing.T) {
	r := newRig(t, options{quiet: true})
	var f diary
	r.deploy("f", f.run, deploy{triggers: byKey})
	const n = 150
	r.giveUp("f", n)
	r.giveUp("g", n)
	moved, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{Function: "f"})
	if err != nil || moved != n {
		t.Fatalf("redrove %d, %v", moved, err)
	}
	until(t, "all have run again", func() bool { return len(f.all()) == n })
	for i, v := range f.all() {
		if v != strconv.Itoa(i) {
			t.Fatalf("ran in the order %v", f.all())
		}
	}
	if n, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{Function: "f"}); n != 0 || err != nil {
		t.Errorf("redrove %d more, %v", n, err)
	}
	if _, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{ID: 1 << 40}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an id that is not there: %v", err)
	}
	if dropped, err := r.d.DropDeadLetters(t.Context(), store.DeadLetterQuery{}); err != nil || dropped != n {
		t.Errorf("dropped %d, %v", dropped, err)
	}
	if st := r.store.Stats(); st.DeadLetters != 0 || st.DeadLetterBytes != 0 {
		t.Errorf("%+v", st)
	}
}

// What dies again while all are redriven is left for the next time.
func TestRedriveEnds(t *testing.T) {
	r := newRig(t, options{quiet: true})
	var f diary
	f.bad.Store(true)
	r.deploy("f", f.run, deploy{triggers: byKey, retry: function.Retry{Attempts: 1}})
	for i := range 5 {
		r.send("a/k", strconv.Itoa(i), 1).wait(t, broker.Success)
	}
	until(t, "all are given up", func() bool { return r.store.Stats().DeadLetters == 5 })
	if n, err := r.d.Redrive(t.Context(), store.DeadLetterQuery{}); n != 5 || err != nil {
		t.Errorf("redrove %d, %v", n, err)
	}
	until(t, "all are given up again", func() bool { n, _ := r.store.QueueLen(); return n == 0 && r.store.Stats().DeadLetters == 5 })
}

// A key waits for every dead letter that blocks it, whether that is redriven,
// dropped or pushed out by a bound.
func TestKeyWaitsForAllItsDeadLetters(t *testing.T) {
	for _, way := range []string{"redrive", "drop", "bound"} {
		t.Run(way, func(t *testing.T) {
			r := newRig(t, options{store: func(c *store.Config) { c.MaxDeadLetters = 1 }})
			var f diary
			f.bad.Store(true)
			r.deploy("f", f.run, deploy{triggers: byKey, retry: function.Retry{Attempts: 1, ThenKey: function.ThenBlock}})
			r.send("a/k", "first", 1).wait(t, broker.Success)
			until(t, "it is given up", func() bool { return len(r.letters()) == 1 })
			f.bad.Store(false)
			r.send("a/k", "second", 1).wait(t, broker.Success)
			if got := f.all(); len(got) != 0 {
				t.Fatalf("%v ran past a dead letter", got)
			}
			want := "[second]"
			var err error
			switch way {
			case "redrive":
				_, err = r.d.Redrive(t.Context(), store.DeadLetterQuery{ID: r.letters()[0].ID})
				want = "[second first]"
			case "drop":
				_, err = r.d.DropDeadLetters(t.Context(), store.DeadLetterQuery{Function: "f"})
			default:
				f.bad.Store(true)
				r.send("a/other", "x", 1).wait(t, broker.Success)
				until(t, "the first is pushed out", func() bool { return r.store.Stats().DeadLettersDropped == 1 })
				f.bad.Store(false)
				want = ""
			}
			if err != nil {
				t.Fatal(err)
			}
			until(t, "the key has gone on", func() bool { n, _ := r.store.QueueLen(); return n == 0 })
			if got := fmt.Sprint(f.all()); want != "" && got != want {
				t.Errorf("ran %s, want %s", got, want)
			}
		})
	}
}

// A dead letter whose commit fails holds its key no longer than it is there.
func TestBlockIsTakenBackWithItsDeadLetter(t *testing.T) {
	var armed atomic.Bool
	var f diary
	r := newRig(t, options{store: func(c *store.Config) {
		c.Inject = func(s store.Step) error {
			if s == store.StepCommit && armed.CompareAndSwap(true, false) {
				f.bad.Store(false)
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}
	}, dispatch: nil})
	f.bad.Store(true)
	r.deploy("f", f.run, deploy{triggers: byKey, retry: function.Retry{Attempts: 1, ThenKey: function.ThenBlock}})
	armed.Store(true)
	r.send("a/k", "first", 1).wait(t, broker.Success)
	r.send("a/k", "second", 1).wait(t, broker.Success)
	until(t, "both have run", func() bool { return len(f.all()) == 2 })
	if n := len(r.letters()); n != 0 {
		t.Errorf("%d dead letters", n)
	}
}

// Old dead letters go in batches, and what a lowered bound leaves over too.
func TestDeadLetterRetention(t *testing.T) {
	r := newRig(t, options{})
	const n = 200
	r.giveUp("f", n)
	for _, bound := range []struct {
		name   string
		change func(*store.Config)
		left   int64
	}{
		{"count", func(c *store.Config) { c.MaxDeadLetters = 20 }, 20},
		{"bytes", func(c *store.Config) { c.MaxDeadLetterBytes = 1 }, 1},
		{"age", func(c *store.Config) {
			c.MaxDeadLetterAge = time.Hour
			c.Now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		}, 0},
	} {
		t.Run(bound.name, func(t *testing.T) {
			r := newRig(t, options{path: testdb.Copy(t, r.path), store: bound.change})
			if err := r.store.Sweep(t.Context()); err != nil {
				t.Fatal(err)
			}
			if st := r.store.Stats(); st.DeadLetters != bound.left || st.DeadLettersDropped != uint64(n-bound.left) {
				t.Errorf("%d left, %d dropped, want %d left", st.DeadLetters, st.DeadLettersDropped, bound.left)
			}
			if l := r.letters(); int64(len(l)) != bound.left {
				t.Errorf("%d on disk, want %d", len(l), bound.left)
			}
		})
	}
}
