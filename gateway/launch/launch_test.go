package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/slot"
	"github.com/headgate-io/headgate/internal/slow"
)

// TestMain makes this binary a gateway of several kinds: what it does is the
// last word of its own file, which tells its copies apart.
func TestMain(m *testing.M) {
	if os.Getenv("LAUNCH_TEST_CHILD") == "" {
		os.Exit(m.Run())
	}
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		os.Exit(9)
	}
	if len(os.Args) > 1 && os.Args[1] == "make-safe" {
		if os.WriteFile(os.Getenv("LAUNCH_TEST_CHILD")+".safe", []byte("safe"), 0o600) != nil {
			os.Exit(9)
		}
		os.Exit(0)
	}
	_, kind, _ := strings.Cut(string(raw[len(raw)-32:]), "kind=")
	log, err := os.OpenFile(os.Getenv("LAUNCH_TEST_CHILD"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(9)
	}
	fmt.Fprintln(log, kind)
	say := func(what string) {
		conn, err := net.Dial("unixgram", os.Getenv("NOTIFY_SOCKET"))
		if err != nil {
			os.Exit(8)
		}
		defer conn.Close()
		fmt.Fprint(conn, what)
	}
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	switch kind {
	case "crashes":
		os.Exit(1)
	case "deaf": // never becomes ready
	case "hangs": // is ready, and then silent
		say("READY=1")
	default:
		say("READY=1")
		for {
			select {
			case <-term:
				say("STOPPING=1")
				os.Exit(0)
			case <-time.After(20 * time.Millisecond):
				say("WATCHDOG=1")
			}
		}
	}
	<-term
	os.Exit(0)
}

type rig struct {
	t     *testing.T
	slots *slot.Dir
	log   string
	cfg   Config

	mu      sync.Mutex
	failing []string
	ready   int
}

func kind(t *testing.T, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, "kind="+name...)
}

func newRig(t *testing.T, base string) *rig {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "headgate")
	if err := os.WriteFile(file, kind(t, base), 0o700); err != nil {
		t.Fatal(err)
	}
	slots, err := slot.Open(filepath.Join(dir, "slots"), file)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, slots: slots, log: filepath.Join(dir, "log")}
	r.cfg = Config{
		Slots: slots, Env: []string{"LAUNCH_TEST_CHILD=" + r.log}, Logger: slog.New(slog.DiscardHandler),
		Failing: func(context.Context) ([]string, error) {
			r.mu.Lock()
			defer r.mu.Unlock()
			return append([]string(nil), r.failing...), nil
		},
		Ready:       func(context.Context) { r.mu.Lock(); r.ready++; r.mu.Unlock() },
		ReadyWithin: 10 * time.Second, Watchdog: 5 * time.Second, StopWithin: 10 * time.Second, Pause: time.Millisecond,
		HealthyFor: 50 * time.Millisecond, HealthyWithin: 10 * time.Second, CheckEvery: 5 * time.Millisecond,
	}
	return r
}

func (r *rig) stage(name string, tolerated ...string) {
	r.t.Helper()
	if _, err := r.slots.Stage(r.t.Context(), bytes.NewReader(kind(r.t, name)), slot.Update{Tolerated: tolerated}); err != nil {
		r.t.Fatal(err)
	}
}

// until runs the launcher until the state of the slots and what was started
// are as wanted.
func (r *rig) until(want func(s slot.State, starts []string) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, r.cfg) }()
	for {
		s, err := r.slots.Load()
		if err != nil {
			r.t.Fatal(err)
		}
		raw, _ := os.ReadFile(r.log)
		starts := strings.Fields(string(raw))
		if want(s, starts) {
			break
		}
		if ctx.Err() != nil {
			r.t.Fatalf("it never came to that: %+v, started: %v", s, starts)
		}
		time.Sleep(5 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		r.t.Fatal(err)
	}
}

func last(starts []string) string {
	if len(starts) == 0 {
		return ""
	}
	return starts[len(starts)-1]
}

// TestStartsAgain shows that a gateway that ends is started again, and that the
// board is made safe before that.
func TestStartsAgain(t *testing.T) {
	slow.UnderRace(t, "it starts programs again and again")
	r := newRig(t, "crashes")
	r.cfg.Safe = []string{"make-safe"}
	r.until(func(_ slot.State, starts []string) bool { return len(starts) >= 5 })
	if _, err := os.Stat(r.log + ".safe"); err != nil {
		t.Error(err)
	}
}

func TestUpdateConfirmed(t *testing.T) {
	r := newRig(t, "old")
	r.stage("new")
	r.until(func(s slot.State, starts []string) bool {
		return s.Current == slot.A && s.Trial == nil && last(starts) == "new"
	})
	if r.ready != 1 {
		t.Errorf("ready %d times", r.ready)
	}
}

func TestUpdateTakenBack(t *testing.T) {
	slow.UnderRace(t, "it starts programs again and again")
	for name, c := range map[string]struct{ starts int }{
		"crashes": {slot.MaxStarts}, // each start counts
		"deaf":    {1},              // one is enough, it takes as long as it may
		"hangs":   {slot.MaxStarts}, // the watchdog ends it
		"sick":    {1},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "old")
			r.cfg.HealthyWithin = time.Second
			switch name {
			case "hangs":
				r.cfg.HealthyFor, r.cfg.HealthyWithin, r.cfg.Watchdog = time.Minute, time.Minute, 300*time.Millisecond
			case "sick":
				r.failing = []string{"listeners"}
			}
			r.stage(name)
			tried := 0
			r.until(func(s slot.State, starts []string) bool {
				tried = len(starts) - 1
				return s.Current == slot.Base && s.Trial == nil && s.Failure != nil && last(starts) == "old"
			})
			if tried != c.starts {
				t.Errorf("tried %d times, want %d", tried, c.starts)
			}
		})
	}
}

// TestFailedBefore shows that what was broken before an update does not take
// it back.
func TestFailedBefore(t *testing.T) {
	r := newRig(t, "old")
	r.failing = []string{"disk"}
	r.stage("new", "disk")
	r.until(func(s slot.State, _ []string) bool { return s.Current == slot.A && s.Trial == nil })
}

// TestSilence shows that a gateway that stops giving signs of life is ended
// and started again, whichever binary it is.
func TestSilence(t *testing.T) {
	r := newRig(t, "hangs")
	r.cfg.Watchdog = 200 * time.Millisecond
	r.until(func(_ slot.State, starts []string) bool { return len(starts) >= 3 })
}
