package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
)

func lifecycles(names ...string) func(*function.Spec) {
	return func(s *function.Spec) {
		for _, n := range names {
			s.Triggers = append(s.Triggers, function.Trigger{Lifecycle: n, OrderBy: "data.client"})
		}
	}
}

// Functions hear who comes, who goes and who is turned away.
func TestDeviceLifecycle(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	r := start(t, t.TempDir(), func(c *config.Config) { c.MQTT.Anonymous = false })
	r.script("watch", "", `export default (event, { state }) => {
	  const { client, user, address, reason, clean } = event.data;
	  const all = state.get(event.subject) ?? [];
	  all.push([event.meta("type"), event.source, client, user, address.startsWith("127.0.0.1:"), reason ?? "", clean ?? null]);
	  state.set(event.subject, all);
	};`, lifecycles("device.connected", "device.disconnected", "device.refused"))
	var d api.DeviceSecret
	r.call(http.MethodPost, "/v1/devices", api.NewDevice{Name: "soil-3", Publish: []string{"#"}}, &d)
	connect := func(password string) (paho.Client, error) {
		o := paho.NewClientOptions().AddBroker("tcp://" + r.address).SetClientID("soil-3").SetUsername("soil-3").SetPassword(password)
		c := paho.NewClient(o.SetAutoReconnect(false).SetConnectRetry(false))
		tok := c.Connect()
		tok.Wait()
		return c, tok.Error()
	}
	if _, err := connect("wrong"); err == nil {
		t.Fatal("it came in")
	}
	c, err := connect(d.Password)
	if err != nil {
		t.Fatal(err)
	}
	r.until("it is connected", func() bool { return strings.Contains(r.state("watch", "soil-3"), "device.connected") })
	c.Disconnect(50)
	r.until("it is gone", func() bool { return strings.Contains(r.state("watch", "soil-3"), "device.disconnected") })
	var got [][]any
	if err := json.Unmarshal([]byte(r.state("watch", "soil-3")), &got); err != nil {
		t.Fatal(err)
	}
	if len(got) < 3 {
		t.Fatalf("heard %v", got)
	}
	want := []string{
		"[io.headgate.device.refused /mqtt/soil-3 soil-3 soil-3 true ",
		"[io.headgate.device.connected /mqtt/soil-3 soil-3 soil-3 true  <nil>]",
		"[io.headgate.device.disconnected /mqtt/soil-3 soil-3 soil-3 true client disconnected true]",
	}
	got = append(got[:1], got[len(got)-2:]...) // paho tries 3.1.1 and then 3.1
	for i, w := range want {
		if line := fmt.Sprint(got[i]); !strings.HasPrefix(line, w) {
			t.Errorf("event %d: %s, want %s", i, line, w)
		}
	}
	if got[0][5] == "" {
		t.Errorf("no reason for the refusal: %v", got[0])
	}
}

// Devices that come and go all the time are no storm of events: what is over
// the bound is counted.
func TestLifecycleIsBounded(t *testing.T) {
	r := start(t, t.TempDir())
	r.script("watch", "", `export default (event, { state }) => state.set("n", (state.get("n") ?? 0) + 1);`, lifecycles("device.connected"))
	for i := range 220 {
		c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + r.address).SetClientID(fmt.Sprint("c-", i%4)).SetAutoReconnect(false))
		if tok := c.Connect(); tok.Wait() && tok.Error() != nil {
			t.Fatal(tok.Error())
		}
		c.Disconnect(0)
	}
	r.until("all are told of or counted", func() bool { return r.counter("headgate_lifecycle_events_total") >= 220 })
	took := r.counter("headgate_lifecycle_events_total") - r.counter("headgate_lifecycle_dropped_total")
	r.eventually("watch", "n", fmt.Sprint(took))
}

// A function hears that the gateway has started, that the time is known, and
// that it stops, while it can still do something about it.
func TestGatewayLifecycle(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	r.script("life", "", `export default (event, { state, publish }) => {
	  const name = event.meta("type").slice(12);
	  state.set(name, (state.get(name) ?? 0) + 1);
	  publish("life", name, { qos: 1, retain: true });
	};`, lifecycles("gateway.started", "gateway.stopping", "clock.synchronised"))
	r.call(http.MethodPut, "/v1/clock", api.SetClock{Time: time.Now().Add(time.Hour)}, nil)
	if got := r.state("life", "gateway.started"); got != "" {
		t.Errorf("it was deployed after the start, and heard of it: %s", got)
	}
	r.stop()
	r = start(t, dir)
	r.eventually("life", "gateway.started", "1")
	// It was told when the time became known, or of that at the start.
	r.until("it has heard of the time", func() bool { return r.state("life", "clock.synchronised") != "" })
	if got := r.state("life", "gateway.stopping"); got != "1" {
		t.Errorf("it heard %q of the stop", got)
	}
}
