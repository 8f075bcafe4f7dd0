package admin

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/token"
	"github.com/headgate-io/headgate/internal/slow"
)

const patience = 30 * time.Second

// serveBench serves a bench over TCP until the test ends.
func serveBench(t *testing.T, b *bench) string {
	t.Helper()
	l, address := listen(t, "tcp")
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- b.ServeTokens(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return address
}

// speak sends bytes and returns the status of the first answer, 0 for none, and
// whether the connection was closed behind it.
func speak(t *testing.T, address, raw string) (status int, closed bool) {
	t.Helper()
	c := dial(t, "tcp", address)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, raw); err != nil {
		return 0, true
	}
	in := bufio.NewReader(c)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return 0, !errors.Is(err, os.ErrDeadlineExceeded)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if !resp.Close {
		return resp.StatusCode, false
	}
	_, err = in.ReadByte()
	return resp.StatusCode, !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestAmbiguousRequestsAreRefused: what two readers could read in two ways is
// read in none.
func TestAmbiguousRequestsAreRefused(t *testing.T) {
	b := newBench(t)
	address := serveBench(t, b)
	bearer := "Authorization: Bearer " + b.secrets[token.Admin] + "\r\n"
	head := "POST /v1/functions HTTP/1.1\r\nHost: x\r\n" + bearer
	if status, _ := speak(t, address, head+"Content-Length: 1\r\n\r\nx"); status != http.StatusNoContent {
		t.Fatalf("a clear one: %d", status)
	}
	for name, raw := range map[string]string{
		"two lengths":        head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"a list of lengths":  head + "Content-Length: 1, 2\r\n\r\nxx",
		"a signed length":    head + "Content-Length: +1\r\n\r\nx",
		"a negative length":  head + "Content-Length: -1\r\n\r\n",
		"a hex length":       head + "Content-Length: 0x1\r\n\r\nx",
		"unknown encoding":   head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"encoding twice":     head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunked, identity":  head + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
		"space before colon": head + "Content-Length : 1\r\n\r\nx",
		"NUL in a header":    head + "X: a\x00b\r\n\r\n",
		"CR in a header":     head + "X: a\rb\r\n\r\n",
		"no name":            head + ": x\r\n\r\n",
		"folded header":      "POST /v1/functions HTTP/1.1\r\nHost: x\r\n " + bearer + "\r\n",
		"no host":            "POST /v1/functions HTTP/1.1\r\n" + bearer + "\r\n",
		"two hosts":          "POST /v1/functions HTTP/1.1\r\nHost: x\r\nHost: y\r\n" + bearer + "\r\n",
		"host with a path":   "POST /v1/functions HTTP/1.1\r\nHost: x/y\r\n" + bearer + "\r\n",
		"HTTP/0.9":           "GET /v1/functions\r\n\r\n",
		"HTTP/3":             "GET /v1/functions HTTP/3.0\r\nHost: x\r\n" + bearer + "\r\n",
		"bad method":         "PO ST /v1/functions HTTP/1.1\r\nHost: x\r\n" + bearer + "\r\n",
		"bad escape":         "POST /v1/%zz HTTP/1.1\r\nHost: x\r\n" + bearer + "\r\n",
		"TLS":                "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
	} {
		status, closed := speak(t, address, raw)
		if status != 0 && (status < 400 || status == http.StatusNoContent) || !closed {
			t.Errorf("%s: %d, closed %v", name, status, closed)
		}
	}
	// With both, the chunks count (RFC 9112, 6.3), and what is behind them is a
	// request of its own, with no token.
	smuggled := head + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nPOST /v1/tokens HTTP/1.1\r\nHost: x\r\n\r\n"
	if status, _ := speak(t, address, smuggled); status != http.StatusNoContent {
		t.Errorf("both: %d", status)
	}
	if strings.Contains(b.log.String(), "path=/v1/tokens") {
		t.Errorf("a request behind another was let in:\n%s", b.log)
	}
}

// TestStrangersAreHeardOnlyBriefly has clients without a token that say too
// much, or too little, or nothing.
func TestStrangersAreHeardOnlyBriefly(t *testing.T) {
	slow.UnderRace(t, "it waits for strangers to be cut off")
	address := serveBench(t, newBench(t))
	if status, closed := speak(t, address, "GET /v1/functions HTTP/1.1\r\nHost: x\r\nX: "+strings.Repeat("x", 1<<20)+"\r\n\r\n"); status != http.StatusRequestHeaderFieldsTooLarge && status != 0 || !closed {
		t.Errorf("a header of a megabyte: %d, closed %v", status, closed)
	}
	if status, closed := speak(t, address, "GET /"+strings.Repeat("x", 1<<20)+" HTTP/1.1\r\nHost: x\r\n\r\n"); status/100 != 4 && status != 0 || !closed {
		t.Errorf("a path of a megabyte: %d, closed %v", status, closed)
	}
	// A body that never comes holds nobody: the answer is there before it.
	for _, length := range []int{100, 100 << 20} {
		status, closed := speak(t, address, fmt.Sprintf("POST /v1/functions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\nx", length))
		if status != http.StatusUnauthorized || !closed {
			t.Errorf("a body of %d that never comes: %d, closed %v", length, status, closed)
		}
	}
	// Slow loris: a request that never ends is cut off.
	drip := dial(t, "tcp", address)
	if _, err := io.WriteString(drip, "GET /v1/functions HTTP/1.1\r\nHost: x\r\nX: "); err != nil {
		t.Fatal(err)
	}
	_ = drip.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadAll(drip); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("a request that never ends stays open")
	}
}

// TestOversizedBodies sends JSON that is too long, too deep, and none.
func TestOversizedBodies(t *testing.T) {
	b := newBench(t)
	real := New(b.deps)
	b.mux = real.mux
	address := serveBench(t, b)
	post := func(body string) int {
		r, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/tokens", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Authorization", "Bearer "+b.secrets[token.Admin])
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for name, c := range map[string]struct {
		body string
		want int
	}{
		"good":        {`{"name":"a","scopes":["read"]}`, http.StatusOK},
		"too long":    {`{"name":"` + strings.Repeat("x", 2<<20) + `"}`, http.StatusRequestEntityTooLarge},
		"too deep":    {strings.Repeat("[", 900<<10), http.StatusBadRequest},
		"deep object": {strings.Repeat(`{"a":`, 150_000) + "1" + strings.Repeat("}", 150_000), http.StatusBadRequest},
		"no JSON":     {"\x00\xff", http.StatusBadRequest},
		"other shape": {`[1]`, http.StatusUnprocessableEntity},
		"unknown":     {`{"name":"b","scopes":["read"],"admin":true}`, http.StatusUnprocessableEntity},
		"many scopes": {`{"name":"c","scopes":[` + strings.Repeat(`"x",`, 10_000) + `"x"]}`, http.StatusUnprocessableEntity},
	} {
		if got := post(c.body); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestSocket is open to its owner and group alone, lies in a folder that is,
// and follows no link.
func TestSocket(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	path := filepath.Join(dir, "admin.sock")
	l, err := ListenUnix(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for file, want := range map[string]os.FileMode{path: 0o660, dir: 0o750} {
		if info, err := os.Stat(file); err != nil || info.Mode().Perm()&^want != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	if _, err := ListenUnix(t.Context(), path); err == nil || !strings.Contains(err.Error(), "another gateway is running") {
		t.Errorf("a second one: %v", err)
	}
	// Links to a file, to a dead socket, to nothing: what they lead to stays.
	precious := filepath.Join(dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	dead := filepath.Join(dir, "dead.sock")
	d, err := new(net.ListenConfig).Listen(t.Context(), "unix", dead)
	if err != nil {
		t.Fatal(err)
	}
	d.(*net.UnixListener).SetUnlinkOnClose(false)
	d.Close()
	for _, target := range []string{precious, dead, filepath.Join(dir, "nothing")} {
		link := target + ".link"
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
		if l, err := ListenUnix(t.Context(), link); err == nil {
			l.Close()
		}
	}
	if raw, err := os.ReadFile(precious); err != nil || string(raw) != "x" {
		t.Errorf("the link's target: %q, %v", raw, err)
	}
	if _, err := os.Lstat(dead); err != nil {
		t.Errorf("the link's target: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "nothing")); err == nil {
		t.Error("a socket was made behind a link")
	}
}
