package sandbox_test

import (
	"context"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// large answers with more than a guest expects.
type large struct{ asked []abi.FetchRequest }

func (l *large) Fetch(_ context.Context, f *host.Fetch) (host.FetchResult, error) {
	l.asked = append(l.asked, f.Request)
	return host.FetchResult{Answer: abi.FetchAnswer{
		Status: 201, URL: f.URL.String(), Headers: abi.Headers{{Name: "content-type", Value: "text/plain"}}, Body: []byte(strings.Repeat("x\n", 4500)),
	}}, nil
}

// TestFetchInEveryLanguage sends the same request from each; an answer that is
// larger than the guest's room is asked for twice and sent for once.
func TestFetchInEveryLanguage(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	guests := map[string]func(t *testing.T) (string, []byte){
		"go":     func(t *testing.T) (string, []byte) { return "f.wasm", goGuest(t, "go/fetch") },
		"tinygo": func(t *testing.T) (string, []byte) { return "f.wasm", tinyGoGuest(t, "go/fetch") },
		"c":      func(t *testing.T) (string, []byte) { return "f.wasm", cGuest(t, "c/fetch.c") },
		"javascript": func(t *testing.T) (string, []byte) {
			source, err := os.ReadFile("testdata/js/fetch.js")
			if err != nil {
				t.Fatal(err)
			}
			return "fetch.js", source
		},
		"assemblyscript": func(t *testing.T) (string, []byte) { return "f.wasm", assemblyScriptGuest(t, "fetch.ts") },
		"rust":           func(t *testing.T) (string, []byte) { return "f.wasm", rustGuest(t, "fetch.rs") },
		"python":         func(t *testing.T) (string, []byte) { return "fetch.py", pythonGuest(t, "fetch.py") },
	}
	for name, guest := range guests {
		t.Run(name, func(t *testing.T) {
			main, source := guest(t)
			f := &large{}
			perms := function.Permissions{Fetch: []string{"https://api.example.org"}}
			u := load(t, e, main, source, testOptions{perms: perms})
			u.grant = u.grant.WithFetcher(f)
			r := u.invoke(host.Invocation{})
			if r.Outcome != function.OK || string(r.Output) != "201 text/plain 9000" {
				t.Fatalf("%s %s %q %v", r.Outcome, r.Error, r.Output, u.calls.Logs())
			}
			if len(f.asked) != 1 {
				t.Fatalf("sent %d requests", len(f.asked))
			}
			q := f.asked[0]
			if q.URL != `https://api.example.org/v1?q="1"` || q.Method != http.MethodPost || string(q.Body) != "hi\nthere" || header(q.Headers, "accept") != "text/plain" {
				t.Errorf("asked %+v", q)
			}
			u.grant = host.NewGrant("test", function.Permissions{}, function.Limits{}, nil, nil).WithFetcher(f)
			if r := u.invoke(host.Invocation{}); r.Outcome != function.Failed || !strings.Contains(r.Error, "ermission") || len(f.asked) != 1 {
				t.Errorf("without the permission: %s %s", r.Outcome, r.Error)
			}
		})
	}
}

// hanging answers when the invocation is over.
type hanging struct{}

func (hanging) Fetch(ctx context.Context, _ *host.Fetch) (host.FetchResult, error) {
	<-ctx.Done()
	return host.FetchResult{}, ctx.Err()
}

// TestFetchEndsWithTheInvocation whatever the other side does; waiting costs no
// fuel, and the instance is as good as new.
func TestFetchEndsWithTheInvocation(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	limits := function.Limits{Timeout: function.Duration(50 * time.Millisecond), Fuel: 2_000_000}
	u := load(t, e, "f.js", []byte(`export default async (e) => e.text() === "" ? "idle" : fetch("https://api.example.org")`),
		testOptions{limits: limits, perms: function.Permissions{Fetch: []string{"https://api.example.org"}}})
	u.grant = u.grant.WithFetcher(hanging{})
	if r := u.invoke(host.Invocation{Input: []byte("go")}); r.Outcome != function.TimedOut || !strings.Contains(r.Error, "limits.timeout") {
		t.Errorf("%s %s", r.Outcome, r.Error)
	}
	if r := u.invoke(host.Invocation{}); r.Outcome != function.OK || r.ColdStart {
		t.Errorf("after it: %+v", r)
	}
}
