package gateway_test

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

const count = `export default (event, { state }) => { state.set("n", (state.get("n") ?? 0) + 1); };`

// Functions start functions: by publishing on a topic of theirs, and by name.
func TestFunctionsStartFunctions(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("first", "in/+", `export default (event, { publish, invoke }) => {
	  publish("middle", event.data, { qos: 1 });
	  invoke("last", { by: "name", hops: event.hops });
	};`, func(s *function.Spec) { s.Permissions.Invoke = []string{"last"} })
	r.script("second", "middle", `export default (event, { publish, state }) => {
	  state.set("got", event.data);
	  publish("out", event.data, { qos: 1 });
	};`)
	r.script("last", "", `export default (event, { state }) => state.set("got", event.data.by);`)

	got := make(chan string, 1)
	sub := r.connect("sub")
	if tok := sub.Subscribe("out", 1, func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) }); tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	r.publish(api.Message{Topic: "in/1", Payload: []byte(`{"v":1}`), QoS: 1})
	r.eventually("second", "got", `{"v":1}`)
	r.eventually("last", "got", `"name"`)
	select {
	case p := <-got:
		if p != `{"v":1}` {
			t.Errorf("received %s", p)
		}
	case <-time.After(time.Minute):
		t.Error("the last publish never came")
	}
}

// A function that triggers itself is a loop: after 16 hops its event is a dead
// letter, and the gateway goes on.
func TestLoopBecomesADeadLetter(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("loop", "round", `export default (event, { publish, state }) => {
	  state.set("n", (state.get("n") ?? 0) + 1);
	  publish("round", event.data, { qos: 1 });
	};`)
	r.publish(api.Message{Topic: "round", Payload: []byte("1"), QoS: 1})
	var dead []api.DeadLetter
	for deadline := time.Now().Add(time.Minute); len(dead) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r.call(http.MethodGet, "/v1/deadletters", nil, &dead)
	}
	if len(dead) != 1 || dead[0].Function != "loop" || !strings.Contains(dead[0].Error, "16") {
		t.Fatalf("dead letters: %+v", dead)
	}
	r.eventually("loop", "n", "17") // the first and its 16 hops
}

// What a gateway keeps outlives it: state, versions, devices, the pinned author.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	r.script("count", "in", count)
	r.publish(api.Message{Topic: "in", QoS: 1})
	var secret api.DeviceSecret
	r.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: "probe", Publish: []string{"in"}}, &secret)
	r.stop()

	r = start(t, dir)
	r.publish(api.Message{Topic: "in", QoS: 1})
	r.eventually("count", "n", "2")
	var devices []api.Device
	r.call(http.MethodGet, "/v1/devices", nil, &devices)
	if len(devices) != 1 || devices[0].Name != "probe" {
		t.Errorf("devices %+v", devices)
	}
	var usage []api.Usage
	r.call(http.MethodGet, "/v1/usage", nil, &usage)
	if len(usage) != 1 || usage[0].Requests != 2 {
		t.Errorf("usage %+v", usage)
	}
}

// A failing function is tried as often as its manifest says, and then its
// event is kept.
func TestRetriesThenDeadLetter(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("bad", "in", `export default (event, { state }) => { state.set("applied", true); throw new Error("always"); };`,
		func(s *function.Spec) {
			s.Retry = function.Retry{Attempts: 3, Backoff: function.Duration(5 * time.Millisecond), MaxBackoff: function.Duration(10 * time.Millisecond)}
		})
	r.publish(api.Message{Topic: "in", Payload: []byte("x"), QoS: 1})
	var dead []api.DeadLetter
	for deadline := time.Now().Add(time.Minute); len(dead) == 0 && time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		r.call(http.MethodGet, "/v1/deadletters", nil, &dead)
	}
	if len(dead) != 1 || dead[0].Attempts != 3 || !strings.Contains(dead[0].Error, "always") {
		t.Fatalf("dead letters: %+v", dead)
	}
	if got := r.state("bad", "applied"); got != "" {
		t.Errorf("a failed invocation left state behind: %s", got)
	}
	var list []api.Function
	r.call(http.MethodGet, "/v1/functions", nil, &list)
	if c := list[0].Counters; c.Errors["failed"] != 3 || c.DeadLetters != 1 || c.Queued != 0 {
		t.Errorf("counters %+v", c)
	}
}

// Retained messages that are stored already start a function only where its
// trigger asks for them.
func TestRetainedTrigger(t *testing.T) {
	r := start(t, t.TempDir())
	r.publish(api.Message{Topic: "config/1", Payload: []byte("1"), QoS: 1, Retain: true})
	r.script("asks", "config/+", count, func(s *function.Spec) { s.Triggers[0].Retained = true })
	r.script("ignores", "config/+", count)
	r.eventually("asks", "n", "1")
	r.publish(api.Message{Topic: "config/2", Payload: []byte("2"), QoS: 1, Retain: true})
	r.eventually("asks", "n", "2")
	r.eventually("ignores", "n", "1")
}

// Operators see what subscribers get.
func TestSubscribeOverTheAdminAPI(t *testing.T) {
	r := start(t, t.TempDir())
	r.publish(api.Message{Topic: "kept", Payload: []byte("before"), Retain: true})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []string
	for m, err := range client.Stream[api.Message](ctx, r.client, "/v1/messages?filter=%23&count=3") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, m.Topic+"="+string(m.Payload))
		switch len(got) {
		case 1:
			r.connect("pub").Publish("live", 1, false, "now").Wait()
		case 2:
			r.publish(api.Message{Topic: "operator", Payload: []byte("too")})
		}
	}
	if want := "kept=before live=now operator=too"; strings.Join(got, " ") != want {
		t.Errorf("saw %v, want %s", got, want)
	}
}

func TestOperatorsKeepToMaxPacket(t *testing.T) {
	r := start(t, t.TempDir())
	m := api.Message{Topic: "big", Payload: make([]byte, r.cfg.MQTT.MaxPacket+1)}
	err := r.client.Do(t.Context(), http.MethodPost, "/v1/messages", m, nil)
	if err == nil || !strings.Contains(err.Error(), "mqtt.max_packet allows 1MiB") {
		t.Errorf("a message over the limit: %v", err)
	}
}

func TestOneGatewayPerStateDir(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	g, err := gateway.New(t.Context(), r.cfg, slog.New(slog.DiscardHandler))
	if err == nil {
		err = g.Run(t.Context())
	}
	if err == nil || !strings.Contains(err.Error(), "another") {
		t.Errorf("a second gateway on %s: %v", dir, err)
	}
}
