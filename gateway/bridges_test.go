package gateway_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/internal/testmosquitto"
)

// What devices and functions publish goes out, in order, with its RETAIN flag;
// what the other broker has comes in and starts functions.
func TestBridgeBothWays(t *testing.T) {
	house := testmosquitto.Start(t)
	r := start(t, t.TempDir(), bridged("house", config.Bridge{
		URL: "mqtt://" + house.Address, In: []string{"zigbee2mqtt/#"}, Out: []string{"farm/+/valve", "state/#"},
	}))
	r.script("open", "zigbee2mqtt/{probe}", `export default (e, {publish}) => { publish("farm/" + e.params.probe + "/valve", e.data); }`)
	there := listen(t, house.Address, "#")
	here := listen(t, r.address, "#")
	r.connected("house")

	for i := range 50 {
		here.say("farm/3/valve", strconv.Itoa(i))
	}
	there.hears(numbered("farm/3/valve", 0, 50)...)
	here.say("state/pump", "on", true)
	late := listen(t, house.Address, "state/#")
	late.hears("r state/pump on")

	there.say("zigbee2mqtt/4", "27")
	there.hears(append(numbered("farm/3/valve", 0, 50), "state/pump on", "zigbee2mqtt/4 27", "farm/4/valve 27")...)
	here.hears(append(numbered("farm/3/valve", 0, 50), "state/pump on", "zigbee2mqtt/4 27", "farm/4/valve 27")...)
	if b := r.bridge("house"); b.Sent != 52 || b.Received != 1 || b.Queued+b.InFlight != 0 || b.Dropped != 0 {
		t.Errorf("%+v", b)
	}
}

// While the other broker is away, what goes out waits on disk, over a kill of
// the gateway too, and goes out in order when it is back.
func TestBridgeStoresAndForwards(t *testing.T) {
	house := testmosquitto.Start(t)
	dir := t.TempDir()
	out := bridged("house", config.Bridge{URL: "mqtt://" + house.Address, Out: []string{"farm/#"}})
	there := listen(t, house.Address, "farm/#")
	r := start(t, dir, out)
	here := listen(t, r.address, "none")
	here.say("farm/a", "0")
	there.hears("farm/a 0")
	r.untilBridge("house", "done with the first", func(b api.Bridge) bool { return b.InFlight == 0 })
	house.Stop()
	for i := 1; i <= 300; i++ {
		here.say("farm/a", strconv.Itoa(i))
	}
	r.untilBridge("house", "away", func(b api.Bridge) bool { return b.State == "waiting" && b.Queued+b.InFlight >= 300 })

	// What is on disk at this moment is what a kill leaves.
	killed := copyDatabase(t, dir)
	r.stop()
	house.Restart()
	there = listen(t, house.Address, "farm/#")
	again := start(t, killed, out)
	there.hears(numbered("farm/a", 1, 301)...)
	again.untilBridge("house", "through", func(b api.Bridge) bool { return b.Queued+b.InFlight == 0 })
}

// The queue for a broker that stays away is bounded: the oldest go, counted.
func TestBridgeQueueIsBounded(t *testing.T) {
	house := testmosquitto.Start(t)
	house.Stop()
	r := start(t, t.TempDir(), bridged("house", config.Bridge{URL: "mqtt://" + house.Address, Out: []string{"farm/#"}, MaxQueued: 10}))
	here := listen(t, r.address, "none")
	for i := range 25 {
		here.say("farm/a", strconv.Itoa(i))
	}
	b := r.untilBridge("house", "full", func(b api.Bridge) bool { return b.Dropped == 15 })
	if b.Queued != 10 || b.State == "connected" || !strings.Contains(b.LastError, "nothing listens there") {
		t.Errorf("%+v", b)
	}
	if c := r.check("bridges"); c.Status != "fail" || !strings.Contains(c.Detail, "house (10 messages wait)") {
		t.Errorf("doctor says %+v", c)
	}
	house.Restart()
	listen(t, house.Address, "farm/#").hears(numbered("farm/a", 15, 25)...)
	r.connected("house")
	if c := r.check("bridges"); c.Status != "warn" || !strings.Contains(c.Detail, "dropped 15 messages") {
		t.Errorf("doctor says %+v", c)
	}
}

func (r *rig) check(name string) api.Check {
	r.Helper()
	var all []api.Check
	r.call(http.MethodGet, "/v1/doctor", nil, &all)
	for _, c := range all {
		if c.Name == name {
			return c
		}
	}
	r.Fatalf("doctor has no check %s", name)
	return api.Check{}
}

// What the other broker acknowledged to its publishers waits there while the
// gateway is away, and while the gateway cannot take it.
func TestBridgeInIsNotLost(t *testing.T) {
	house := testmosquitto.Start(t)
	dir := t.TempDir()
	in := bridged("house", config.Bridge{URL: "mqtt://" + house.Address, In: []string{"in/#"}})
	there := listen(t, house.Address, "none")
	r := start(t, dir, in)
	r.connected("house")
	r.stop()
	for i := range 20 {
		there.say("in/a", strconv.Itoa(i))
	}
	// A function that fails keeps its events in a queue that has no room.
	r = start(t, dir, in, func(c *config.Config) { c.Dispatch.MaxQueued = 4 })
	r.script("never", "in/{n}", `export default () => { throw new Error("not today"); }`, func(s *function.Spec) {
		s.Retry.Attempts, s.Retry.Backoff, s.Retry.MaxBackoff = 100, function.Duration(time.Hour), function.Duration(time.Hour)
	})
	r.stop()
	for i := 20; i < 40; i++ {
		there.say("in/a", strconv.Itoa(i))
	}
	r = start(t, dir, in, func(c *config.Config) { c.Dispatch.MaxQueued = 4 })
	b := r.untilBridge("house", "refusing", func(b api.Bridge) bool { return strings.Contains(b.LastError, "could not take a message") })
	if b.State == "connected" {
		t.Errorf("%+v", b)
	}
	r.call(http.MethodDelete, "/v1/functions/never", nil, nil)
	r.stop()
	r = start(t, dir, func(c *config.Config) { c.Bridges = map[string]config.Bridge{} })
	r.script("keep", "in/{n}", `export default (e, {state}) => { state.set("last", e.data); }`)
	r.stop()
	r = start(t, dir, in)
	r.eventually("keep", "last", "39")
}

// A message that the other broker had stored is marked through the chain: it
// starts only what asks for stored ones. It is retained here too, and told once.
func TestBridgeRetainedIsMarked(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	house := testmosquitto.Start(t)
	there := listen(t, house.Address, "none")
	there.say("in/valve", "1", true)
	there.say("in/soil", "2", true)
	dir := t.TempDir()
	in := bridged("house", config.Bridge{URL: "mqtt://" + house.Address, In: []string{"in/+", "live"}})
	r := start(t, dir)
	r.script("news", "in/{n}", `export default (e, {state}) => { state.set(e.params.n, e.data); }`)
	r.script("asks", "in/{n}", `export default (e, {state}) => { state.set(e.params.n, e.data); state.set("times", (state.get("times") ?? 0) + 1); }`, func(s *function.Spec) {
		s.Triggers[0].Retained = true
	})
	r.script("live", "live", `export default (e, {state}) => { state.set("is", e.data); }`)
	r.stop()
	for round := range 2 {
		r = start(t, dir, in)
		r.eventually("asks", "valve", "1")
		r.eventually("asks", "soil", "2")
		listen(t, r.address, "in/valve").hears("r in/valve 1")
		there.say("live", fmt.Sprint(round))
		r.eventually("live", "is", fmt.Sprint(round))
		if got := r.state("news", "valve"); got != "" {
			t.Errorf("a stored message started a function that does not ask for them: %q", got)
		}
		// Every start of the gateway tells what it retains; the bridge adds
		// nothing to that where it brings nothing new.
		if got, want := r.state("asks", "times"), fmt.Sprint(2*(round+1)); got != want {
			t.Errorf("stored messages were told %s times, want %s", got, want)
		}
		r.stop()
	}
}

// What comes in over a bridge reaches the gateway's own topics only where a
// filter names them.
func TestBridgeMayNot(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	house := testmosquitto.Start(t)
	there := listen(t, house.Address, "none")
	for _, c := range []struct {
		in    []string
		remap []config.Remap
		topic string
		want  bool
	}{
		{in: []string{"#"}, topic: "actuators/valve-1/set"},
		{in: []string{"+/valve-1/set"}, topic: "actuators/valve-1/set"},
		{in: []string{"actuators/valve-1/set"}, topic: "actuators/valve-1/set", want: true},
		{in: []string{"ha/#"}, remap: []config.Remap{{Local: "actuators", Remote: "ha"}}, topic: "ha/valve-1/set", want: true},
		{in: []string{"#"}, remap: []config.Remap{{Local: "actuators", Remote: "ha"}}, topic: "ha/valve-1/set"},
		{in: []string{"#"}, remap: []config.Remap{{Local: "", Remote: "x"}}, topic: "x/$SYS/broker/load"},
	} {
		r := start(t, t.TempDir(), bridged("house", config.Bridge{URL: "mqtt://" + house.Address, In: c.in, Remap: c.remap}))
		here := listen(t, r.address, "#")
		r.connected("house")
		there.say(c.topic, "on")
		there.say(c.topic, "off")
		if c.want {
			here.hears("actuators/valve-1/set on", "actuators/valve-1/set off")
		} else {
			r.untilBridge("house", "denying", func(b api.Bridge) bool { return b.Denied == 2 })
			here.hears()
		}
		r.stop()
	}
}

// Topics have other names on the other side, and packets that are too large
// are left there, acknowledged.
func TestBridgeRemapsAndSkips(t *testing.T) {
	house := testmosquitto.Start(t)
	r := start(t, t.TempDir(), bridged("house", config.Bridge{
		URL: "mqtt://" + house.Address, In: []string{"zigbee2mqtt/#", "big"}, Out: []string{"farm/#"},
		Remap: []config.Remap{{Local: "house/", Remote: "zigbee2mqtt/"}, {Local: "farm", Remote: "sites/north"}},
	}), func(c *config.Config) { c.MQTT.MaxPacket = 4 << 10 })
	there, here := listen(t, house.Address, "sites/#"), listen(t, r.address, "house/#")
	r.connected("house")
	there.say("big", strings.Repeat("x", 5<<10))
	there.say("zigbee2mqtt/soil", "27")
	here.hears("house/soil 27")
	here.say("farm/3/valve", "on")
	there.hears("sites/north/3/valve on")
	if b := r.bridge("house"); b.TooLarge != 1 || b.State != "connected" {
		t.Errorf("%+v", b)
	}
}

// A bridge over TLS, and what is said of one that cannot be.
func TestBridgeNamesItsFault(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	ca, other := testca.New(t), testca.New(t)
	dir := t.TempDir()
	file := func(name string) string { return filepath.Join(dir, name) }
	write := func(name, text string) string {
		if err := os.WriteFile(file(name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file(name)
	}
	ca.WriteCA(file("ca.pem"))
	other.WriteCA(file("other.pem"))
	crt, key := ca.Write(dir, "broker", ca.Issue("broker", testca.DNS("broker.example")))
	house := testmosquitto.Start(t, testmosquitto.Passwords(t, "farm", "right"), "certfile "+crt, "keyfile "+key)
	port := house.Address[strings.LastIndexByte(house.Address, ':'):]
	right, wrong := write("right", "right\n"), write("wrong", "wrong\n")
	plain := testmosquitto.Start(t)
	for name, c := range map[string]struct {
		bridge config.Bridge
		want   string // empty is connected
	}{
		"good":        {bridge: config.Bridge{URL: "mqtts://127.0.0.1" + port, TLS: config.BridgeTLS{CA: file("ca.pem")}, User: "farm", PasswordFile: right}},
		"password":    {config.Bridge{URL: "mqtts://127.0.0.1" + port, TLS: config.BridgeTLS{CA: file("ca.pem")}, User: "farm", PasswordFile: wrong}, "does not"},
		"nobody":      {config.Bridge{URL: "mqtts://127.0.0.1" + port, TLS: config.BridgeTLS{CA: file("ca.pem")}}, "see"},
		"no file":     {config.Bridge{URL: "mqtts://127.0.0.1" + port, TLS: config.BridgeTLS{CA: file("ca.pem")}, User: "farm", PasswordFile: file("none")}, "password_file: open"},
		"ca":          {config.Bridge{URL: "mqtts://127.0.0.1" + port, TLS: config.BridgeTLS{CA: file("other.pem")}, User: "farm", PasswordFile: right}, "name its CA in tls.ca"},
		"no ca":       {config.Bridge{URL: "mqtts://127.0.0.1" + port, User: "farm", PasswordFile: right}, "name its CA in tls.ca"},
		"host":        {config.Bridge{URL: "mqtts://localhost" + port, TLS: config.BridgeTLS{CA: file("ca.pem")}, User: "farm", PasswordFile: right}, "for another host"},
		"no TLS":      {config.Bridge{URL: "mqtt://localhost" + port, User: "farm", PasswordFile: right}, "it wants TLS"},
		"TLS":         {config.Bridge{URL: "mqtts://" + plain.Address, TLS: config.BridgeTLS{CA: file("ca.pem")}}, "TLS"},
		"no such one": {config.Bridge{URL: "mqtt://nobody.invalid"}, "no address"},
	} {
		t.Run(name, func(t *testing.T) {
			c.bridge.Out = []string{"farm/#"}
			r := start(t, t.TempDir(), bridged("house", c.bridge))
			if c.want == "" {
				r.connected("house")
				return
			}
			b := r.untilBridge("house", "at fault", func(b api.Bridge) bool { return b.LastError != "" })
			if !strings.Contains(b.LastError, c.want) {
				t.Errorf("it says %q, not %q", b.LastError, c.want)
			}
			if got := r.check("bridges"); got.Status != "fail" || !strings.Contains(got.Detail, b.LastError[:20]) {
				t.Errorf("doctor says %+v", got)
			}
		})
	}
}

// A bridge to the gateway itself is found out when it connects, whatever name
// was given.
func TestBridgeToItself(t *testing.T) {
	l := freeAddress(t)
	r := start(t, t.TempDir(), listening(l), bridged("self", config.Bridge{URL: "mqtt://localhost" + l[strings.LastIndexByte(l, ':'):], Out: []string{"#"}}))
	r.untilBridge("self", "at fault", func(b api.Bridge) bool { return strings.Contains(b.LastError, "is this gateway itself") })
}

// What waits for a bridge that is not configured any more goes with it.
func TestBridgeThatIsGone(t *testing.T) {
	dir := t.TempDir()
	out := bridged("house", config.Bridge{URL: "mqtt://127.0.0.1:1", Out: []string{"farm/#"}})
	r := start(t, dir, out)
	here := listen(t, r.address, "none")
	for i := range 5 {
		here.say("farm/a", fmt.Sprint(i))
	}
	r.untilBridge("house", "holding them", func(b api.Bridge) bool { return b.Queued == 5 })
	r.stop()
	start(t, dir).stop()
	r = start(t, dir, out)
	if b := r.bridge("house"); b.Queued != 0 {
		t.Errorf("%+v", b)
	}
}
