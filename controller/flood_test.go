package controller_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/headgate-io/headgate/controller"
)

// room is how many connections the controllers of these tests have.
const room = 32

// flooded is a controller with little room and little patience.
func flooded(t *testing.T) *rig {
	t.Helper()
	cfg := settings(t.TempDir())
	cfg.HTTP.MaxConnections = room
	c, err := controller.New(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.Hasten(500*time.Millisecond, time.Second, time.Hour)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return &rig{t: t, c: c, url: "https://" + c.Addr().String(), dir: cfg.Dir}
}

// anybody trusts whatever is shown: these clients are nobody's friends.
func anybody(protocol string) *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, NextProtos: []string{protocol}, MinVersion: tls.VersionTLS12}
}

// dial opens a connection that ends with the test.
func (r *rig) dial(protocol string) *tls.Conn {
	r.t.Helper()
	c, err := tls.Dial("tcp", r.c.Addr().String(), anybody(protocol))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	return c
}

// served waits until a new client is answered.
func (r *rig) served() {
	r.t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: anybody("http/1.1"), DisableKeepAlives: true}, Timeout: 10 * time.Second}
		resp, err := c.Get(r.url + "/healthz")
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(end) {
			r.t.Fatal(err)
		}
	}
}

// counted waits until a counter is at least so great.
func counted(t *testing.T, what string, want uint64, read func() uint64) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); read() < want; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: %d, want %d", what, read(), want)
		}
	}
}

// answeredWith is the status of an answer; 0 is none.
func answeredWith(c net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// Idle connections, however many, keep nobody out: the longest idle one leaves.
func TestIdleConnectionsLeave(t *testing.T) {
	t.Parallel()
	r := flooded(t)
	for i := range 3 * room {
		protocol := []string{"http/1.1", "h2"}[i%2]
		c := r.dial(protocol)
		if protocol == "http/1.1" {
			if _, err := io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
				t.Fatal(err)
			}
			if status := answeredWith(c); status != http.StatusOK {
				t.Fatalf("connection %d: %d", i, status)
			}
			continue
		}
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(c, c)
		if err := f.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		if _, err := f.ReadFrame(); err != nil { // its settings: it is at home
			t.Fatalf("connection %d: %v", i, err)
		}
	}
	r.served()
	displaced, _, _, _, _, open := r.c.HTTP()
	if displaced < room || open > room+2 {
		t.Errorf("%d left, %d are open", displaced, open)
	}
}

// Connections that say nothing, half a request or half a handshake are ended in
// time and counted; meanwhile others are refused at once, not left to wait.
func TestSlowHeaders(t *testing.T) {
	t.Parallel()
	r := flooded(t)
	for i := range room {
		if i%2 == 0 {
			c, err := net.Dial("tcp", r.c.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			continue
		}
		if _, err := io.WriteString(r.dial("http/1.1"), "GET /healthz HTTP/1.1\r\nHo"); err != nil {
			t.Fatal(err)
		}
	}
	r.served()
	counted(t, "unserved", room, func() uint64 { _, n, _, _, _, _ := r.c.HTTP(); return n })
}

// A body that does not come ends with its connection, and is counted.
func TestSlowBodies(t *testing.T) {
	t.Parallel()
	r := flooded(t)
	for range room {
		body := "POST /v1/enroll HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
		if _, err := io.WriteString(r.dial("http/1.1"), body); err != nil {
			t.Fatal(err)
		}
	}
	r.served()
	counted(t, "slow bodies", room/2, func() uint64 { _, _, n, _, _, _ := r.c.HTTP(); return n })
}

// Headers without end are refused on either protocol.
func TestHugeHeaders(t *testing.T) {
	t.Parallel()
	r := flooded(t)
	c := r.dial("http/1.1")
	go func() {
		_, _ = io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n") // cut off
	}()
	if status := answeredWith(c); status != 0 && status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("%d", status)
	}
	counted(t, "unserved", 1, func() uint64 { _, n, _, _, _, _ := r.c.HTTP(); return n })
	two := &http.Client{Transport: &http.Transport{TLSClientConfig: anybody("h2"), ForceAttemptHTTP2: true}, Timeout: 30 * time.Second}
	req, err := http.NewRequest(http.MethodGet, r.url+"/healthz", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X", strings.Repeat("x", 1<<20))
	if resp, err := two.Do(req); err == nil {
		if resp.StatusCode < 400 {
			t.Errorf("h2: %v", resp.Status)
		}
		_ = resp.Body.Close()
	}
	r.served()
}

// Streams that are opened and taken back at once (CVE-2023-44487) get no more work
// done at a time than a connection may have, and others are answered meanwhile.
func TestRapidReset(t *testing.T) {
	r := flooded(t)
	before := runtime.NumGoroutine()
	var block bytes.Buffer
	headers := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":path", "/v1/gateways"}, {":scheme", "https"}, {":authority", "x"}, {"authorization", "Bearer hgc_x"}} {
		if err := headers.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			t.Fatal(err)
		}
	}
	const connections, streams = 4, 5000
	most := 0
	for range connections {
		c := r.dial("h2")
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		f := http2.NewFramer(c, c)
		if err := f.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
		for id := range uint32(streams) {
			if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*id + 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
				f.WriteRSTStream(2*id+1, http2.ErrCodeCancel) != nil {
				break // it has had enough
			}
			if id%500 == 0 {
				most = max(most, runtime.NumGoroutine()-before)
			}
		}
	}
	r.served()
	if bound := connections*(64+8) + 200; most > bound {
		t.Errorf("%d goroutines more, want %d at most", most, bound)
	}
	counted(t, "given up", 1, func() uint64 { _, _, _, n, _, _ := r.c.HTTP(); return n })
}
