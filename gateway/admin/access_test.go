package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/throttle"
	"github.com/headgate-io/headgate/gateway/token"
)

// bench is a server whose endpoints do nothing but say that they were reached,
// with real tokens.
type bench struct {
	*Server
	tokens *token.Registry
	log    *logBuffer
	// secrets are tokens by their one scope.
	secrets map[token.Scope]string
}

// newBench makes one. The patterns are those of the real API.
func newBench(t *testing.T) *bench {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: filepath.Join(t.TempDir(), "headgate.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	b := &bench{log: &logBuffer{}, secrets: map[token.Scope]string{}}
	logger := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if b.tokens, err = token.Open(t.Context(), s, logger, nil); err != nil {
		t.Fatal(err)
	}
	deps := Deps{About: func() api.About { return api.About{} }, Logger: logger, Tokens: b.tokens, Guesses: throttle.New(throttle.Config{}), Metrics: http.NotFoundHandler()}
	real := New(deps)
	b.Server = &Server{deps: deps, mux: newRoutes()}
	for _, p := range real.mux.patterns {
		b.mux.HandleFunc(p, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(http.StatusNoContent)
		})
	}
	for _, scope := range []token.Scope{token.Read, token.Deploy, token.Operate, token.Admin} {
		secret, _, err := b.tokens.Add(t.Context(), "only-"+string(scope), []token.Scope{scope}, 0)
		if err != nil {
			t.Fatal(err)
		}
		b.secrets[scope] = secret
	}
	return b
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// ask sends one request as the bearer of secret, "" being nobody.
func (b *bench) ask(method, path, secret string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	if secret != "" {
		r.Header.Set("Authorization", "Bearer "+secret)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	b.bearer(w, r)
	return w
}

// Every endpoint has a scope, and every scope an endpoint.
func TestEveryEndpointHasAScope(t *testing.T) {
	b := newBench(t)
	for _, p := range b.mux.patterns {
		if _, ok := access[p]; !ok {
			t.Errorf("%s has no scope: add it to access", p)
		}
	}
	for p := range access {
		if !slices.Contains(b.mux.patterns, p) {
			t.Errorf("access has %s, which is no endpoint", p)
		}
	}
}

// TestEveryEndpointIsRefusedWithoutItsScope asks for every endpoint with every
// token, with a wrong one and with none.
func TestEveryEndpointIsRefusedWithoutItsScope(t *testing.T) {
	b := newBench(t)
	b.deps.Guesses = throttle.New(throttle.Config{AddressBudget: 1 << 30})
	may := map[token.Scope]map[token.Scope]bool{ // what is needed, who has it
		token.Read:    {token.Read: true, token.Deploy: true, token.Operate: true, token.Admin: true},
		token.Deploy:  {token.Deploy: true, token.Admin: true},
		token.Operate: {token.Operate: true, token.Admin: true},
		token.Admin:   {token.Admin: true},
		token.Local:   {},
	}
	for pattern, needed := range access {
		method, path, _ := strings.Cut(pattern, " ")
		path = strings.NewReplacer("{name}", "x", "{namespace}", "x", "{id}", "1", "{function}", "x").Replace(path)
		for _, wrong := range []string{"", "headgate_wrong"} {
			if got := b.ask(method, path, wrong).Code; got != http.StatusUnauthorized {
				t.Errorf("%s with token %q: %d", pattern, wrong, got)
			}
		}
		for scope, secret := range b.secrets {
			want := http.StatusForbidden
			if may[needed][scope] {
				want = http.StatusNoContent
			}
			if got := b.ask(method, path, secret).Code; got != want {
				t.Errorf("%s, which needs %s, with %s: %d, want %d", pattern, needed, scope, got, want)
			}
		}
	}
}

// What is not in the table is open to nobody, not over the socket either.
func TestUnlistedEndpointsAreClosed(t *testing.T) {
	b := newBench(t)
	b.mux.HandleFunc("GET /v1/forgotten", func(http.ResponseWriter, *http.Request) { t.Error("it was reached") })
	if got := b.ask(http.MethodGet, "/v1/forgotten", b.secrets[token.Admin]).Code; got != http.StatusForbidden {
		t.Errorf("over TCP: %d", got)
	}
	w := httptest.NewRecorder()
	b.local(w, httptest.NewRequest(http.MethodGet, "/v1/forgotten", nil))
	if w.Code != http.StatusForbidden {
		t.Errorf("over the socket: %d", w.Code)
	}
	if got := b.ask(http.MethodGet, "/v1/nothing", b.secrets[token.Read]).Code; got != http.StatusNotFound {
		t.Errorf("what does not exist: %d", got)
	}
}

// Other spellings of a path lead to no other endpoint's scope.
func TestSpellingsOfAPathNeedTheSameScope(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{
		"/v1/tokens", "//v1/tokens", "/v1//tokens", "/v1/./tokens", "/v1/x/../tokens", "/v1/tokens/../tokens",
		"/v1/%74okens", "/v1/tokens?x=1", "/v1/functions/../tokens", "/v1/functions/%2e%2e/tokens",
	} {
		w := b.ask(http.MethodPost, path, b.secrets[token.Operate])
		if w.Code == http.StatusNoContent {
			t.Errorf("%s was reached", path)
		}
	}
	// A method in a header does not change the one that counts.
	w := b.ask(http.MethodGet, "/v1/functions", b.secrets[token.Read], func(r *http.Request) {
		r.Header.Set("X-HTTP-Method-Override", http.MethodDelete)
		r.Header.Set("X-Original-URL", "/v1/tokens")
		r.Header.Set("X-Rewrite-URL", "/v1/tokens")
	})
	if w.Code != http.StatusNoContent || strings.Contains(b.log.String(), "admin change") {
		t.Errorf("%d\n%s", w.Code, b.log)
	}
}

// A token in the address is refused, the right one too: it is in somebody's log
// by now. So is everything but one clear header.
func TestTokenInTheAddressIsRefused(t *testing.T) {
	b := newBench(t)
	secret := b.secrets[token.Read]
	for _, path := range []string{"/v1/functions?token=" + secret, "/v1/functions?access_token=" + secret} {
		for _, header := range []string{"", secret} {
			if w := b.ask(http.MethodGet, path, header); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "revoke") {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		}
	}
	for name, change := range map[string]func(*http.Request){
		"cookie":      func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "token", Value: secret}) },
		"basic":       func(r *http.Request) { r.SetBasicAuth("token", secret) },
		"two headers": func(r *http.Request) { r.Header["Authorization"] = []string{"Bearer x", "Bearer " + secret} },
		"no scheme":   func(r *http.Request) { r.Header.Set("Authorization", secret) },
		"proxy":       func(r *http.Request) { r.Header.Set("Proxy-Authorization", "Bearer "+secret) },
		"two spaces":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer  "+secret) },
		"prefix":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret[:len(secret)-1]) },
		"suffix":      func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+secret+"A") },
		"other case":  func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+strings.ToUpper(secret)) },
	} {
		if w := b.ask(http.MethodGet, "/v1/functions", "", change); w.Code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, w.Code)
		}
	}
	if strings.Contains(b.log.String(), secret) {
		t.Error("the token is in the log")
	}
}

// TestTokenGuessesAreHeldUp guesses tokens from one address. Its own holder, who
// was there before, goes on; others there and elsewhere are not mixed up.
func TestTokenGuessesAreHeldUp(t *testing.T) {
	b := newBench(t)
	from := func(address, secret string) int {
		return b.ask(http.MethodGet, "/v1/functions", secret, func(r *http.Request) { r.RemoteAddr = address }).Code
	}
	if got := from("192.0.2.1:1", b.secrets[token.Read]); got != http.StatusNoContent {
		t.Fatal(got)
	}
	for i := range 50 {
		from("192.0.2.1:2", fmt.Sprint("guess", i))
	}
	for _, c := range []struct {
		address, secret string
		want            int
	}{
		{"192.0.2.1:3", "guess", http.StatusTooManyRequests},
		{"192.0.2.1:3", b.secrets[token.Admin], http.StatusTooManyRequests},
		{"192.0.2.1:3", b.secrets[token.Read], http.StatusNoContent},
		{"192.0.2.2:3", b.secrets[token.Admin], http.StatusNoContent},
	} {
		if got := from(c.address, c.secret); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if s := b.deps.Guesses.Stats(); s.Held == 0 || s.Failures >= 50 {
		t.Errorf("stats %+v", s)
	}
}

// TestChangesAreWrittenDown looks for who did what in the log.
func TestChangesAreWrittenDown(t *testing.T) {
	b := newBench(t)
	b.ask(http.MethodPost, "/v1/functions", b.secrets[token.Deploy])
	b.ask(http.MethodGet, "/v1/functions", b.secrets[token.Deploy])
	b.ask(http.MethodDelete, "/v1/tokens/x", b.secrets[token.Deploy])
	b.ask(http.MethodPost, "/v1/messages", b.secrets[token.Operate])
	log := b.log.String()
	for _, want := range []string{
		`level=INFO msg="admin change" who="token only-deploy" method=POST path=/v1/functions status=204`,
		`level=WARN msg="refused: the token's scopes do not allow it" who="token only-deploy" method=DELETE path=/v1/tokens/x`,
		`level=DEBUG msg="admin change" who="token only-operate" method=POST path=/v1/messages`,
	} {
		if !strings.Contains(log, want) {
			t.Errorf("no %s in\n%s", want, log)
		}
	}
	if n := strings.Count(log, "admin change"); n != 2 {
		t.Errorf("%d changes in\n%s", n, log)
	}
}

// TestRevocationEndsOpenStreams revokes a token while a request in its name
// goes on.
func TestRevocationEndsOpenStreams(t *testing.T) {
	b := newBench(t)
	entered, cause := make(chan struct{}), make(chan error, 1)
	stream := &Server{deps: b.deps, mux: newRoutes()}
	stream.mux.HandleFunc("GET /v1/logs", func(_ http.ResponseWriter, r *http.Request) {
		close(entered)
		<-r.Context().Done()
		cause <- context.Cause(r.Context())
	})
	l, address := listen(t, "tcp")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- stream.ServeTokens(ctx, l) }()
	answered := make(chan error, 1)
	go func() {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/v1/logs", nil)
		if err != nil {
			answered <- err
			return
		}
		r.Header.Set("Authorization", "Bearer "+b.secrets[token.Read])
		resp, err := http.DefaultClient.Do(r)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		answered <- err
	}()
	<-entered
	if err := b.tokens.Revoke(t.Context(), "only-read"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-cause:
		if !errors.Is(err, token.ErrRevoked) {
			t.Errorf("ended by %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the stream goes on")
	}
	if err := <-answered; err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Logf("the client saw %v", err) // cut off, in one way or another
	}
	if got := b.ask(http.MethodGet, "/v1/functions", b.secrets[token.Read]).Code; got != http.StatusUnauthorized {
		t.Errorf("the next request: %d", got)
	}
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}
