package gateway_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/config"
)

// hearsLike waits for a line that has all parts.
func (e *ear) hearsLike(parts ...string) string {
	e.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		for _, line := range e.all() {
			if !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(line, p) }) {
				return line
			}
		}
	}
	e.Fatalf("nothing like %q among %s", parts, brief(e.all()))
	return ""
}

// Devices behind Zigbee2MQTT and Tasmota are sensors by their names alone; the
// payloads are recorded ones.
func TestTemplateSensors(t *testing.T) {
	r := start(t, t.TempDir(), func(c *config.Config) {
		c.Sensors = map[string]*config.Sensor{
			"soil": {Template: "zigbee2mqtt", Device: "soil-kitchen", Field: "soil_moisture"},
			"shed": {Template: "tasmota", Device: "shed", Field: "DS18B20.Temperature"},
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	})
	e := listen(t, r.address, "sensors/#")
	e.say("zigbee2mqtt/soil-kitchen", `{"battery":100,"linkquality":156,"soil_moisture":27.5,"temperature":21.3,"temperature_unit":"celsius"}`)
	e.hearsLike("sensors/soil ", `"value":27.5`, `"unit":"%"`, `"quality":"good"`)
	e.say("tele/shed/SENSOR", `{"Time":"2026-04-01T09:45:44","DS18B20":{"Id":"01131B123456","Temperature":20.6},"TempUnit":"C"}`)
	e.hearsLike("sensors/shed ", `"value":20.6`, `"unit":"°C"`)
	e.say("zigbee2mqtt/soil-kitchen/availability", `{"state":"offline"}`)
	e.hearsLike("sensors/soil ", `"quality":"bad"`, "offline")
	e.say("tele/shed/LWT", "Offline", true)
	e.hearsLike("sensors/shed ", `"quality":"bad"`)
}

// They are actuators too: their ON carries how long it holds, and what they say
// of themselves counts.
func TestTemplateActuators(t *testing.T) {
	lease := function.Duration(10 * time.Minute)
	r := start(t, t.TempDir(), func(c *config.Config) {
		c.Actuators = map[string]config.Actuator{
			"valve": {Template: "zigbee2mqtt", Device: "v2", MaxOn: lease},
			"pump":  {Template: "tasmota", Device: "pump", Field: "POWER2", MaxOn: lease},
		}
		if err := c.Validate(); err != nil {
			t.Fatal(err)
		}
	})
	e := listen(t, r.address, "#")
	e.say("actuators/valve/set", "on")
	line := e.hearsLike("zigbee2mqtt/v2/set ", "on_time")
	var command struct {
		State  string
		OnTime int `json:"on_time"`
	}
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "zigbee2mqtt/v2/set ")), &command); err != nil || command.State != "ON" || command.OnTime < 595 || command.OnTime > 600 {
		t.Errorf("%v: %s", err, line)
	}
	e.say("zigbee2mqtt/v2", `{"state":"ON","battery":87,"linkquality":120}`)
	e.say("actuators/valve/set", "off")
	e.hearsLike("zigbee2mqtt/v2/set ", `{"state":"OFF"}`)
	e.say("actuators/pump/set", `{"value":"on","lease":"5m"}`)
	if line := e.hearsLike("cmnd/pump/Backlog PulseTime2 ", "; POWER2 ON"); line != "cmnd/pump/Backlog PulseTime2 400; POWER2 ON" && line != "cmnd/pump/Backlog PulseTime2 399; POWER2 ON" {
		t.Errorf("it heard %s", line)
	}
	e.say("stat/pump/POWER2", "ON")
	e.say("actuators/pump/set", "off")
	e.hearsLike("cmnd/pump/Backlog POWER2 OFF")
}
