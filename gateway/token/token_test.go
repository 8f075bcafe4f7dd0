package token_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/token"
)

func openStore(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), store.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.WithoutCancel(t.Context())) })
	return s
}

func open(t *testing.T, s token.Store, now func() time.Time) *token.Registry {
	t.Helper()
	r, err := token.Open(t.Context(), s, slog.New(slog.DiscardHandler), now)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func add(t *testing.T, r *token.Registry, name string, ttl time.Duration, scopes ...token.Scope) string {
	t.Helper()
	secret, _, err := r.Add(t.Context(), name, scopes, ttl)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// TestTokensOutliveTheProcess and are on disk as hashes only.
func TestTokensOutliveTheProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "headgate.db")
	s := openStore(t, path)
	secret := add(t, open(t, s, nil), "ci", 0, token.Deploy, token.Read, token.Deploy)
	r := open(t, s, nil)
	info, err := r.Lookup(secret)
	if err != nil || info.Name != "ci" || len(info.Scopes) != 2 {
		t.Errorf("%+v, %v", info, err)
	}
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{path, path + "-wal"} {
		raw, err := os.ReadFile(file)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		if bytes.Contains(raw, []byte(secret)) || bytes.Contains(raw, []byte(secret[len("headgate_"):])) {
			t.Errorf("the token is in %s", file)
		}
	}
}

func TestScopes(t *testing.T) {
	for _, c := range []struct {
		has []token.Scope
		may string
	}{
		{[]token.Scope{token.Read}, "read"},
		{[]token.Scope{token.Deploy}, "read deploy"},
		{[]token.Scope{token.Operate}, "read operate"},
		{[]token.Scope{token.Deploy, token.Operate}, "read deploy operate"},
		{[]token.Scope{token.Admin}, "read deploy operate admin"},
		{nil, ""},
	} {
		var may []string
		for _, s := range []token.Scope{token.Read, token.Deploy, token.Operate, token.Admin, token.Local} {
			if (token.Info{Scopes: c.has}).May(s) {
				may = append(may, string(s))
			}
		}
		if got := strings.Join(may, " "); got != c.may {
			t.Errorf("%v may %s, want %s", c.has, got, c.may)
		}
	}
}

func TestFaults(t *testing.T) {
	r := open(t, openStore(t, filepath.Join(t.TempDir(), "headgate.db")), nil)
	for _, c := range []struct {
		name   string
		scopes []token.Scope
		ttl    time.Duration
		want   string
	}{
		{"a b", []token.Scope{token.Read}, 0, `name "a b"`},
		{token.FileName, []token.Scope{token.Read}, 0, "is not token-file"},
		{"a", nil, 0, "it may do nothing"},
		{"a", []token.Scope{"root"}, 0, `scope "root"`},
		{"a", []token.Scope{token.Local}, 0, `scope "local"`},
		{"a", []token.Scope{token.Read}, -1, "expired already"},
	} {
		if _, _, err := r.Add(t.Context(), c.name, c.scopes, c.ttl); !errors.Is(err, token.ErrInvalid) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	add(t, r, "a", 0, token.Read)
	if _, _, err := r.Add(t.Context(), "a", []token.Scope{token.Read}, 0); !errors.Is(err, store.ErrExists) {
		t.Errorf("a second one: %v", err)
	}
	if err := r.Revoke(t.Context(), "b"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("revoke what is not there: %v", err)
	}
	if err := r.Revoke(t.Context(), token.FileName); !errors.Is(err, token.ErrInvalid) {
		t.Errorf("revoke the file's: %v", err)
	}
}

// memory is a store without a disk, for a clock that is not the machine's.
type memory struct {
	tokens map[string]store.Token
	used   int
}

func (m *memory) AddToken(_ context.Context, t store.Token) error {
	m.tokens[t.Name] = t
	return nil
}
func (m *memory) Tokens(context.Context) ([]store.Token, error) { return nil, nil }
func (m *memory) RemoveToken(_ context.Context, name string) error {
	delete(m.tokens, name)
	return nil
}
func (m *memory) TokenUsed(_ context.Context, _ string, _ time.Time) error { m.used++; return nil }

// TestExpiry ends a token, and a request that goes on in its name.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{tokens: map[string]store.Token{}}
		r := open(t, m, nil)
		secret := add(t, r, "short", time.Hour, token.Read)
		g, err := r.Enter(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		<-g.Context.Done()
		if cause := context.Cause(g.Context); !errors.Is(cause, token.ErrRevoked) || time.Since(began) != time.Hour {
			t.Errorf("ended by %v after %v", cause, time.Since(began))
		}
		g.Done()
		if _, err := r.Enter(t.Context(), secret); !errors.Is(err, token.ErrUnknown) {
			t.Errorf("afterwards: %v", err)
		}
	})
}

// TestLastUseIsWrittenRarely uses a token a thousand times in two hours.
func TestLastUseIsWrittenRarely(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{tokens: map[string]store.Token{}}
		r := open(t, m, nil)
		secret := add(t, r, "busy", 0, token.Read)
		for range 1000 {
			g, err := r.Enter(t.Context(), secret)
			if err != nil {
				t.Fatal(err)
			}
			g.Done()
			time.Sleep(7200 * time.Millisecond)
		}
		if m.used != 2 {
			t.Errorf("written %d times", m.used)
		}
		if used := r.List()[0].LastUsed; time.Since(used) > 8*time.Second {
			t.Errorf("last used %v", used)
		}
	})
}

// TestTokenFile makes one, reads it again, replaces it, and closes one that
// everybody can read.
func TestTokenFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "admin.token")
	secret, _, err := token.ReadFile(file)
	if err != nil || len(secret) < 40 {
		t.Fatalf("%q, %v", secret, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r := open(t, &memory{tokens: map[string]store.Token{}}, nil)
	r.UseFile(secret)
	g, err := r.Enter(t.Context(), secret)
	if err != nil || !g.May(token.Admin) || g.May(token.Local) {
		t.Fatalf("%+v, %v", g, err)
	}
	defer g.Done()
	if again, _, err := token.ReadFile(file); err != nil || again != secret {
		t.Errorf("read again: %v", err)
	}
	if err := os.WriteFile(file, []byte("another-token-of-the-owner\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	another, tightened, err := token.ReadFile(file)
	if err != nil || !tightened || another != "another-token-of-the-owner" {
		t.Errorf("%q, %v, %v", another, tightened, err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r.UseFile(another)
	if _, err := r.Lookup(secret); !errors.Is(err, token.ErrUnknown) {
		t.Errorf("the one before: %v", err)
	}
	if g.Context.Err() == nil {
		t.Error("what goes on in its name goes on")
	}
	if err := os.WriteFile(file, []byte("short"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := token.ReadFile(file); err == nil {
		t.Error("a short one is taken")
	}
}

// TestEmptyTokenFile is what a power cut right after the first start, or a full
// disk, leaves: the gateway starts all the same.
func TestEmptyTokenFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "admin.token")
	for name, content := range map[string]string{"empty": "", "a line": "\n", "zeros": strings.Repeat("\x00", 53)} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		secret, _, err := token.ReadFile(file)
		if err != nil || len(secret) < 40 {
			t.Fatalf("%s: %q, %v", name, secret, err)
		}
		if again, _, err := token.ReadFile(file); err != nil || again != secret {
			t.Errorf("%s: read again: %v", name, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// A link that leads elsewhere is not written through.
func TestTokenFileFollowsNoLink(t *testing.T) {
	dir := t.TempDir()
	target := filepath.Join(dir, "elsewhere")
	if err := os.Symlink(target, filepath.Join(dir, "admin.token")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := token.ReadFile(filepath.Join(dir, "admin.token")); err == nil {
		t.Error("a token was made behind the link")
	}
	if _, err := os.Stat(target); err == nil {
		t.Error("the link's target was made")
	}
}

// TestCallScopes keeps keys of functions and tokens of the admin API apart.
func TestCallScopes(t *testing.T) {
	r := open(t, &memory{tokens: map[string]store.Token{}}, nil)
	secret := add(t, r, "phone", 0, token.Call("orders"), token.Call("items"))
	info, err := r.Lookup(secret)
	if err != nil || !info.MayCall("orders") || !info.MayCall("items") || info.MayCall("other") {
		t.Errorf("%+v, %v", info, err)
	}
	for _, s := range []token.Scope{token.Read, token.Deploy, token.Operate, token.Admin, token.Local} {
		if info.May(s) {
			t.Errorf("a key has %s", s)
		}
	}
	if !(token.Info{Scopes: []token.Scope{token.Call("*")}}).MayCall("orders") {
		t.Error("call:* may not call")
	}
	if (token.Info{Scopes: []token.Scope{token.Admin}}).MayCall("orders") || (token.Info{Scopes: []token.Scope{token.Admin}}).May(token.Call("orders")) {
		t.Error("an admin token may call")
	}
	for _, scopes := range [][]token.Scope{{token.Call("orders"), token.Read}, {token.Call("")}, {token.Call("a b")}} {
		if _, _, err := r.Add(t.Context(), "bad", scopes, 0); !errors.Is(err, token.ErrInvalid) {
			t.Errorf("%v: %v", scopes, err)
		}
	}
}
