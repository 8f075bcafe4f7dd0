package gateway

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/heartbeat"
)

// TestNotify plays systemd: it hears that the gateway is ready and alive, and
// nothing while one of its loops does not move.
func TestNotify(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	var ready, alive, stopping, marks atomic.Int64
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		buf := make([]byte, 256)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			switch text := string(buf[:n]); {
			case text == "MARK":
				marks.Add(1)
			case strings.Contains(text, "READY=1"):
				ready.Add(1)
			case strings.Contains(text, "WATCHDOG=1"):
				alive.Add(1)
			case strings.Contains(text, "STOPPING=1"):
				stopping.Add(1)
			}
		}
	}()
	// mark returns when everything was heard that was said before it.
	mark := func() {
		said := marks.Load()
		c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("MARK")); err != nil {
			t.Fatal(err)
		}
		until(t, "the mark", func() bool { return marks.Load() > said })
	}
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "30000")
	g := &Gateway{log: slog.New(slog.DiscardHandler), pulse: heartbeat.New(slog.New(slog.DiscardHandler))}
	loop := g.pulse.Loop("committer", time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- g.notifySystemd(ctx) }()

	until(t, "signs of life", func() bool { return ready.Load() == 1 && alive.Load() > 3 })
	loop.Begin()
	until(t, "a stuck loop", func() bool { return !g.healthy() })
	mark()
	before := alive.Load()
	time.Sleep(100 * time.Millisecond) // ten more would come
	mark()
	if now := alive.Load(); now > before+1 { // one was on its way
		t.Errorf("%d signs of life from a gateway that hangs", now-before)
	}
	before = alive.Load()
	loop.End()
	until(t, "signs of life again", func() bool { return alive.Load() > before+3 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	until(t, "the end", func() bool { return stopping.Load() == 1 })
	_ = conn.Close() // upon which the reader ends
	<-heard
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
