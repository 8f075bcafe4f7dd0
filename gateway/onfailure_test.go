package gateway_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/sync/bundle"
)

// A handler in JavaScript sees what failed, and a subscriber hears of it.
func TestOnFailure(t *testing.T) {
	r := start(t, t.TempDir())
	once := func(to function.OnFailure) func(*function.Spec) {
		return func(s *function.Spec) { s.Retry.Attempts, s.OnFailure = 1, to }
	}
	const bad = `export default () => { throw new Error("no flow"); };`
	r.script("handler", "", `export default (event, { state }) => {
	  const { function: name, error, event: failed } = event.data;
	  state.set("got", [event.meta("type"), event.subject, name, error.slice(0, 22), failed.data.v, failed.subject]);
	};`)
	r.script("one", "in/one", bad, once(function.OnFailure{Function: "handler"}))
	r.script("two", "in/two", bad, once(function.OnFailure{Topic: "alerts/two"}))
	r.script("listener", "alerts/+", `export default (event, { state }) => state.set("got", event.data.function);`)

	r.publish(api.Message{Topic: "in/one", Payload: []byte(`{"v":7}`), QoS: 1})
	r.eventually("handler", "got", `["io.headgate.function.failed","one","one","failed: Error: no flow",7,"in/one"]`)
	r.publish(api.Message{Topic: "in/two", Payload: []byte(`{"v":7}`), QoS: 1})
	r.eventually("listener", "got", `"two"`)
}

// A topic that the function may not publish to is refused at the deploy.
func TestOnFailureNeedsPermission(t *testing.T) {
	r := start(t, t.TempDir())
	spec := function.Spec{Name: "f", Main: "f.js", OnFailure: function.OnFailure{Topic: "alerts/f"}}
	spec.Limits, spec.Retry = spec.Limits.WithDefaults(), spec.Retry.WithDefaults()
	raw, err := bundle.Pack(spec, map[string][]byte{"f.js": []byte("export default () => {};")}, authorKey)
	if err != nil {
		t.Fatal(err)
	}
	err = r.client.Do(t.Context(), http.MethodPost, "/v1/functions", raw, nil)
	refused, ok := err.(*client.Error) //nolint:errorlint // it is returned as it is
	if !ok || refused.Status != http.StatusUnprocessableEntity || !strings.Contains(refused.Detail, "on_failure.topic") {
		t.Errorf("deployed: %v", err)
	}
}

// A subscriber that was away hears of a failure, though the gateway was
// restarted in between: what tells of it is in the dead letter's commit.
func TestOnFailureReachesAnAbsentSubscriber(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	got := make(chan string, 4)
	connect := func() paho.Client {
		o := paho.NewClientOptions().AddBroker("tcp://" + r.address).SetClientID("listener").SetCleanSession(false)
		o.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { got <- string(m.Payload()) })
		c := paho.NewClient(o)
		if tok := c.Connect(); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		return c
	}
	c := connect()
	if tok := c.Subscribe("alerts/#", 1, nil); tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	c.Disconnect(50)
	r.script("bad", "in", `export default () => { throw new Error("no flow"); };`, func(s *function.Spec) {
		s.Retry.Attempts, s.OnFailure = 1, function.OnFailure{Topic: "alerts/bad"}
	})
	r.publish(api.Message{Topic: "in", Payload: []byte("x"), QoS: 1})
	r.stop()

	r = start(t, dir)
	c = connect()
	defer c.Disconnect(50)
	select {
	case p := <-got:
		if !strings.Contains(p, `"error":"failed: Error: no flow`) {
			t.Errorf("received %s", p)
		}
	case <-time.After(30 * time.Second):
		t.Error("the absent subscriber never heard of it")
	}
}
