package homeassistant

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/sensors"
)

// The keys that Home Assistant documents for each component (valve.mqtt,
// sensor.mqtt, binary_sensor.mqtt, and device and origin of mqtt); it refuses
// messages with others.
var (
	common = []string{
		"availability", "availability_mode", "availability_template", "availability_topic", "default_entity_id", "device", "device_class", "enabled_by_default",
		"encoding", "entity_category", "entity_picture", "icon", "json_attributes_template", "json_attributes_topic", "name", "origin",
		"payload_available", "payload_not_available", "platform", "qos", "unique_id", "value_template", "state_topic",
	}
	documented = map[string][]string{
		"valve": {
			"command_template", "command_topic", "optimistic", "payload_close", "payload_open", "payload_stop", "position_closed", "position_open",
			"reports_position", "retain", "state_closed", "state_closing", "state_open", "state_opening",
		},
		"sensor":        {"expire_after", "force_update", "last_reset_value_template", "options", "suggested_display_precision", "state_class", "unit_of_measurement"},
		"binary_sensor": {"expire_after", "force_update", "off_delay", "payload_off", "payload_on"},
	}
	deviceKeys = []string{
		"configuration_url", "connections", "hw_version", "identifiers", "manufacturer", "model", "model_id", "name", "serial_number",
		"suggested_area", "sw_version", "via_device",
	}
	originKeys = []string{"name", "sw_version", "support_url"}
)

// What https://www.home-assistant.io/integrations/sensor/#device-class allows,
// of the classes that are used here.
var allowed = map[string][]string{
	"temperature": {"°C", "°F", "K"}, "humidity": {"%"}, "moisture": {"%"}, "battery": {"%"},
	"voltage": {"V", "mV", "µV", "kV", "MV"}, "current": {"A", "mA"}, "power": {"mW", "W", "kW", "MW", "GW", "TW"},
	"energy":   {"J", "kJ", "MJ", "GJ", "mWh", "Wh", "kWh", "MWh", "GWh", "TWh", "cal", "kcal", "Mcal", "Gcal"},
	"pressure": {"Pa", "kPa", "hPa", "bar", "cbar", "mbar", "mmHg", "inHg", "inH₂O", "psi"}, "frequency": {"Hz", "kHz", "MHz", "GHz"},
	"volume": {"L", "mL", "gal", "fl. oz.", "m³", "ft³", "CCF", "MCF"}, "water": {"L", "gal", "m³", "ft³", "CCF", "MCF"},
	"volume_flow_rate": {"m³/h", "m³/min", "m³/s", "ft³/min", "L/h", "L/min", "L/s", "gal/d", "gal/h", "gal/min", "mL/s"},
	"distance":         {"km", "m", "cm", "mm", "mi", "nmi", "yd", "in", "ft"}, "speed": {"ft/s", "in/d", "in/h", "in/s", "km/h", "kn", "m/s", "mph", "mm/d", "mm/s"},
	"precipitation_intensity": {"in/d", "in/h", "mm/d", "mm/h"}, "illuminance": {"lx"}, "irradiance": {"W/m²", "BTU/(h⋅ft²)"},
	"conductivity": {"S/cm", "mS/cm", "µS/cm"}, "weight": {"kg", "g", "mg", "µg", "oz", "lb", "st"}, "signal_strength": {"dB", "dBm"},
	"duration": {"d", "h", "min", "s", "ms"},
}

var node = Node{ID: "k7q2mzx4ab", Name: "North field", Version: "1.2.3", Prefix: "homeassistant"}

// check validates a message and returns its content.
func check(t *testing.T, m Message) map[string]any {
	t.Helper()
	// <discovery_prefix>/<component>/[<node_id>/]<object_id>/config
	parts := regexp.MustCompile(`^homeassistant/([a-z_]+)/([a-zA-Z0-9_-]+)/config$`).FindStringSubmatch(m.Topic)
	if parts == nil || !node.Owns(m.Topic) {
		t.Fatalf("%s is no discovery topic", m.Topic)
	}
	var v map[string]any
	if err := json.Unmarshal(m.Payload, &v); err != nil {
		t.Fatal(err)
	}
	keys := func(where string, v any, ok ...string) {
		for key := range v.(map[string]any) {
			if !slices.Contains(ok, key) {
				t.Errorf("%s: %s has no key %q", m.Topic, where, key)
			}
		}
	}
	keys(parts[1], v, append(slices.Clone(common), documented[parts[1]]...)...)
	keys("device", v["device"], deviceKeys...)
	keys("origin", v["origin"], originKeys...)
	if v["unique_id"] != parts[2] || len(v["device"].(map[string]any)["identifiers"].([]any)) != 1 {
		t.Errorf("%s is not unique: %v", m.Topic, v)
	}
	if class, ok := v["device_class"]; ok && parts[1] == "sensor" && !slices.Contains(allowed[class.(string)], v["unit_of_measurement"].(string)) {
		t.Errorf("%s: device class %v has no unit %v", m.Topic, class, v["unit_of_measurement"])
	}
	return v
}

func TestValve(t *testing.T) {
	v := check(t, node.Valve(Actuator{"valve-1", "actuators/valve-1", "actuators/valve-1/set"}))
	for key, want := range map[string]any{
		"name": "valve-1", "command_topic": "actuators/valve-1/set", "state_topic": "actuators/valve-1", "payload_open": "on", "payload_close": "off",
		"reports_position": false, "optimistic": false, "retain": false, "device_class": "water", "qos": 1.0,
		"availability_topic": "headgate/k7q2mzx4ab/status", "payload_available": "online", "payload_not_available": "offline",
	} {
		if v[key] != want {
			t.Errorf("%s is %v, not %v", key, v[key], want)
		}
	}
	// The states of a valve are open and closed, None is unknown.
	for _, state := range []string{"open", "closed", "None"} {
		if !strings.Contains(v["value_template"].(string), "%}"+state+"{%") {
			t.Errorf("the template never gives %s", state)
		}
	}
}

func TestSensor(t *testing.T) {
	for name, c := range map[string]struct {
		sensor             Sensor
		class, unit, state string
	}{
		"soil":   {Sensor{Unit: sensors.Percent, Measures: "moisture"}, "moisture", "%", "measurement"},
		"air":    {Sensor{Unit: sensors.Celsius, Measures: "temperature"}, "temperature", "°C", "measurement"},
		"flow":   {Sensor{Unit: sensors.LiterPerMinute, Measures: "flow"}, "volume_flow_rate", "L/min", "measurement"},
		"meter":  {Sensor{Unit: sensors.Liter, Measures: "volume"}, "water", "L", "total_increasing"},
		"pulses": {Sensor{Unit: sensors.Count, Measures: "count"}, "", "", "total_increasing"},
		"ph":     {Sensor{Unit: sensors.One}, "", "", "measurement"},
		"odd":    {Sensor{Unit: "µmol/m²/s"}, "", "µmol/m²/s", "measurement"},
	} {
		c.sensor.Name, c.sensor.Topic, c.sensor.Silent = name, "sensors/"+name, time.Minute
		v := check(t, node.Sensor(c.sensor))
		text := func(key string) string { s, _ := v[key].(string); return s }
		if text("device_class") != c.class || text("unit_of_measurement") != c.unit || text("state_class") != c.state || v["expire_after"] != 60.0 {
			t.Errorf("%s: %v", name, v)
		}
	}
	v := check(t, node.Sensor(Sensor{Name: "lid", Topic: "sensors/lid", Unit: sensors.Switch}))
	if v["payload_on"] != "ON" || v["expire_after"] != nil {
		t.Errorf("%v", v)
	}
}

// No unit gets a class that does not have it.
func TestClasses(t *testing.T) {
	for u, c := range classes {
		if c.device != "" && !slices.Contains(allowed[c.device], c.unit) {
			t.Errorf("%s: %s does not have %s", u, c.device, c.unit)
		}
	}
}

func TestOwns(t *testing.T) {
	for topic, want := range map[string]bool{
		"homeassistant/valve/headgate_k7q2mzx4ab_valve-1/config": true,
		"homeassistant/valve/headgate_other_valve-1/config":      false,
		"homeassistant/valve/headgate_k7q2mzx4ab_valve-1/state":  false,
		"homeassistant/status":                                   false,
	} {
		if node.Owns(topic) != want {
			t.Errorf("%s: %v", topic, !want)
		}
	}
}
