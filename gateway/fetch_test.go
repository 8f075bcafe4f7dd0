package gateway_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
)

// elsewhere is a server that functions may fetch from, and what it was asked.
type elsewhere struct {
	url  string
	mu   sync.Mutex
	keys []string
	seen []string
}

func outside(t *testing.T, answer func(w http.ResponseWriter, n int)) *elsewhere {
	t.Helper()
	e := &elsewhere{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.mu.Lock()
		e.keys, e.seen = append(e.keys, r.Header.Get("Idempotency-Key")), append(e.seen, string(body))
		n := len(e.keys)
		e.mu.Unlock()
		answer(w, n)
	}))
	t.Cleanup(s.Close)
	e.url = s.URL
	return e
}

func (e *elsewhere) asked() (keys, bodies []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.keys), slices.Clone(e.seen)
}

func fetches(from *elsewhere) func(*function.Spec) {
	return func(s *function.Spec) { s.Permissions.Fetch = []string{from.url} }
}

func reachLoopback(c *config.Config) { c.Fetch.Allow = []string{"127.0.0.0/8"} }

// TestRetriesRepeatTheIdempotencyKey of each call, so that a server can tell
// that an order came twice; and what is fetched is metered.
func TestRetriesRepeatTheIdempotencyKey(t *testing.T) {
	r := start(t, t.TempDir(), reachLoopback)
	e := outside(t, func(w http.ResponseWriter, n int) {
		if n == 2 {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, strings.Repeat("a", 1000))
	})
	r.script("order", "orders", `export default async (event, { state }) => {
	  for (const body of ["one", "two"]) {
	    const r = await fetch("`+e.url+`", { method: "POST", body });
	    if (!r.ok) throw new Error("status " + r.status);
	  }
	  state.set("done", event.attempt);
	};`, fetches(e), func(s *function.Spec) { s.Retry.Backoff = function.Duration(10 * time.Millisecond) })
	r.publish(api.Message{Topic: "orders", Payload: []byte("1"), QoS: 1})
	r.eventually("order", "done", "2")
	keys, bodies := e.asked()
	if !slices.Equal(bodies, []string{"one", "two", "one", "two"}) || keys[0] != keys[2] || keys[1] != keys[3] || keys[0] == keys[1] || keys[0] == "" {
		t.Errorf("%v %v", keys, bodies)
	}
	r.publish(api.Message{Topic: "orders", Payload: []byte("1"), QoS: 1})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if keys, _ = e.asked(); len(keys) == 6 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("asked %d times", len(keys))
		}
	}
	if keys[4] == keys[0] {
		t.Error("another event has the same key")
	}
}

// TestRerunsDoNotFetchAgain what an invocation has fetched that a conflict took
// back: it hears the same answer.
func TestRerunsDoNotFetchAgain(t *testing.T) {
	r := start(t, t.TempDir(), reachLoopback)
	var once sync.Once
	e := outside(t, func(w http.ResponseWriter, n int) {
		once.Do(func() {
			r.call(http.MethodPut, "/v1/state/count/entry?key=n", api.StateEntry{Value: []byte("41")}, nil)
		})
		_, _ = io.WriteString(w, "answer "+string(rune('0'+n)))
	})
	r.script("count", "count", `export default async (event, { state }) => {
	  const n = state.get("n") ?? 0;
	  const text = await (await fetch("`+e.url+`")).text();
	  state.set("n", n + 1);
	  state.set("text", text);
	};`, fetches(e))
	r.publish(api.Message{Topic: "count", QoS: 1})
	r.eventually("count", "n", "42")
	if keys, _ := e.asked(); len(keys) != 1 || r.state("count", "text") != `"answer 1"` {
		t.Errorf("asked %d times, stored %s", len(keys), r.state("count", "text"))
	}
}

// TestFetchNeedsPermissionAndAPublicAddress by default: the machine's own
// network is closed whatever a manifest says.
func TestFetchNeedsPermissionAndAPublicAddress(t *testing.T) {
	r := start(t, t.TempDir())
	e := outside(t, func(http.ResponseWriter, int) {})
	source := `export default async () => { try { await fetch("` + e.url + `/x"); return "sent" } catch (e) { return e.code + " " + e.message } }`
	r.script("asks", "", source)
	if got := r.invoked("asks", ""); !strings.Contains(string(got.Output), "DENIED http_fetch: "+e.url+"/x: permissions.fetch allows nothing") {
		t.Errorf("%s", got.Output)
	}
	r.script("asks", "", source, fetches(e))
	if got := r.invoked("asks", ""); !strings.Contains(string(got.Output), "an address of this machine: functions reach it when fetch.allow") {
		t.Errorf("%s", got.Output)
	}
	if keys, _ := e.asked(); len(keys) > 0 {
		t.Error("it was sent")
	}
}
