package admin

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestConnectionsAreBounded opens more connections than a listener takes. Those
// beyond the bound are closed, and a place that is given back can be had.
func TestConnectionsAreBounded(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			l, address := listen(t, network)
			accepted := make(chan net.Conn, 2*maxConnections)
			go func() {
				defer close(accepted)
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					accepted <- c
				}
			}()
			for range maxConnections {
				dial(t, network, address)
			}
			first := <-accepted
			if n, err := dial(t, network, address).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("beyond the bound: read %d bytes, %v", n, err)
			}
			_ = first.Close()
			_ = first.Close() // counts once
			one := dial(t, network, address)
			if _, err := dial(t, network, address).Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("two took one place: %v", err)
			}
			_ = one.SetReadDeadline(time.Now().Add(time.Millisecond))
			if _, err := one.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("in the free place: %v", err)
			}
			_ = l.Close()
			for c := range accepted {
				_ = c.Close()
			}
		})
	}
}

func listen(t *testing.T, network string) (net.Listener, string) {
	t.Helper()
	if network == "unix" {
		path := filepath.Join(t.TempDir(), "admin.sock")
		l, err := ListenUnix(context.Background(), path)
		if err != nil {
			t.Fatal(err)
		}
		return l, path
	}
	l, err := ListenTCP(context.Background(), "127.0.0.1:0", nil)
	if err != nil {
		t.Fatal(err)
	}
	return l, l.Addr().String()
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	c, err := new(net.Dialer).DialContext(context.Background(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}
