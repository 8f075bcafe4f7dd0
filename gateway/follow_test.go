package gateway_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/wire"
)

// flow publishes messages until stop.
func (r *rig) flow(stop <-chan struct{}) {
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(5 * time.Millisecond):
		}
		m := api.Message{Topic: "in/" + fmt.Sprint(n%50), Payload: []byte("1")}
		if err := r.client.Do(context.Background(), http.MethodPost, "/v1/messages", m, nil); err != nil {
			r.Error(err)
			return
		}
	}
}

// tells is a function's source that keeps a word, its configuration and a
// secret.
func tells(word string) string {
	return fmt.Sprintf(`export default (event, {state, config, secret, log}) => {
		const key = secret("key");
		log.info("the key is " + key);
		state.set("word", %q + " " + config.target + " " + config.extra + " " + key);
	};`, word)
}

func configurable(s *function.Spec) {
	s.Config = map[string]any{"target": 32}
	s.Secrets = []string{"key"}
}

func (r *rig) told(want string) {
	r.Helper()
	r.until("the word "+want, func() bool {
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
		return r.state("count", "word") == `"`+want+`"`
	})
}

// TestFollowsItsController takes a gateway through what a controller may want:
// versions forwards and back, configuration and secrets, over a restart, and the
// end of a function.
func TestFollowsItsController(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	o, dir := newOwner(t), t.TempDir()
	first, second := o.release(nil, tells("one"), configurable), o.release(nil, tells("two"), configurable)
	c := newCloud(t, dir)
	r := start(t, dir, o.pinned())
	r.deployed(c)

	one := given(first, "a")
	c.want(wire.Desired{Revision: 3, Functions: []wire.DesiredFunction{one}, Secrets: []wire.SealedSecret{c.sealed("key", "s3cret", 1)}})
	c.reaches(r, "a", "live")
	r.told("one 32 undefined s3cret")

	// Configuration and secrets change while messages flow: the version does not.
	one.Config = []byte(`{"target": 28, "extra": true}`)
	c.want(wire.Desired{Revision: 4, Functions: []wire.DesiredFunction{one}, Secrets: []wire.SealedSecret{c.sealed("key", "other", 2)}})
	sum := sha256.Sum256(one.Config)
	c.until("the configuration", func(m *wire.Reported) bool {
		return string(function1(m, "count").Config) == string(sum[:]) && m.Revision == 4 && m.Error == ""
	})
	r.told("one 28 true other")
	var d api.FunctionDetail
	r.call(http.MethodGet, "/v1/functions/count", nil, &d)
	if d.Version != 1 || len(d.Versions) != 1 || d.Spec.Config["target"] != 28.0 || !slices.Equal(d.Configured, []string{"extra", "target"}) {
		t.Errorf("described: version %d of %d, %v, configured %v", d.Version, len(d.Versions), d.Spec.Config, d.Configured)
	}

	// Another version, with the same configuration, through its canary; and back
	// again in the middle of the next, at once.
	two := given(second, "b")
	two.Config = one.Config
	secrets := []wire.SealedSecret{c.sealed("key", "other", 2)}
	c.want(wire.Desired{Revision: 5, Functions: []wire.DesiredFunction{two}, Secrets: secrets})
	f := c.reaches(r, "b", "live")
	if f.Version != 2 || f.New.Invocations == 0 || f.Target != second.Name {
		t.Errorf("reported %+v", f)
	}
	r.told("two 28 true other")

	// What is older changes nothing; a restart follows the newest.
	c.send(&wire.Desired{Revision: 4})
	r.stop()
	r = start(t, dir, o.pinned())
	r.told("two 28 true other")
	r.until("a hello with what it follows", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.hello.Revision == 5 })
	one.Attempt = "c"
	c.want(wire.Desired{Revision: 6, Functions: []wire.DesiredFunction{one}, Secrets: secrets})
	c.reaches(r, "c", "live")
	r.told("one 28 true other")

	// It is taken away, with its configuration and secrets; what somebody
	// deployed by hand stays.
	c.want(wire.Desired{Revision: 7})
	c.until("the function to be gone", func(m *wire.Reported) bool {
		return m.Revision == 7 && m.Error == "" && function1(m, "count").Name == "" && function1(m, "mine").Version == 1
	})
	var all []api.Secret
	r.call(http.MethodGet, "/v1/secrets", nil, &all)
	if len(all) != 0 {
		t.Errorf("secrets are left: %+v", all)
	}
}

// deployed has a function there that no controller named.
func (r *rig) deployed(*cloud) {
	r.Helper()
	r.stop()
	r2 := start(r.TB, r.cfg.StateDir, func(c *config.Config) { c.Updates.AllowDirect = true })
	r2.script("mine", "mine/+", `export default () => {};`)
	r2.stop()
	*r = *start(r.TB, r.cfg.StateDir, func(c *config.Config) { c.Updates = r.cfg.Updates })
}

// TestBadVersionTakesItselfBack reports a rollback with its counts, and tries
// again only for another attempt.
func TestBadVersionTakesItselfBack(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	o, dir := newOwner(t), t.TempDir()
	good, bad := o.release(nil, says("good")), o.release(nil, throws)
	c := newCloud(t, dir)
	r := start(t, dir, o.pinned())
	c.want(wire.Desired{Revision: 1, Functions: []wire.DesiredFunction{given(good, "a")}})
	c.reaches(r, "a", "live")
	for i, attempt := range []string{"b", "c"} {
		c.want(wire.Desired{Revision: uint64(i + 2), Functions: []wire.DesiredFunction{given(bad, attempt)}})
		f := c.reaches(r, attempt, "rolled back")
		if f.New.Failures < 3 || !strings.Contains(f.Note, "events failed") {
			t.Errorf("reported %+v", f)
		}
	}
	r.word("good")
}

// TestWhatCannotBeFollowed is told, and the rest goes on.
func TestWhatCannotBeFollowed(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	o, dir := newOwner(t), t.TempDir()
	first := o.release(nil, tells("one"), configurable)
	c := newCloud(t, dir)
	r := start(t, dir, o.pinned())
	one := given(first, "a")
	unsigned := wire.DesiredFunction{Name: "other", Target: "functions/other/1.hgb", SHA256: make([]byte, 32), Attempt: "x"}
	foreign := c.sealed("other", "x", 1)
	foreign.Name = "moved"
	c.want(wire.Desired{
		Revision: 1, Functions: []wire.DesiredFunction{one, unsigned}, Secrets: []wire.SealedSecret{foreign, c.sealed("key", "good", 1)}, System: "system/none",
	})
	c.reaches(r, "a", "live")
	m := c.until("what waits", func(m *wire.Reported) bool { return function1(m, "other").Stage == "fetching" && m.Error != "" })
	if !hasAll(m.Error, "secret moved of count", "cannot be opened", "system/none") || !strings.Contains(function1(m, "other").Note, "waits for the repository") {
		t.Errorf("error %q, other %+v", m.Error, function1(m, "other"))
	}
	r.told("one 32 undefined good")

	// A configuration of another type than the manifest's changes nothing.
	one.Config = []byte(`{"target": "dry"}`)
	c.want(wire.Desired{Revision: 2, Functions: []wire.DesiredFunction{one}, Secrets: []wire.SealedSecret{c.sealed("key", "good", 1)}})
	c.until("the misfit", func(m *wire.Reported) bool {
		return m.Revision == 2 && strings.Contains(m.Error, "config.target is a number in the manifest, and a string here")
	})
	r.told("one 32 undefined good")

	// What makes no sense is refused whole.
	for i, hostile := range []wire.Desired{
		{Functions: []wire.DesiredFunction{{Name: "../../etc/passwd", Target: "x", SHA256: make([]byte, 32)}}},
		{Functions: []wire.DesiredFunction{one, one}},
		{Functions: []wire.DesiredFunction{{Name: "count", Config: make([]byte, 1<<20)}}},
		{Functions: slices.Repeat([]wire.DesiredFunction{{Name: "f"}}, wire.MaxFunctions+1)},
		{Secrets: []wire.SealedSecret{{Function: "count", Name: "../x", Sealed: []byte("x")}}},
	} {
		hostile.Revision = uint64(100 + i)
		c.send(&hostile)
		m := c.until("the refusal", func(m *wire.Reported) bool {
			return strings.Contains(m.Error, fmt.Sprintf("desired state %d is not taken", hostile.Revision))
		})
		if m.Revision != 2 {
			t.Errorf("follows %d", m.Revision)
		}
	}
	r.told("one 32 undefined good")
	var checks []api.Check
	r.call(http.MethodGet, "/v1/doctor", nil, &checks)
	if i := slices.IndexFunc(checks, func(c api.Check) bool { return c.Name == "desired" }); i < 0 || checks[i].Status != "warn" {
		t.Errorf("doctor: %+v", checks)
	}
	if u := r.updates(); u.Desired == nil || u.Desired.Revision != 2 || u.Desired.Error == "" {
		t.Errorf("status: %+v", u.Desired)
	}
	// A version that the owner signs meanwhile is found by itself.
	signed := o.release(nil, says("signed"), func(s *function.Spec) { s.Name = "late" })
	c.want(wire.Desired{Revision: 200, Functions: []wire.DesiredFunction{one, given(signed, "l")}})
	c.until("the late one", func(m *wire.Reported) bool { return function1(m, "late").Stage == "live" })
}

// TestConfiguredByHandToo has the configuration of a function that its author
// deployed, which goes back when the controller does not want it any more.
func TestConfiguredByHandToo(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	dir := t.TempDir()
	c := newCloud(t, dir)
	r := start(t, dir)
	spec := function.Spec{Name: "count", Main: "count.js", Triggers: []function.Trigger{{MQTT: "in/+"}}}
	configurable(&spec)
	r.deploy(spec, []byte(tells("mine")))
	r.told("mine 32 undefined undefined")
	c.want(wire.Desired{Revision: 1, Functions: []wire.DesiredFunction{{Name: "count", Config: []byte(`{"target":null,"extra":1}`)}, {Name: "later", Config: []byte(`{"a":1}`)}}})
	r.told("mine undefined 1 undefined")
	r.stop()
	r = start(t, dir)
	r.told("mine undefined 1 undefined")
	c.want(wire.Desired{Revision: 2})
	r.told("mine 32 undefined undefined")
	// Without a repository no version of the controller's can be had, and that
	// is told.
	c.want(wire.Desired{Revision: 3, Functions: []wire.DesiredFunction{{Name: "x", Target: "x", SHA256: make([]byte, 32)}}})
	c.until("the fault", func(m *wire.Reported) bool { return strings.Contains(m.Error, "asks no repository") })
}

// TestAsksAndTelemetry answers questions without telling secrets, and sends what
// its owner chose.
func TestAsksAndTelemetry(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	dir := t.TempDir()
	c := newCloud(t, dir)
	r := start(t, dir, func(c *config.Config) {
		c.Uplink.Telemetry = config.Telemetry{Topics: []string{"soil/+"}, Interval: function.Duration(time.Second)}
	})
	spec := function.Spec{Name: "count", Main: "count.js", Triggers: []function.Trigger{{MQTT: "in/+"}}}
	configurable(&spec)
	r.deploy(spec, []byte(tells("x")))
	c.want(wire.Desired{Revision: 1, Secrets: []wire.SealedSecret{c.sealed("key", "s3cret", 1)}})
	r.told("x 32 undefined s3cret")
	for range 5 {
		r.publish(api.Message{Topic: "in/x", Payload: []byte("1")})
	}
	r.until("five lines", func() bool {
		var lines []api.LogLine
		unpack(t, r.asked(c, wire.AskLogs), &lines)
		return len(lines) == 5 && lines[4].Text == "the key is [secret key]" && lines[4].Function == "count"
	})
	var checks []api.Check
	unpack(t, r.asked(c, wire.AskDoctor), &checks)
	if len(checks) < 10 {
		t.Errorf("checks %+v", checks)
	}
	if a := r.asked(c, "passwords"); a.Error == "" || a.Body != nil {
		t.Errorf("answer %+v", a)
	}
	r.publish(api.Message{Topic: "soil/1", Payload: []byte("27")})
	r.publish(api.Message{Topic: "soil/1", Payload: []byte("28")})
	for range 2 { // until it is taken
		select {
		case m := <-c.values:
			if len(m.Values) != 1 || m.Values[0].Topic != "soil/1" || string(m.Values[0].Payload) != "28" || m.Values[0].Count != 2 {
				t.Errorf("telemetry %+v", m)
			}
			c.send(&wire.Taken{Start: m.Start, Seq: m.Seq - 1})
		case <-time.After(time.Minute):
			t.Fatal("no telemetry")
		}
	}
}

// asked asks a question and returns the answer.
func (r *rig) asked(c *cloud, what string) *wire.Answer {
	r.Helper()
	c.send(&wire.Ask{ID: what, What: what, Function: "count", Lines: 5, Expires: time.Now().Add(time.Minute).UnixMicro()})
	select {
	case a := <-c.answers:
		if a.ID != what {
			r.Errorf("answer to %s", a.ID)
		}
		return a
	case <-time.After(time.Minute):
		r.Fatal("no answer")
		return nil
	}
}

func unpack(t *testing.T, a *wire.Answer, v any) {
	t.Helper()
	z, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	raw, err := z.DecodeAll(a.Body, nil)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err = errors.Join(err, errorOf(a.Error)); err != nil {
		t.Fatal(err)
	}
}

func errorOf(text string) error {
	if text == "" {
		return nil
	}
	return errors.New(text)
}
