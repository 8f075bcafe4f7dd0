package gateway_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testmosquitto"
	"github.com/headgate-io/headgate/sensors/sim"
)

// home is a gateway with a sensor and a valve that Home Assistant knows of.
func home(c *config.Config) {
	c.HomeAssistant.Discovery, c.HomeAssistant.Name = true, "North field"
	c.Sensors = map[string]*config.Sensor{"air": {Sim: &sim.Wave{}, Interval: function.Duration(time.Hour)}}
	c.Actuators = map[string]config.Actuator{"valve-1": {Simulated: "valve-1", MaxOn: function.Duration(time.Minute)}}
}

// configs are the discovery topics that are retained at a broker, by their
// object ids.
func configs(t *testing.T, address string, want int) []string {
	t.Helper()
	e := listen(t, address, "homeassistant/#")
	var out []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if out = e.all(); len(out) >= want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d discovery messages: %s", len(out), brief(out))
		}
	}
	e.client.Disconnect(50)
	slices.SortFunc(out, func(a, b string) int {
		return strings.Compare(strings.TrimPrefix(a, "r "), strings.TrimPrefix(b, "r "))
	})
	return out
}

// Home Assistant is told of sensors and actuators, again when it starts, of
// their absence when they are gone, and when the gateway leaves.
func TestHomeAssistant(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	dir := t.TempDir()
	r := start(t, dir, home)
	got := configs(t, r.address, 2)
	if len(got) != 2 || !strings.Contains(got[0], "homeassistant/sensor/headgate_") || !strings.Contains(got[1], `"name":"valve-1"`) || !strings.Contains(got[1], `"name":"North field"`) {
		t.Fatal(got)
	}
	status := listen(t, r.address, "headgate/+/status")
	status.hearsLike("headgate/", "/status online")
	e := listen(t, r.address, "#")
	e.hearsLike("actuators/valve-1 ", `"state":"off"`) // its guard is there

	before := len(e.all())
	e.say("homeassistant/status", "online")
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		again := strings.Join(e.all()[before:], "\n")
		if strings.Contains(again, "homeassistant/valve/headgate_") && strings.Contains(again, "homeassistant/sensor/headgate_") && strings.Contains(again, "sensors/air {") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after Home Assistant's start it hears %s", again)
		}
	}
	// What Home Assistant sends when somebody opens the valve.
	e.say("actuators/valve-1/set", "on")
	e.hearsLike("actuators/valve-1 ", `"state":"on"`)
	e.say("actuators/valve-1/set", "off")
	e.hearsLike("actuators/valve-1 ", `"state":"off"`)

	r.stop()
	status.hearsLike("status offline")
	r = start(t, dir, home, func(c *config.Config) { c.Actuators = nil })
	configs(t, r.address, 1)
	r.gone("valve")
	r.stop()
	r = start(t, dir)
	r.gone("sensor")
}

// gone waits until no discovery message of a component is retained.
func (r *rig) gone(component string) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		found := false
		for _, m := range r.retained("homeassistant/" + component + "/+/config") {
			found = found || len(m.Payload) > 0
		}
		if !found {
			return
		}
		if time.Now().After(deadline) {
			r.Fatalf("a %s is still told of", component)
		}
	}
}

func (r *rig) retained(filter string) []api.Message {
	r.Helper()
	e := listen(r, r.address, filter)
	defer e.client.Disconnect(50)
	e.say("mark", "x") // retained messages come before its acknowledgement
	var out []api.Message
	for _, line := range e.all() {
		topic, payload, _ := strings.Cut(strings.TrimPrefix(line, "r "), " ")
		out = append(out, api.Message{Topic: topic, Payload: []byte(payload)})
	}
	return out
}

// The same through a bridge, with Home Assistant on the other broker: its
// commands come in, and the other broker says when the gateway is gone.
func TestHomeAssistantBehindABridge(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	house := testmosquitto.Start(t)
	dir := t.TempDir()
	over := bridged("house", config.Bridge{
		URL: "mqtt://" + house.Address, Out: []string{"homeassistant/#", "sensors/#", "actuators/+"}, In: []string{"homeassistant/status", "actuators/+/set"},
	})
	r := start(t, dir, home, over)
	got := configs(t, house.Address, 2)
	if len(got) != 2 {
		t.Fatal(got)
	}
	there := listen(t, house.Address, "#")
	there.hearsLike("actuators/valve-1 ", `"state":"off"`) // its guard is there
	there.hearsLike("headgate/", "/status online")
	there.say("actuators/valve-1/set", "on")
	there.hearsLike("actuators/valve-1 ", `"state":"on"`)
	there.say("actuators/valve-1/set", "off")
	there.hearsLike("actuators/valve-1 ", `"state":"off"`)
	r.stop()
	there.hearsLike("headgate/", "/status offline")
	r = start(t, dir, over)
	r.connected("house")
	r.untilBridge("house", "done", func(b api.Bridge) bool { return b.Queued+b.InFlight == 0 && b.Sent >= 2 })
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		e := listen(t, house.Address, "homeassistant/+/+/config")
		e.say("mark", "x")
		left := e.all()
		e.client.Disconnect(50)
		if len(left) == 0 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("still told of: %s", brief(left))
		}
	}
}
