package timer_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// hands are clocks that a test turns.
type hands struct {
	mu           sync.Mutex
	wall, steady time.Time
	trust        event.Trust
	looks        int // at the trust
}

func (h *hands) Now() time.Time     { h.mu.Lock(); defer h.mu.Unlock(); return h.wall }
func (h *hands) Steady() time.Time  { h.mu.Lock(); defer h.mu.Unlock(); return h.steady }
func (h *hands) Trust() event.Trust { h.mu.Lock(); defer h.mu.Unlock(); h.looks++; return h.trust }

func (h *hands) looked() int { h.mu.Lock(); defer h.mu.Unlock(); return h.looks }

func (h *hands) pass(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.steady = h.wall.Add(d), h.steady.Add(d)
}

func (h *hands) jump(to time.Time, trust event.Trust) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wall, h.trust = to, trust
}

var noon = time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)

func rightTime() *hands { return &hands{wall: noon, steady: noon, trust: event.TimeSynchronised} }

// code is a function written in Go.
type code func(c *host.Calls) error

func (fn code) Invoke(_ context.Context, c *host.Calls) function.Result {
	if err := fn(c); err != nil {
		return function.Result{Outcome: function.Failed, Error: err.Error()}
	}
	return function.Result{}
}

// note counts, in its state, how often it was started for each instant.
func note(c *host.Calls) error {
	var d timer.Data
	if err := json.Unmarshal(c.Input(), &d); err != nil {
		return err
	}
	// A colon would name another function's key.
	key := []byte(strings.ReplaceAll(d.Timer+" "+d.Due.Format(time.RFC3339)+" "+strconv.Itoa(d.Missed), ":", "."))
	v, _ := c.KVGet(key)
	n, _ := strconv.Atoi(string(v))
	_ = c.KVSet(key, []byte(strconv.Itoa(n+1)), 0)
	return nil
}

type nowhere struct{}

func (nowhere) Plan(*function.Publish, bool) *broker.Plan { return nil }

func (nowhere) Publish(*event.Event, string, function.Publish, *broker.Plan) {}
func (nowhere) MayPublish(string) error                                      { return nil }
func (nowhere) Match(*trigger.Message, []trigger.Match) []trigger.Match      { return nil }
func (nowhere) Any(trigger.Kind, string) bool                                { return false }
func (nowhere) Watches(string) bool                                          { return false }

// always are the triggers of a function f that every timer starts.
type always struct{}

func (always) Match(_ *trigger.Message, dst []trigger.Match) []trigger.Match {
	return append(dst, trigger.Match{Function: "f", Durable: true})
}

// rig is a store, a dispatcher and the timers.
type rig struct {
	*testing.T
	path   string
	clock  *hands
	store  *store.Store
	d      *dispatch.Dispatcher
	timers *timer.Service
	ended  bool
}

type options struct {
	path   string
	inject func(store.Step) error
	fn     code
}

func newRig(t *testing.T, h *hands, o options) *rig {
	t.Helper()
	if o.path == "" {
		o.path = filepath.Join(t.TempDir(), "headgate.db")
	}
	if o.fn == nil {
		o.fn = note
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	r := &rig{T: t, path: o.path, clock: h}
	var err error
	r.store, err = store.Open(t.Context(), store.Config{Path: o.path, MinFreeBytes: -1, SweepEvery: time.Hour, Inject: o.inject, Logger: log, Now: h.Now, Steady: h.Steady})
	if err != nil {
		t.Fatal(err)
	}
	r.d, err = dispatch.New(t.Context(), dispatch.Config{Store: r.store, Router: nowhere{}, Outbox: nowhere{}, Logger: log, Now: h.Now, Trust: h.Trust, Steady: h.Steady})
	if err == nil {
		err = r.d.SetFunction(dispatch.Function{Name: "f", Version: 1, Pool: o.fn, Grant: host.NewGrant("f", function.Permissions{}, function.Limits{}.WithDefaults(), nil, nowhere{})})
	}
	if err == nil {
		r.timers, err = timer.New(t.Context(), timer.Config{Store: r.store, Clock: h, Target: timer.Dispatch{Dispatcher: r.d, Clock: h, Triggers: always{}}, Logger: log, LookEvery: time.Millisecond})
	}
	if err != nil {
		t.Fatal(err)
	}
	r.timers.Start()
	t.Cleanup(r.end)
	return r
}

func (r *rig) end() {
	if r.ended {
		return
	}
	r.ended = true
	ctx := context.Background()
	if err := errors.Join(r.timers.Close(ctx), r.d.Close(ctx), r.store.Close(ctx)); err != nil {
		r.Error(err)
	}
}

func (r *rig) set(name, schedule string, missed timer.Missed, estimate bool) {
	r.Helper()
	err := r.timers.Put(r.Context(), store.Timer{Name: name, Function: "f", Schedule: schedule, Missed: string(missed), OnEstimate: estimate})
	if err != nil {
		r.Fatal(err)
	}
}

// settled waits until the timers have looked at the time and nothing waits.
func (r *rig) settled() {
	r.Helper()
	end := time.Now().Add(2 * time.Minute)
	for quiet := 0; quiet < 5; {
		if time.Now().After(end) {
			r.Fatal("the timers never came to rest")
		}
		before, looks := r.timers.Stats(), r.clock.looked()
		time.Sleep(10 * time.Millisecond)
		if r.clock.looked() < looks+2 {
			continue // a look may have begun before the clock was turned
		}
		if n, _ := r.store.QueueLen(); n == 0 && before.Firing == 0 && r.timers.Stats() == before {
			quiet++
		} else {
			quiet = 0
		}
	}
}

// until waits until the counters are as wanted.
func (r *rig) until(what string, cond func(timer.Stats) bool) {
	r.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(r.timers.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("waited in vain until %s: %+v", what, r.timers.Stats())
		}
	}
}

// fired returns what the function was started for, and checks that it was once
// for each.
func (r *rig) fired() []string {
	r.Helper()
	keys, _, err := r.store.ListState(r.Context(), "f", "", "", 1000)
	if err != nil {
		r.Fatal(err)
	}
	for i, k := range keys {
		keys[i] = strings.ReplaceAll(k, ".", ":")
		if v, _, err := r.store.GetState(r.Context(), "f", k); err != nil || string(v) != "1" {
			r.Errorf("%s fired %s times, %v", k, v, err)
		}
	}
	return keys
}

func (r *rig) wantFired(want ...string) {
	r.Helper()
	r.settled()
	if got := r.fired(); fmt.Sprint(got) != fmt.Sprint(want) {
		r.Errorf("fired for %q, want %q", got, want)
	}
}

// kill copies what a killed gateway leaves on its disk.
func (r *rig) kill() string {
	r.Helper()
	to := filepath.Join(r.TempDir(), "headgate.db")
	for _, ext := range []string{"", "-wal"} {
		in, err := os.Open(r.path + ext)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			r.Fatal(err)
		}
		out, err := os.Create(to + ext)
		if err == nil {
			_, err = io.Copy(out, in)
		}
		if err = errors.Join(err, in.Close(), out.Close()); err != nil {
			r.Fatal(err)
		}
	}
	return to
}

func TestFires(t *testing.T) {
	h := rightTime()
	r := newRig(t, h, options{})
	r.set("daily", "0 13 * * *", timer.Skip, false)
	r.set("often", "@every 40m", timer.Skip, false)
	r.wantFired()
	h.pass(39 * time.Minute)
	r.wantFired()
	h.pass(time.Minute)
	r.wantFired("often 2026-07-01T12:40:00Z 0")
	h.pass(20*time.Minute + time.Second)
	r.wantFired("daily 2026-07-01T13:00:00Z 0", "often 2026-07-01T12:40:00Z 0")
	if err := r.timers.Drop(t.Context(), "often"); err != nil {
		t.Fatal(err)
	}
	if err := r.timers.Drop(t.Context(), "often"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("dropped twice: %v", err)
	}
	h.pass(24 * time.Hour)
	r.settled()
	if st := r.timers.Stats(); st.Timers != 1 || st.Fired < 2 {
		t.Errorf("stats %+v", st)
	}
	if err := r.timers.Put(t.Context(), store.Timer{Name: "bad", Function: "f", Schedule: "0 0 30 2 *"}); err == nil {
		t.Error("a schedule that never comes was taken")
	}
}

// A kill between any two steps of a firing neither loses nor repeats it.
func TestFiresOnceAcrossKills(t *testing.T) {
	t.Run("after the event was spilled", func(t *testing.T) {
		h := rightTime()
		gate := make(chan struct{})
		r := newRig(t, h, options{fn: func(*host.Calls) error { <-gate; return nil }})
		r.set("x", "@every 10m", timer.All, false)
		r.settled()
		h.pass(10 * time.Minute)
		r.until("it has fired", func(s timer.Stats) bool { return s.Fired == 1 })
		path := r.kill()
		close(gate)
		newRig(t, h, options{path: path}).wantFired("x 2026-07-01T12:10:00Z 0")
	})
	t.Run("before its commit", func(t *testing.T) {
		h := rightTime()
		var broken atomic.Bool
		r := newRig(t, h, options{inject: func(s store.Step) error {
			if s == store.StepCommit && broken.Load() {
				return errors.New("disk I/O error (injected)")
			}
			return nil
		}})
		r.set("x", "0 * * * *", timer.All, false)
		r.settled()
		broken.Store(true)
		h.pass(time.Hour)
		r.until("it was refused", func(s timer.Stats) bool { return s.Refused > 0 })
		path := r.kill()
		broken.Store(false)
		newRig(t, h, options{path: path}).wantFired("x 2026-07-01T13:00:00Z 0")
		r.until("the disk is back", func(s timer.Stats) bool { return s.Fired == 1 })
		r.wantFired("x 2026-07-01T13:00:00Z 0")
	})
	t.Run("after it", func(t *testing.T) {
		h := rightTime()
		r := newRig(t, h, options{})
		r.set("x", "0 * * * *", timer.All, false)
		r.settled()
		h.pass(time.Hour)
		r.wantFired("x 2026-07-01T13:00:00Z 0")
		newRig(t, h, options{path: r.kill()}).wantFired("x 2026-07-01T13:00:00Z 0")
	})
}

// each runs a test with an hourly timer of each policy that has aimed.
func each(t *testing.T, fn func(t *testing.T, h *hands, r *rig, missed timer.Missed)) {
	for _, missed := range []timer.Missed{timer.Skip, timer.Once, timer.All} {
		t.Run(string(missed), func(t *testing.T) {
			h := rightTime()
			r := newRig(t, h, options{})
			r.set("x", "0 * * * *", missed, false)
			r.settled()
			fn(t, h, r, missed)
		})
	}
}

func TestOffForHours(t *testing.T) {
	each(t, func(t *testing.T, h *hands, r *rig, missed timer.Missed) {
		r.end()
		h.pass(5*time.Hour + 30*time.Minute)
		r = newRig(t, h, options{path: r.path})
		want := map[timer.Missed][]string{
			timer.Once: {"x 2026-07-01T17:00:00Z 4"},
			timer.All: {
				"x 2026-07-01T13:00:00Z 0", "x 2026-07-01T14:00:00Z 0", "x 2026-07-01T15:00:00Z 0",
				"x 2026-07-01T16:00:00Z 0", "x 2026-07-01T17:00:00Z 0",
			},
		}[missed]
		r.wantFired(want...)
		h.pass(30 * time.Minute)
		r.wantFired(append(want, "x 2026-07-01T18:00:00Z 0")...)
	})
}

// A clock that says 2036 for a while makes no storm, and when it is right again
// timers do not wait ten years.
func TestTenYearsForwardAndBack(t *testing.T) {
	each(t, func(t *testing.T, h *hands, r *rig, missed timer.Missed) {
		h.jump(noon.Add(10*365*24*time.Hour+30*time.Minute), event.TimeSynchronised)
		want := map[timer.Missed]int{timer.Skip: 0, timer.Once: 1, timer.All: timer.MostMissed}[missed]
		r.until("it has fired for all", func(s timer.Stats) bool { return s.Fired >= uint64(want) })
		r.settled()
		if got := len(r.fired()); got != want {
			t.Errorf("%d firings, want %d", got, want)
		}
		r.end()
		r = newRig(t, h, options{path: r.path})
		h.jump(noon.Add(30*time.Minute), event.TimeSynchronised)
		r.settled()
		h.pass(30 * time.Minute)
		r.settled()
		if got := len(r.fired()); got != want+1 || r.timers.Stats().Reaimed != 1 {
			t.Errorf("%d firings, want one more than %d; %+v", got, want, r.timers.Stats())
		}
	})
}

func TestBackAYear(t *testing.T) {
	each(t, func(t *testing.T, h *hands, r *rig, _ timer.Missed) {
		h.pass(time.Hour)
		r.wantFired("x 2026-07-01T13:00:00Z 0")
		h.jump(noon.Add(-365*24*time.Hour), event.TimeSynchronised)
		r.settled()
		r.end()
		r = newRig(t, h, options{path: r.path})
		h.pass(time.Hour)
		r.wantFired("x 2025-07-01T13:00:00Z 0", "x 2026-07-01T13:00:00Z 0")
	})
}

// A small step back repeats nothing.
func TestBackSomeSeconds(t *testing.T) {
	each(t, func(t *testing.T, h *hands, r *rig, _ timer.Missed) {
		h.pass(time.Hour)
		r.wantFired("x 2026-07-01T13:00:00Z 0")
		h.jump(noon.Add(time.Hour-5*time.Second), event.TimeSynchronised)
		r.settled()
		h.pass(10 * time.Second)
		r.wantFired("x 2026-07-01T13:00:00Z 0")
	})
}

// At 1970 calendars wait; one that admits it runs on an estimate, but never on
// no idea at all. Intervals need no calendar.
func TestClockAt1970(t *testing.T) {
	each(t, func(t *testing.T, h *hands, r *rig, missed timer.Missed) {
		r.set("estimate", "0 * * * *", missed, true)
		r.set("interval", "@every 3h", missed, false)
		r.settled()
		r.end()
		h.jump(time.Unix(100, 0), event.TimeUnknown)
		r = newRig(t, h, options{path: r.path})
		h.pass(3 * time.Hour)
		r.settled()
		if got := r.fired(); len(got) != 1 || r.timers.Stats().Blind != 2 {
			t.Errorf("fired %q, %+v", got, r.timers.Stats())
		}
		h.jump(noon.Add(30*time.Minute), event.TimeEstimated)
		r.settled()
		h.pass(30 * time.Minute)
		r.settled()
		if got := r.fired(); len(got) != 2 || r.timers.Stats().Blind != 1 {
			t.Errorf("fired %q, %+v", got, r.timers.Stats())
		}
		h.jump(noon.Add(time.Hour), event.TimeSynchronised)
		r.settled()
		if got := r.fired(); len(got) != 3 || got[len(got)-1] != "x 2026-07-01T13:00:00Z 0" {
			t.Errorf("fired %q", got)
		}
	})
}
