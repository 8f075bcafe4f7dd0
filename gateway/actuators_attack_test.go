package gateway_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
)

func hearsOf(actuator string, happens ...string) func(*function.Spec) {
	return func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: actuator, Happens: happens}}
		s.Permissions.Actuators = []string{"*"}
	}
}

// TestRefusalsDoNotLoop has a function that answers each refusal by asking
// again: the chain ends.
func TestRefusalsDoNotLoop(t *testing.T) {
	p := startPlot(t)
	p.script("stubborn", "", `export default (e, {actuate}) => { try { actuate("valve-1", "on", {lease: "1m"}); } catch {} }`, hearsOf("valve-1", "refused"))
	p.publish(api.Message{Topic: "actuators/valve-1/set", Payload: []byte("on"), QoS: 1})
	p.until("the loop ends", func() bool { return p.counter("headgate_actuator_messages_looped_total") == 1 })
	if n := p.counter("headgate_actuators_refused_total"); n != 18 {
		t.Errorf("%d refusals, want that of the device and one for each of 17 hops", n)
	}
}

// TestRefusalsLaunderNothing has a function ask again for what a retained
// message was refused.
func TestRefusalsLaunderNothing(t *testing.T) {
	p := startPlot(t)
	p.script("launderer", "", `export default (e, {actuate, state}) => {
		try { state.set("got", actuate("pump", "on", {lease: "1m"})); } catch (x) { state.set("got", x.code); }
	}`, hearsOf("pump", "refused"))
	for i, text := range []string{"on", "nonsense"} {
		p.publish(api.Message{Topic: "actuators/pump/set", Payload: []byte(text), QoS: 1, Retain: true})
		p.until("it ran for "+text, func() bool { return p.counter("headgate_actuator_messages_looped_total") == i+1 })
		p.eventually("launderer", "got", `"UNAVAILABLE"`)
	}
	p.shows("pump", "0")
}

// TestHostileCommands sends what is no command: nothing moves, and others are
// served at once.
func TestHostileCommands(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	deep := strings.Repeat(`{"value":`, 20_000) + "1" + strings.Repeat("}", 20_000)
	for _, text := range []string{
		"", "{", "{}", `{"value":null}`, `{"value":{}}`, `{"value":[1]}`, "NaN", `{"value":"NaN"}`, "Inf", "-1", "1e308", "1e999", "\x00\xff",
		`{"value":"on","lease":"999999999h"}`, `{"value":"on","lease":-1}`, `{"value":"on","lease":"-1ns"}`, `{"value":"on","seq":-1}`,
		`{"value":"on","seq":1e30}`, `{"value":"on","expires":"yesterday"}`, deep, strings.Repeat("9", 500_000),
	} {
		before := p.counter("headgate_actuators_refused_total")
		p.publish(api.Message{Topic: "actuators/pump/set", Payload: []byte(text), QoS: 1})
		if got := p.counter("headgate_actuators_refused_total"); got != before+1 {
			t.Errorf("%.40q: %d refusals", text, got-before)
		}
	}
	p.shows("pump", "0")
	p.publish(api.Message{Topic: "actuators/pump/set", Payload: []byte(`{"value":"on","lease":"2562047h"}`), QoS: 1})
	p.shows("pump", "1")
	if a := p.listed("pump"); a.Left <= 0 || a.Left > time.Hour {
		t.Errorf("%+v", a)
	}
}

// TestFloodDoesNotHoldUpDevices floods with refusals what is told of actuators,
// and has a remote valve closed meanwhile.
func TestFloodDoesNotHoldUpDevices(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	heard := make(chan string, 16)
	device := p.connect("device")
	if token := device.Subscribe("dev/set", 1, func(_ paho.Client, m paho.Message) { heard <- string(m.Payload()) }); token.Wait() && token.Error() != nil {
		t.Fatal(token.Error())
	}
	hears := func(want string) {
		t.Helper()
		for end := time.After(30 * time.Second); ; {
			select {
			case got := <-heard:
				if got == want {
					return
				}
			case <-end:
				t.Fatalf("the device does not hear %q", want)
			}
		}
	}
	if _, err := p.switchTo("remote", 1, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	hears("on 90")
	flooder := p.connect("flooder")
	for range 5_000 {
		flooder.Publish("actuators/pump/set", 0, false, "x")
	}
	if _, err := p.switchTo("remote", 0, 0); err != nil {
		t.Fatal(err)
	}
	hears("off")
}

// TestManyActuators starts a gateway with more actuators than one message to
// the guard has room for.
func TestManyActuators(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	dir := filepath.Join(t.TempDir(), strings.Repeat("d", 200), strings.Repeat("e", 200))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	all := map[string]config.Actuator{}
	for i := range 256 {
		name := fmt.Sprintf("valve-%03d", i)
		all[name] = config.Actuator{Simulated: filepath.Join(dir, name), MaxOn: function.Duration(time.Hour)}
	}
	p := &plot{dir: dir}
	p.rig = start(t, t.TempDir(), func(c *config.Config) { c.Actuators = all })
	for _, name := range []string{"valve-000", "valve-255"} {
		p.awaitListed(name, "off")
		if _, err := p.switchTo(name, 1, time.Minute); err != nil {
			t.Fatal(err)
		}
		p.shows(name, "1")
	}
	p.stop()
	p.shows("valve-255", "0")
}
