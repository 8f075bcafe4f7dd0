package heartbeat

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// run starts a monitor in a bubble of time.
func run(t *testing.T, fn func(m *Monitor, log *bytes.Buffer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		m := New(slog.New(slog.NewTextHandler(&log, nil)))
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- m.Run(ctx) }()
		fn(m, &log)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// TestWork shows that a loop is stuck while a piece of work takes too long, and
// not while it has none.
func TestWork(t *testing.T) {
	run(t, func(m *Monitor, log *bytes.Buffer) {
		l := m.Loop("committer", 10*time.Second)
		wait(time.Hour)
		if s := m.Stuck(); len(s) > 0 {
			t.Errorf("idle: %v", s)
		}
		for range 100 { // slow, but moving
			l.Begin()
			wait(9 * time.Second)
		}
		if s := m.Stuck(); len(s) > 0 {
			t.Errorf("slow: %v", s)
		}
		wait(3 * time.Second)
		if s := m.Stuck(); len(s) != 1 || Summary(s) != "committer for 12s" {
			t.Errorf("stuck: %v", s)
		}
		if !strings.Contains(log.String(), "loop=committer") || m.Stats() != (Stats{1, 1, 1}) {
			t.Errorf("%+v\n%s", m.Stats(), log)
		}
		l.End()
		wait(2 * time.Second)
		if len(m.Stuck()) > 0 || !strings.Contains(log.String(), "moves again") {
			t.Errorf("%v\n%s", m.Stuck(), log)
		}
	})
}

// TestPing shows that a lock that is never let go is found, and that an error
// is as good an answer as any.
func TestPing(t *testing.T) {
	run(t, func(m *Monitor, _ *bytes.Buffer) {
		var locked atomic.Bool
		held := make(chan struct{})
		var asked atomic.Int32
		m.Ping("dispatcher", 5*time.Second, func(context.Context) error {
			asked.Add(1)
			if locked.Load() {
				<-held
			}
			return errors.New("not well")
		})
		wait(time.Minute)
		if len(m.Stuck()) > 0 || asked.Load() < 50 {
			t.Errorf("%v, asked %d times", m.Stuck(), asked.Load())
		}
		locked.Store(true)
		wait(time.Minute)
		before := asked.Load()
		if s := m.Stuck(); len(s) != 1 {
			t.Errorf("%v", s)
		}
		wait(time.Minute)
		if asked.Load() != before {
			t.Error("questions pile up")
		}
		close(held)
		wait(3 * time.Second)
		if s := m.Stuck(); len(s) > 0 {
			t.Errorf("%v", s)
		}
	})
}

// device is what a watchdog was told, in a file that stands for it.
func device(t *testing.T, healthy *atomic.Bool, orderly bool) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "watchdog")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		d, err := OpenDevice(path, 15*time.Second, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx, healthy.Load, func() bool { return orderly }) }()
		wait(time.Minute + time.Second)
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func TestDevice(t *testing.T) {
	var well, stuck atomic.Bool
	well.Store(true)
	pings := strings.Repeat("\x00", 13) // every 5 s, from the start
	if got := device(t, &well, true); got != pings+"V" {
		t.Errorf("orderly: %q", got)
	}
	if got := device(t, &well, false); got != pings {
		t.Errorf("not orderly: %q", got)
	}
	if got := device(t, &stuck, true); got != "V" {
		t.Errorf("stuck: %q", got)
	}
	if _, err := OpenDevice(filepath.Join(t.TempDir(), "none"), time.Second, slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}
