package clock_test

import (
	"context"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/clock"
	"github.com/headgate-io/headgate/gateway/store"
)

// board is a machine whose clocks a test turns.
type board struct {
	mu    sync.Mutex
	wall  time.Time
	up    time.Duration // monotonic
	slept time.Duration
	sync  bool
	boot  string
}

func (b *board) Read() (time.Time, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.wall, b.up
}

func (b *board) SinceBoot() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.up + b.slept
}

func (b *board) Synchronised() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sync
}

func (b *board) BootID() string { return b.boot }

// pass lets time go by; jump sets the wall clock.
func (b *board) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wall, b.up = b.wall.Add(d), b.up+d
}

func (b *board) jump(to time.Time, sync bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.wall, b.sync = to, sync
}

var (
	built = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	today = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	epoch = time.Date(1970, 1, 1, 0, 0, 10, 0, time.UTC)
	year  = 365 * 24 * time.Hour
)

// world is a gateway's clock with a real store, which outlives it.
type world struct {
	*testing.T
	board *board
	store *store.Store
	*clock.Clock
}

func begin(t *testing.T, b *board) *world {
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "headgate.db"), MinFreeBytes: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	w := &world{T: t, board: b, store: s}
	w.start()
	return w
}

func (w *world) start() {
	w.Helper()
	c, err := clock.New(w.T.Context(), clock.Config{Memory: w.store, Source: w.board, Built: built, CheckEvery: time.Hour, SaveEvery: time.Hour})
	if err != nil {
		w.Fatal(err)
	}
	w.Clock = c
	w.Cleanup(func() { _ = c.Close(context.Background()) })
}

// restart starts the gateway again: after an orderly end, or not.
func (w *world) restart(orderly bool) {
	w.Helper()
	if orderly {
		if err := w.Close(w.T.Context()); err != nil {
			w.Fatal(err)
		}
	} else {
		kept, err := w.store.Meta(w.T.Context(), "clock")
		if err == nil {
			err = w.Close(w.T.Context())
		}
		if err == nil {
			err = w.store.SetMeta(w.T.Context(), "clock", kept)
		}
		if err != nil {
			w.Fatal(err)
		}
	}
	w.start()
}

// reboot is a power cut: off for a while, then up again with whatever clock.
func (w *world) reboot(up time.Duration, wall time.Time, sync bool) {
	w.Helper()
	if err := w.Close(w.T.Context()); err != nil {
		w.Fatal(err)
	}
	w.board = &board{wall: wall, up: up, sync: sync, boot: w.board.boot + "+"}
	w.start()
}

func (w *world) want(now time.Time, trust event.Trust) {
	w.Helper()
	if got := w.Now(); got.Sub(now).Abs() > time.Second || w.Trust() != trust {
		w.Errorf("it is %v (%v), want %v (%v)", got.UTC(), w.Trust(), now, trust)
	}
}

// passes checks that the steady scale goes on by d while fn happens.
func (w *world) passes(d time.Duration, fn func()) {
	w.Helper()
	before := w.Steady()
	fn()
	if got := w.Steady().Sub(before); (got - d).Abs() > time.Second {
		w.Errorf("%v passed on the steady scale, want %v", got, d)
	}
}

func TestFirstStartWithoutAClock(t *testing.T) {
	w := begin(t, &board{wall: epoch, up: 10 * time.Second, boot: "a"})
	w.want(built, event.TimeUnknown)
	w.passes(time.Hour, func() { w.board.pass(time.Hour) })
	w.want(built.Add(time.Hour), event.TimeUnknown)
	w.reboot(time.Minute, epoch, false)
	w.want(built.Add(time.Hour+time.Minute), event.TimeUnknown) // never earlier than before
	w.passes(time.Minute, func() { w.board.pass(time.Minute); w.board.jump(today, true) })
	w.want(today, event.TimeSynchronised)
	if s := w.Stats(); s.JumpsForward != 1 || s.Trust != 2 || s.Correction != 0 {
		t.Errorf("stats %+v", s)
	}
}

// TestFirstStartOfAFreshBuild: a gateway that was built today on a machine that
// has been up for a year does not take it for next year.
func TestFirstStartOfAFreshBuild(t *testing.T) {
	w := begin(t, &board{wall: built.Add(time.Minute), up: year, boot: "a"})
	w.want(built.Add(time.Minute), event.TimeEstimated)
	if s := w.Stats(); s.Correction != 0 {
		t.Errorf("the clock is corrected by %v", s.Correction)
	}
}

func TestClockAt1970AfterAPowerCut(t *testing.T) {
	w := begin(t, &board{wall: today, up: time.Hour, sync: true, boot: "a"})
	w.want(today, event.TimeSynchronised)
	w.board.pass(48 * time.Hour)
	w.passes(30*time.Second, func() { w.reboot(30*time.Second, epoch, false) })
	w.want(today.Add(48*time.Hour+30*time.Second), event.TimeEstimated)
	// The time server comes: it was off for a week.
	w.passes(0, func() { w.board.jump(today.Add(9*24*time.Hour), true) })
	w.want(today.Add(9*24*time.Hour), event.TimeSynchronised)
}

func TestJumpsOfASynchronisedClock(t *testing.T) {
	w := begin(t, &board{wall: today, up: time.Hour, sync: true, boot: "a"})
	w.passes(time.Minute, func() { w.board.pass(time.Minute); w.board.jump(today.Add(10*year), true) })
	w.want(today.Add(10*year), event.TimeSynchronised)
	w.passes(0, func() { w.board.jump(today, true) })
	w.want(today, event.TimeSynchronised)
	w.passes(time.Minute, func() { w.board.pass(time.Minute); w.board.jump(today.Add(-year), true) })
	w.want(today.Add(time.Minute), event.TimeEstimated) // before it was built: no time server says that
	if s := w.Stats(); s.JumpsForward != 1 || s.JumpsBack != 2 || s.LastJump >= 0 {
		t.Errorf("stats %+v", s)
	}
}

func TestJumpsOfAnUnsynchronisedClock(t *testing.T) {
	w := begin(t, &board{wall: today, up: time.Hour, sync: true, boot: "a"})
	w.passes(0, func() { w.board.jump(today.Add(-year), false) })
	w.want(today, event.TimeEstimated) // it cannot be earlier than it was
	w.passes(time.Minute, func() { w.board.pass(time.Minute) })
	w.want(today.Add(time.Minute), event.TimeEstimated)
	w.passes(0, func() { w.board.jump(today.Add(10*year), false) })
	w.want(today.Add(10*year), event.TimeEstimated) // it can be later
	// A wrong clock that was right again leaves no trace, nor does a restart in
	// between; and a power cut counts as a day at most.
	w.passes(0, func() { w.restart(true) })
	w.want(today.Add(10*year), event.TimeEstimated)
	w.passes(0, func() { w.board.jump(today.Add(time.Hour), false) })
	w.want(today.Add(time.Hour), event.TimeEstimated)
	w.passes(24*time.Hour, func() { w.reboot(time.Minute, today.Add(10*year), false) })
	w.passes(time.Minute, func() { w.reboot(time.Minute, today.Add(2*time.Hour), false) })
	w.want(today.Add(2*time.Hour), event.TimeEstimated)
}

func TestSteadyAcrossRestarts(t *testing.T) {
	w := begin(t, &board{wall: today, up: time.Hour, sync: true, boot: "a"})
	for _, orderly := range []bool{true, false} {
		w.passes(time.Hour, func() { w.board.pass(time.Hour); w.restart(orderly) })
	}
	// What the machine sleeps is time too, and no jump.
	w.board.mu.Lock()
	w.board.slept, w.board.wall = 3*time.Hour, w.board.wall.Add(3*time.Hour)
	w.board.mu.Unlock()
	w.want(today.Add(5*time.Hour), event.TimeSynchronised)
	if s := w.Stats(); s.JumpsForward != 0 {
		t.Errorf("sleep counted as a jump: %+v", s)
	}
	w.passes(72*time.Hour, func() { w.reboot(time.Minute, today.Add(77*time.Hour), true) })
}

func TestAPersonConfirms(t *testing.T) {
	w := begin(t, &board{wall: epoch, up: 10 * time.Second, boot: "a"})
	w.passes(0, func() {
		if err := w.Confirm(t.Context(), today); err != nil {
			t.Fatal(err)
		}
	})
	w.want(today, event.TimeSynchronised)
	w.board.jump(epoch.Add(year), false)
	w.want(today, event.TimeSynchronised)
	w.board.pass(time.Minute)
	w.restart(true)
	w.want(today.Add(time.Minute), event.TimeSynchronised)
	w.reboot(time.Minute, epoch, false)
	w.want(today.Add(2*time.Minute), event.TimeEstimated)
}

func TestWallOfASteadyMoment(t *testing.T) {
	w := begin(t, &board{wall: epoch, up: time.Second, boot: "a"})
	at := w.Steady()
	w.board.pass(time.Hour)
	w.board.jump(today, true)
	if got := w.Wall(at); !got.Equal(today.Add(-time.Hour)) {
		t.Errorf("an hour ago was %v", got)
	}
}

// The real clocks of this machine agree with the runtime's.
func TestSystem(t *testing.T) {
	s := clock.System()
	wall, up := s.Read()
	if time.Since(wall).Abs() > time.Minute || up <= 0 || s.SinceBoot() < up-time.Second {
		t.Errorf("wall %v, up %v, since boot %v", wall, up, s.SinceBoot())
	}
}

func BenchmarkNow(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Path: filepath.Join(b.TempDir(), "headgate.db"), MinFreeBytes: -1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close(context.Background()) }()
	c, err := clock.New(b.Context(), clock.Config{Memory: s})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = c.Close(context.Background()) }()
	b.ReportAllocs()
	for b.Loop() {
		c.Now()
	}
}

// What another machine says is an estimate: it corrects a wrong clock both ways,
// holds over jumps, and gives way to a time server.
func TestEstimate(t *testing.T) {
	for _, wrong := range []time.Time{time.Unix(0, 0), today.Add(-24 * time.Hour), today.Add(10 * 365 * 24 * time.Hour)} {
		b := &board{wall: wrong, up: time.Minute, boot: "a"}
		c, err := clock.New(t.Context(), clock.Config{Memory: memory{}, Source: b, Built: built, CheckEvery: time.Hour, SaveEvery: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		steady := c.Steady()
		if err := c.Estimate(t.Context(), today); err != nil {
			t.Fatal(err)
		}
		b.pass(time.Second)
		if got := c.Now().Sub(today); got != time.Second || c.Trust() != event.TimeEstimated {
			t.Errorf("%v: off by %v, %v", wrong, got, c.Trust())
		}
		b.jump(wrong.Add(-time.Hour), false)
		if got := c.Now().Sub(today); got != time.Second {
			t.Errorf("%v: after a jump off by %v", wrong, got)
		}
		if got := c.Steady().Sub(steady); got != time.Second {
			t.Errorf("%v: the steady scale went on by %v", wrong, got)
		}
		if err := c.Estimate(t.Context(), built.Add(-time.Hour)); err != nil || c.Now().Before(today) {
			t.Errorf("%v: a time before the program's own was taken: %v", wrong, c.Now())
		}
		b.jump(today.Add(time.Hour), true)
		if err := c.Estimate(t.Context(), today); err != nil {
			t.Fatal(err)
		}
		if got := c.Now().Sub(today); got != time.Hour || c.Trust() != event.TimeSynchronised {
			t.Errorf("%v: a time server says otherwise, off by %v, %v", wrong, got, c.Trust())
		}
		if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// memory keeps nothing over a restart.
type memory map[string][]byte

func (m memory) Meta(_ context.Context, key string) ([]byte, error) {
	if v, ok := m[key]; ok {
		return v, nil
	}
	return nil, store.ErrNotFound
}

func (m memory) SetMeta(_ context.Context, key string, value []byte) error {
	m[key] = value
	return nil
}
