package recording_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/once"
	"github.com/headgate-io/headgate/gateway/recording"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// kept is a state that changes between the recording and the replay.
type kept map[string]string

func (k kept) Get(ns, key string) ([]byte, bool, error) {
	v, ok := k[ns+":"+key]
	return []byte(v), ok, nil
}

func (k kept) List(ns, prefix, _ string, _ int) ([]string, bool, error) {
	var keys []string
	for _, at := range slices.Sorted(maps.Keys(k)) {
		if key, ok := strings.CutPrefix(at, ns+":"); ok && strings.HasPrefix(key, prefix) {
			keys = append(keys, key)
		}
	}
	return keys, false, nil
}

type attributes map[string]string

func (a attributes) Lookup(key string) (string, bool) {
	v, ok := a[key]
	return v, ok
}

type vault map[string]string

func (v vault) Secret(name string) ([]byte, bool, error) {
	value, ok := v[name]
	return []byte(value), ok, nil
}

// weather answers a fetch, and another one another time.
type weather struct{ calls int }

func (w *weather) Fetch(_ context.Context, f *host.Fetch) (host.FetchResult, error) {
	w.calls++
	if f.Request.Headers[0].Value != "open-sesame" {
		return host.FetchResult{}, fmt.Errorf("headers %v", f.Request.Headers)
	}
	if f.URL.Path == "/none" {
		return host.FetchResult{}, &host.FetchError{Errno: abi.Unavailable, Reason: "it does not rain"}
	}
	return host.FetchResult{Answer: abi.FetchAnswer{Status: 200, URL: f.URL.String(), Body: fmt.Appendf(nil, "rain %d", w.calls)}}, nil
}

const script = `
export default async (event, ctx) => {
  const { state, publish, secret, config, log, metric } = ctx;
  const runs = (state.get("runs") ?? 0) + 1;
  state.set("runs", runs);
  const probes = state.list("probe/");
  publish("out/" + event.params.field, { runs, probes, random: Math.random(), at: Date.now(), id: crypto.randomUUID(), key: secret("key"), unit: config.unit });
  log.info("key is", secret("key"), "left", event.meta("remaining_ms"));
  const ask = (path) => fetch("https://weather.example" + path, { headers: { "x-key": secret("key") } });
  publish("out/rain", await (await ask("/now")).text());
  try { await ask("/none"); } catch (e) { publish("out/none", e.message + e.code); }
  metric("runs", runs);
  if (event.data.moisture < 0) throw new Error("below nothing: " + event.data.moisture + " " + secret("key"));
  for (let i = 0; event.data.loop; i++);
  return { runs, text: event.text() };
};`

var spec = function.Spec{
	Name: "soil", Main: "soil.js", Secrets: []string{"key"}, Config: map[string]any{"unit": "percent"},
	Limits:      function.Limits{Fuel: 20_000_000},
	Permissions: function.Permissions{Publish: []string{"out/+"}, Fetch: []string{"https://weather.example"}},
}

// engine is shared: compiling the script engine takes longer than all the rest.
var engine *sandbox.Engine

func TestMain(m *testing.M) {
	ctx := context.Background()
	cache, err := testcache.Folder()
	if err != nil {
		panic(err)
	}
	if engine, err = sandbox.New(ctx, sandbox.Config{CacheDir: cache}); err != nil {
		panic(err)
	}
	code := testcache.Run(m)
	if err := engine.Close(ctx); err != nil {
		panic(err)
	}
	os.Exit(code)
}

func files(source string) map[string][]byte { return map[string][]byte{spec.Main: []byte(source)} }

// record runs the script once on data, listened to.
func record(t *testing.T, data string) *recording.Recording {
	t.Helper()
	ev := &event.Event{ID: "7", Source: "/mqtt/probe", Type: event.TypeMQTT, Subject: "soil/3", Data: []byte(data), Extensions: map[string]string{"colour": "red"}}
	meta := attributes{abi.MetaID: "7", abi.MetaSubject: "soil/3", abi.MetaParams: `{"field":"3"}`, abi.MetaAttempt: "1", "params.field": "3", "colour": "red"}
	var tape recording.Tape
	calls, result, err := once.Run(t.Context(), engine, &spec, files(script), once.Outside{Secrets: vault{"key": "open-sesame"}, Fetcher: new(weather)}, host.Invocation{
		Input: ev.Data, Meta: meta, Recorded: true, State: tape.Listen(kept{"soil:runs": "41", "soil:probe/a": "1", "soil:probe/b": "2"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	rec := tape.Cut(&spec, ev, meta, calls, &result)
	rec.ID, rec.Time, rec.Version = "r"+fmt.Sprint(len(data)), time.Now(), 3
	return rec
}

// carried is the recording as another machine reads it.
func carried(t *testing.T, r *recording.Recording) *recording.Recording {
	t.Helper()
	var file bytes.Buffer
	if err := r.Encode(&file); err != nil {
		t.Fatal(err)
	}
	again, err := recording.Decode(file.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// The same code does the same, to the unit of fuel: when it succeeds, when it
// throws and when its fuel runs out.
func TestReplayDoesTheSame(t *testing.T) {
	for name, c := range map[string]struct{ data, outcome string }{
		"ok":          {`{"moisture": 27,  "note": "spaces  stay"}`, "ok"},
		"throws":      {`{"moisture":-1}`, "failed"},
		"out of fuel": {`{"loop":true}`, "out_of_fuel"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := carried(t, record(t, c.data))
			if rec.Outcome.Outcome != c.outcome || rec.Outcome.Fuel == 0 {
				t.Fatalf("recorded %s with %d fuel: %s", rec.Outcome.Outcome, rec.Outcome.Fuel, rec.Outcome.Error)
			}
			got, err := rec.Run(t.Context(), engine, rec.Spec, files(script), nil, true)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Differences) > 0 || len(got.Unanswered) > 0 {
				t.Errorf("differences %+v, unanswered %q", got.Differences, got.Unanswered)
			}
			if len(rec.Outcome.Publishes) != 3 || string(rec.Outcome.Publishes[1].Payload) != "rain 1" ||
				!strings.Contains(string(rec.Outcome.Publishes[2].Payload), "it does not rain") || !strings.Contains(string(rec.Outcome.Publishes[0].Payload), `"runs":42`) {
				t.Errorf("published %+v", rec.Outcome.Publishes)
			}
		})
	}
}

// Other code does something else, and the comparison says where.
func TestReplayOfOtherCode(t *testing.T) {
	rec := carried(t, record(t, `{"moisture":27}`))
	for name, c := range map[string]struct {
		old, new string
		differs  []string
		asks     string
	}{
		"another topic":   {`"out/" +`, `"out/x" +`, []string{"publish 1"}, ""},
		"one more effect": {`metric("runs", runs);`, `metric("runs", runs); publish("out/2", 1);`, []string{"publish 4"}, ""},
		"asks elsewhere":  {`ask("/now")`, `ask("/later")`, []string{"outcome"}, "the answer to fetch 1, GET https://weather.example/later"},
		"no effect":       {`metric("runs", runs);`, ``, []string{"metric 1"}, ""},
		"reads more":      {`metric("runs", runs);`, `state.get("limit");`, []string{"outcome", "error"}, "the value of state key soil:limit"},
		"lists more":      {`metric("runs", runs);`, `state.list("");`, []string{"outcome"}, "the state keys soil:*"},
		"another result":  {`return { runs,`, `return { ran: runs,`, []string{"output"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(script, c.old, c.new, 1)
			if changed == script {
				t.Fatal("the script has no " + c.old)
			}
			got, err := rec.Run(t.Context(), engine, rec.Spec, files(changed), nil, false)
			if err != nil {
				t.Fatal(err)
			}
			var what []string
			for _, d := range got.Differences {
				what = append(what, d.What)
			}
			for _, w := range c.differs {
				if !slices.Contains(what, w) {
					t.Errorf("differs in %q, not in %s: %+v", what, w, got.Differences)
				}
			}
			if got := strings.Join(got.Unanswered, "; "); !strings.HasPrefix(got, c.asks) || (c.asks == "") != (got == "") {
				t.Errorf("unanswered %q, want %q", got, c.asks)
			}
		})
	}
}

// No secret is in a recording, wherever the function put it.
func TestRecordingHoldsNoSecret(t *testing.T) {
	for _, data := range []string{`{"moisture":27}`, `{"moisture":-1}`} {
		var file bytes.Buffer
		rec := record(t, data)
		if err := rec.Encode(&file); err != nil {
			t.Fatal(err)
		}
		again, err := recording.Decode(file.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		text := fmt.Sprintf("%+v", again)
		if strings.Contains(text, "open-sesame") || again.Answers.Secrets["key"] != len("open-sesame") {
			t.Errorf("secrets %v in %s", again.Answers.Secrets, text)
		}
		if !strings.Contains(string(again.Outcome.Publishes[0].Payload), "[secret key]") {
			t.Errorf("published %s", again.Outcome.Publishes[0].Payload)
		}
	}
}

func TestRedact(t *testing.T) {
	rec := record(t, `{"moisture":27,"owner":{"name":"Ada","cards":[1,2]}}`)
	for _, place := range []string{"data.owner.phone", "body.x", "state.walks", "data.moisture.x"} {
		if err := rec.Redact(place); err == nil {
			t.Errorf("%s was redacted", place)
		}
	}
	if err := rec.Redact("data.owner.*", "state.runs", "output.text"); err != nil {
		t.Fatal(err)
	}
	want := `{"moisture":27,"owner":{"cards":[0,0],"name":"xxx"}}`
	if string(rec.Data) != want || string(rec.Answers.State[0].Value) != "0" || string(rec.Outcome.Writes[0].Value) != "0" {
		t.Errorf("data %s, state %+v, writes %+v", rec.Data, rec.Answers.State, rec.Outcome.Writes)
	}
	if strings.Contains(string(rec.Outcome.Output), "Ada") || len(rec.Redacted) != 3 {
		t.Errorf("output %s, redacted %q", rec.Outcome.Output, rec.Redacted)
	}
}

// A shelf keeps the newest, within its bounds, and finds them again.
func TestShelf(t *testing.T) {
	dir := t.TempDir()
	s, err := recording.OpenShelf(dir)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now().Truncate(time.Millisecond)
	put := func(i int) int {
		dropped, err := s.Put(&recording.Recording{
			Format: recording.Format, ID: fmt.Sprintf("id%03d", i), Time: start.Add(time.Duration(i) * time.Second),
			Spec: function.Spec{Name: "f" + fmt.Sprint(i%2)}, Event: &event.Event{ID: fmt.Sprint(i), Source: "/s", Type: "t"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return dropped
	}
	const more = 6
	dropped := 0
	for i := range recording.MaxRecordings + more {
		dropped += put(i)
	}
	dropped += put(recording.MaxRecordings) // again: it replaces itself
	if dropped != more {
		t.Errorf("%d dropped, want %d", dropped, more)
	}
	for range 2 {
		list := s.List("")
		if len(list) != recording.MaxRecordings || list[0].ID != fmt.Sprintf("id%03d", recording.MaxRecordings+more-1) {
			t.Fatalf("%d there, the newest %s", len(list), list[0].ID)
		}
		if n := len(s.List("f1")); n != recording.MaxRecordings/2 {
			t.Errorf("%d of f1", n)
		}
		if _, err := s.Get("id000"); !errors.Is(err, recording.ErrNotFound) {
			t.Errorf("the oldest: %v", err)
		}
		if _, err := s.Get("../id070"); !errors.Is(err, recording.ErrNotFound) {
			t.Errorf("a path: %v", err)
		}
		if r, err := s.Get("id069"); err != nil || r.Event.ID != "69" {
			t.Errorf("the newest: %+v, %v", r, err)
		}
		if s, err = recording.OpenShelf(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Drop("id069"); err != nil || errors.Is(s.Drop("id069"), nil) {
		t.Errorf("drop: %v", err)
	}
}

// An order records what it asks for, as often as it asks.
func TestRecorderFollowsItsOrder(t *testing.T) {
	shelf, err := recording.OpenShelf(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	full := false
	r := recording.New(recording.Config{
		Shelf: shelf, Logger: slog.New(slog.DiscardHandler), Now: time.Now, Stopped: func() bool { return full },
		Subject: func(name string, version int) (recording.Subject, bool) {
			return recording.Subject{Spec: function.Spec{Name: name}, Version: version, Digest: "d"}, true
		},
	})
	attempt := 0
	invoke := func(name string, outcome function.Outcome) bool {
		l := r.Listener(name, 1)
		if l == nil {
			return false
		}
		attempt++
		ev := &event.Event{ID: fmt.Sprint(attempt), Source: "/s", Type: "t"}
		var calls host.Calls
		calls.Reset(host.NewGrant(name, function.Permissions{}, function.Limits{}, nil, nil), host.Invocation{State: l.Listen(nil)})
		l.Cut(ev, attributes{}, &calls, &function.Result{Outcome: outcome})
		return true
	}
	if invoke("f", function.OK) {
		t.Error("recorded without an order")
	}
	for _, o := range []recording.Order{{Count: 0}, {Count: recording.MaxRecordings + 1}} {
		if err := r.Start("f", o); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
	if err := r.Start("f", recording.Order{Count: 2, Failures: true}); err != nil {
		t.Fatal(err)
	}
	if invoke("g", function.Failed) {
		t.Error("recorded another function")
	}
	for _, outcome := range []function.Outcome{function.OK, function.Failed, function.OK, function.Trapped} {
		if !invoke("f", outcome) {
			t.Error("the order ended early")
		}
	}
	if invoke("f", function.Failed) {
		t.Error("recorded more than was ordered")
	}
	if err := r.Start("f", recording.Order{Count: 1, Until: time.Now().Add(-time.Second)}); err != nil {
		t.Fatal(err)
	}
	if invoke("f", function.Failed) || len(r.Orders()) != 0 {
		t.Error("recorded after its time")
	}
	r.Close()
	if got := r.Stats(); got.Kept != 2 || got.Lost != 0 || len(shelf.List("")) != 2 {
		t.Errorf("%+v, %d on the shelf", got, len(shelf.List("")))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"format":"headgate-recording/1","event":{"id":"1","source":"/s","type":"t"},"data":{"base64":"AA=="}}`))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := recording.Decode(raw)
		if err != nil {
			return
		}
		var again bytes.Buffer
		if err := r.Encode(&again); err != nil {
			t.Skip() // a JSON that Go reads and does not write, such as a time of year 10000
		}
		if _, err := recording.Decode(again.Bytes()); err != nil {
			t.Errorf("what was decoded and encoded cannot be decoded: %v", err)
		}
	})
}
