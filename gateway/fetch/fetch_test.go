package fetch_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/fetch"
	"github.com/headgate-io/headgate/internal/testaddress"
	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func client(t *testing.T, cfg fetch.Config) *fetch.Client {
	t.Helper()
	c, err := fetch.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// call makes a Fetch of a request, allowed to reach the origins.
func call(t *testing.T, r abi.FetchRequest, origins ...string) *host.Fetch {
	t.Helper()
	u, err := function.ParseFetchURL(r.URL)
	if err != nil {
		t.Fatal(err)
	}
	f := &host.Fetch{Function: "irrigate", Source: "/mqtt/soil-3", ID: "7", URL: u, Request: r}
	for _, s := range origins {
		o, err := function.ParseOrigin(s)
		if err != nil {
			t.Fatal(err)
		}
		f.Origins = append(f.Origins, o)
	}
	return f
}

// serve starts a server on loopback.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

func patience(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// refused is the errno of a call that must fail with a part of these words.
func refused(t *testing.T, err error, want abi.Errno, words string) {
	t.Helper()
	var why *host.FetchError
	errno := abi.Unavailable
	if errors.As(err, &why) {
		errno = why.Errno
	}
	if err == nil || errno != want || !strings.Contains(err.Error(), words) {
		t.Errorf("%d %v, want %d with %q", errno, err, want, words)
	}
}

// TestFetch sends everything and takes everything back.
func TestFetch(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Add("X-Two", "a")
		w.Header().Add("X-Two", "b")
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprintf(w, "%s %s %s %s %d %s %q", r.Method, r.URL, r.Header.Get("X-Key"), r.UserAgent(), r.ContentLength, body, r.Header.Values("Idempotency-Key"))
	})
	c := client(t, fetch.Config{Allow: loopback, Salt: "gw"})
	f := call(t, abi.FetchRequest{
		URL: url + "/a?b=c", Method: "put", Headers: abi.Headers{{Name: "x-key", Value: "k"}, {Name: "Content-Length", Value: "2"}}, Body: []byte("hi"),
	}, url)
	r, err := c.Fetch(patience(t), f)
	if err != nil {
		t.Fatal(err)
	}
	got := string(r.Answer.Body)
	if !strings.HasPrefix(got, "PUT /a?b=c k headgate 2 hi [") || r.Answer.Status != http.StatusTeapot || r.Answer.URL != url+"/a?b=c" {
		t.Errorf("%+v %s", r.Answer, got)
	}
	headers := fmt.Sprint(r.Answer.Headers)
	if !strings.Contains(headers, "{content-type text/plain}") || !strings.Contains(headers, "{x-two a} {x-two b}") {
		t.Errorf("headers %s", headers)
	}
	if r.Sent < 60 || r.Received < int64(len(got))+60 {
		t.Errorf("sent %d, received %d", r.Sent, r.Received)
	}
	if s := c.Stats(); s.Calls != 1 || s.Answered != 1 || s.Active != 0 || s.BytesSent != uint64(r.Sent) || s.BytesReceived != uint64(r.Received) {
		t.Errorf("%+v", s)
	}
}

// TestIdempotencyKey is the same for the same call of the same event, and only
// for that; a function may send its own.
func TestIdempotencyKey(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, r.Header.Get("Idempotency-Key"))
	})
	c, other := client(t, fetch.Config{Allow: loopback, Salt: "gw-1"}), client(t, fetch.Config{Allow: loopback, Salt: "gw-2"})
	key := func(c *fetch.Client, change func(*host.Fetch)) string {
		f := call(t, abi.FetchRequest{URL: url}, url)
		change(f)
		r, err := c.Fetch(patience(t), f)
		if err != nil {
			t.Fatal(err)
		}
		return string(r.Answer.Body)
	}
	first := key(c, func(*host.Fetch) {})
	if again := key(c, func(*host.Fetch) {}); again != first || len(first) != 36 || first[14] != '8' {
		t.Errorf("%q, then %q", first, again)
	}
	seen := map[string]bool{first: true}
	for i, k := range []string{
		key(c, func(f *host.Fetch) { f.Call = 1 }), key(c, func(f *host.Fetch) { f.ID = "8" }),
		key(c, func(f *host.Fetch) { f.Source += "1" }), key(c, func(f *host.Fetch) { f.Function = "other" }), key(other, func(*host.Fetch) {}),
	} {
		if seen[k] {
			t.Errorf("change %d: %q again", i, k)
		}
		seen[k] = true
	}
	if own := key(c, func(f *host.Fetch) { f.Request.Headers = abi.Headers{{Name: "idempotency-key", Value: "mine"}} }); own != "mine" {
		t.Errorf("own %q", own)
	}
}

// TestBadRequests are refused before anything is sent.
func TestBadRequests(t *testing.T) {
	var asked atomic.Int64
	url := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	c := client(t, fetch.Config{Allow: loopback, MaxRequest: 10})
	header := func(name, value string) abi.FetchRequest {
		return abi.FetchRequest{Headers: abi.Headers{{Name: name, Value: value}}}
	}
	many := abi.FetchRequest{}
	for i := range 65 {
		many.Headers = append(many.Headers, abi.Header{Name: "x-" + strconv.Itoa(i)})
	}
	for name, c2 := range map[string]struct {
		r     abi.FetchRequest
		errno abi.Errno
		words string
	}{
		"method":      {abi.FetchRequest{Method: "GET /x HTTP/1.1\r\nHost: y"}, abi.Invalid, "method"},
		"connect":     {abi.FetchRequest{Method: "connect"}, abi.Invalid, "CONNECT is not sent"},
		"body of GET": {abi.FetchRequest{Body: []byte("x")}, abi.Invalid, "GET has no body"},
		"large body":  {abi.FetchRequest{Method: "POST", Body: make([]byte, 11)}, abi.Limit, "fetch.max_request"},
		"line break":  {header("x", "a\r\nEvil: 1"), abi.Invalid, "line break"},
		"line feed":   {header("x", "a\nEvil: 1"), abi.Invalid, "line break"},
		"NUL":         {header("x", "a\x00b"), abi.Invalid, "control character"},
		"name":        {header("x: y\r\nz", "a"), abi.Invalid, "not the name of a header"},
		"empty name":  {header("", "a"), abi.Invalid, "not the name of a header"},
		"host":        {header("Host", "metadata.internal"), abi.Invalid, "gateway's to set"},
		"length":      {header("content-length", "100"), abi.Invalid, "gateway's to set"},
		"chunks":      {header("Transfer-Encoding", "chunked"), abi.Invalid, "gateway's to set"},
		"upgrade":     {header("upgrade", "websocket"), abi.Invalid, "gateway's to set"},
		"proxy":       {header("Proxy-Authorization", "x"), abi.Invalid, "gateway's to set"},
		"many":        {many, abi.Limit, "65 headers"},
		"long":        {header("x", strings.Repeat("a", 17<<10)), abi.Limit, "headers are over"},
		"redirect":    {abi.FetchRequest{Redirect: "maybe"}, abi.Invalid, "follow, manual or error"},
		"negative":    {abi.FetchRequest{TimeoutMillis: -1}, abi.Invalid, "below 0"},
	} {
		t.Run(name, func(t *testing.T) {
			c2.r.URL = url
			_, err := c.Fetch(patience(t), call(t, c2.r, url))
			refused(t, err, c2.errno, c2.words)
		})
	}
	if asked.Load() != 0 {
		t.Errorf("%d requests went out", asked.Load())
	}
	if s := c.Stats(); s.Refused != s.Calls || s.Refused == 0 {
		t.Errorf("%+v", s)
	}
}

// TestHugeAnswers end at the bound, packed ones too.
func TestHugeAnswers(t *testing.T) {
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/head" {
			w.Header().Set("X", strings.Repeat("a", 100<<10))
		}
		for range 100 {
			if _, err := w.Write(make([]byte, 10_000)); err != nil {
				return
			}
		}
	})
	c := client(t, fetch.Config{Allow: loopback, MaxResponse: 50_000})
	_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url))
	refused(t, err, abi.Limit, "fetch.max_response")
	_, err = c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url + "/head"}, url))
	refused(t, err, abi.Unavailable, "header")
	if s := c.Stats(); s.TooLarge != 1 || s.Failed != 2 || s.BytesReceived > 60_000 {
		t.Errorf("%+v", s)
	}
}

// TestSlowServers are left: before the head, in the middle of the body, and by
// the end of the invocation.
func TestSlowServers(t *testing.T) {
	released := make(chan struct{})
	var once sync.Once
	release := func() { once.Do(func() { close(released) }) }
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/body" {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "a")
			_ = http.NewResponseController(w).Flush()
		}
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	t.Cleanup(release)
	c := client(t, fetch.Config{Allow: loopback, Timeout: 20 * time.Millisecond})
	for _, path := range []string{"/head", "/body"} {
		_, err := c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url + path}, url))
		refused(t, err, abi.Unavailable, "no whole answer within 20ms")
		_, err = c.Fetch(patience(t), call(t, abi.FetchRequest{URL: url + path, TimeoutMillis: 10}, url))
		refused(t, err, abi.Unavailable, "no whole answer within 10ms")
	}
	if s := c.Stats(); s.TimedOut != 4 {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	_, err := c.Fetch(ctx, call(t, abi.FetchRequest{URL: url, TimeoutMillis: 30_000}, url))
	refused(t, err, abi.Unavailable, "canceled")
}

// TestStop ends what hangs, and takes nothing new.
func TestStop(t *testing.T) {
	came := make(chan struct{}, 1)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
	})
	c := client(t, fetch.Config{Allow: loopback, Timeout: time.Minute, StopAfter: time.Millisecond})
	ended := make(chan error, 1)
	f := call(t, abi.FetchRequest{URL: url}, url)
	go func() {
		_, err := c.Fetch(context.Background(), f)
		ended <- err
	}()
	<-came
	c.Stop()
	select {
	case err := <-ended:
		refused(t, err, abi.Unavailable, "the gateway is stopping")
	case <-patience(t).Done():
		t.Fatal("it goes on")
	}
	_, err := c.Fetch(patience(t), f)
	refused(t, err, abi.Unavailable, "the gateway is stopping")
}

// TestConcurrencyBounds lets no more through than there are slots, and no
// function use up the others'.
func TestConcurrencyBounds(t *testing.T) {
	var now, most atomic.Int64
	came, release := make(chan struct{}, 10), make(chan struct{})
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
		}
		came <- struct{}{}
		<-release
		now.Add(-1)
	})
	c := client(t, fetch.Config{Allow: loopback, MaxCalls: 3, MaxCallsPerFunction: 2, Timeout: time.Minute})
	var all sync.WaitGroup
	start := func(name string) {
		f := call(t, abi.FetchRequest{URL: url}, url)
		f.Function = name
		all.Go(func() {
			if _, err := c.Fetch(context.Background(), f); err != nil {
				t.Error(err)
			}
		})
	}
	for range 5 {
		start("greedy")
	}
	<-came
	<-came
	start("modest") // has a slot although three greedy ones wait
	<-came
	f := call(t, abi.FetchRequest{URL: url, TimeoutMillis: 10}, url)
	f.Function = "late"
	_, err := c.Fetch(patience(t), f)
	refused(t, err, abi.Unavailable, "fetch.max_calls")
	if s := c.Stats(); s.Active != 3 || s.Waiting != 3 {
		t.Errorf("%+v", s)
	}
	close(release)
	all.Wait()
	if most.Load() != 3 {
		t.Errorf("%d at once", most.Load())
	}
	if s := c.Stats(); s.Active != 0 || s.Waiting != 0 || s.Answered != 6 {
		t.Errorf("%+v", s)
	}
}

// TestTLS believes who the embedded CAs vouch for, and that of fetch.ca, judged
// by the gateway's clock; from TLS 1.2 on.
func TestTLS(t *testing.T) {
	ca := testca.New(t)
	file := filepath.Join(t.TempDir(), "ca.crt")
	ca.WriteCA(file)
	server := func(cert tls.Certificate, most uint16) string {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10, MaxVersion: most}
		s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		s.StartTLS()
		t.Cleanup(s.Close)
		return s.URL
	}
	good := server(ca.Issue("good"), tls.VersionTLS13)
	for name, x := range map[string]struct {
		cfg   fetch.Config
		url   string
		words string
	}{
		"good":        {fetch.Config{CA: file}, good, ""},
		"TLS 1.2":     {fetch.Config{CA: file}, server(ca.Issue("old"), tls.VersionTLS12), ""},
		"TLS 1.1":     {fetch.Config{CA: file}, server(ca.Issue("older"), tls.VersionTLS11), "protocol version"},
		"stranger":    {fetch.Config{}, good, "unknown authority"},
		"self-signed": {fetch.Config{CA: file}, server(testca.New(t).Issue("self"), tls.VersionTLS13), "unknown authority"},
		"other name":  {fetch.Config{CA: file}, strings.Replace(good, "127.0.0.1", "127.0.0.2", 1), "127.0.0.2"},
		"expired":     {fetch.Config{CA: file, Now: func() time.Time { return time.Now().AddDate(1, 0, 0) }}, good, "expired"},
	} {
		t.Run(name, func(t *testing.T) {
			x.cfg.Allow = loopback
			_, err := client(t, x.cfg).Fetch(patience(t), call(t, abi.FetchRequest{URL: x.url}, x.url))
			if x.words == "" && err == nil {
				return
			}
			refused(t, err, abi.Unavailable, x.words)
		})
	}
	for _, missing := range []string{filepath.Join(t.TempDir(), "none"), "fetch_test.go"} {
		if _, err := fetch.New(fetch.Config{CA: missing}); err == nil || !strings.Contains(err.Error(), "fetch.ca") {
			t.Errorf("%s: %v", missing, err)
		}
	}
}

// TestProxiesAreNotUsed whatever the environment says.
func TestProxiesAreNotUsed(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	url := serve(t, func(http.ResponseWriter, *http.Request) {})
	if _, err := client(t, fetch.Config{Allow: loopback}).Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url)); err != nil {
		t.Error(err)
	}
}

// TestOffline says what is wrong.
func TestOffline(t *testing.T) {
	address, err := testaddress.Free("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + address
	_, err = client(t, fetch.Config{Allow: loopback}).Fetch(patience(t), call(t, abi.FetchRequest{URL: url}, url))
	refused(t, err, abi.Unavailable, "connection refused")
}
