package template_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/template"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sensors"
)

func TestActuators(t *testing.T) {
	for name, c := range map[string]struct {
		device template.Device
		want   template.Actuator
	}{
		"zigbee2mqtt": {template.Device{Template: "zigbee2mqtt", Name: "v2"}, template.Actuator{
			Set: "zigbee2mqtt/v2/set", On: `{"state":"ON","on_time":{{lease_s}}}`, Off: `{"state":"OFF"}`, State: "zigbee2mqtt/v2", Field: "state",
		}},
		"zigbee2mqtt, second relay": {template.Device{Template: "zigbee2mqtt", Name: "field/v2", Base: "zb/", Field: "state_l2"}, template.Actuator{
			Set: "zb/field/v2/set", On: `{"state_l2":"ON","on_time":{{lease_s}}}`, Off: `{"state_l2":"OFF"}`, State: "zb/field/v2", Field: "state_l2",
		}},
		"tasmota": {template.Device{Template: "tasmota", Name: "pump"}, template.Actuator{
			Set: "cmnd/pump/Backlog", On: "PulseTime1 {{pulse_time}}; POWER ON", Off: "POWER OFF", State: "stat/pump/POWER", Field: "POWER",
		}},
		"tasmota, second relay": {template.Device{Template: "tasmota", Name: "pump", Field: "power2"}, template.Actuator{
			Set: "cmnd/pump/Backlog", On: "PulseTime2 {{pulse_time}}; POWER2 ON", Off: "POWER2 OFF", State: "stat/pump/POWER2", Field: "POWER2",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.device.Actuator()
			if err != nil {
				t.Fatal(err)
			}
			if got.MaxOn < time.Hour || got.ConfirmWithin == 0 || got.StateOn != "ON" {
				t.Errorf("%+v", got)
			}
			got.MaxOn, got.ConfirmWithin, got.StateOn = 0, 0, ""
			if got != c.want {
				t.Errorf("got  %+v\nwant %+v", got, c.want)
			}
			for _, name := range []string{got.Set, got.State} {
				if err := topic.DefaultLimits.CheckName(name); err != nil {
					t.Error(err)
				}
			}
			on := strings.NewReplacer("{{lease_s}}", "600").Replace(got.On)
			if c.device.Template == "zigbee2mqtt" && !json.Valid([]byte(on)) {
				t.Errorf("%s is not JSON", on)
			}
		})
	}
}

func TestSensors(t *testing.T) {
	for name, c := range map[string]struct {
		device template.Device
		want   template.Sensor
	}{
		"zigbee2mqtt": {template.Device{Template: "zigbee2mqtt", Name: "soil-kitchen", Field: "soil_moisture"}, template.Sensor{
			Topic: "zigbee2mqtt/soil-kitchen", Field: "soil_moisture", Availability: "zigbee2mqtt/soil-kitchen/availability", Offline: "offline", Unit: sensors.Percent,
		}},
		"tasmota": {template.Device{Template: "tasmota", Name: "shed", Field: "DS18B20.Temperature"}, template.Sensor{
			Topic: "tele/shed/SENSOR", Field: "DS18B20.Temperature", Availability: "tele/shed/LWT", Offline: "offline", Unit: sensors.Celsius,
		}},
		"unit unknown": {template.Device{Template: "tasmota", Name: "shed", Field: "ANALOG.A0"}, template.Sensor{
			Topic: "tele/shed/SENSOR", Field: "ANALOG.A0", Availability: "tele/shed/LWT", Offline: "offline",
		}},
	} {
		if got, err := c.device.Sensor(); err != nil || got != c.want {
			t.Errorf("%s: %v, %+v", name, err, got)
		}
	}
}

func TestFaults(t *testing.T) {
	for want, d := range map[string]template.Device{
		"is no template":    {Template: "shelly", Name: "x", Field: "y"},
		"device is missing": {Template: "tasmota", Field: "y"},
		"part of a topic":   {Template: "zigbee2mqtt", Name: "a/+", Field: "y"},
		"is no field":       {Template: "zigbee2mqtt", Name: "a", Field: `x","y`},
		"base is for":       {Template: "tasmota", Name: "a", Base: "b", Field: "POWER"},
	} {
		if _, err := d.Actuator(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
		if _, err := d.Sensor(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := (template.Device{Template: "zigbee2mqtt", Name: "a"}).Sensor(); err == nil || !strings.Contains(err.Error(), "field is missing") {
		t.Error(err)
	}
	for _, field := range []string{"POWER9", "POWER12", "LIGHT", "POWER0"} {
		if _, err := (template.Device{Template: "tasmota", Name: "a", Field: field}).Actuator(); err == nil {
			t.Errorf("%s is a relay", field)
		}
	}
}

// tasmota is what a device makes of a PulseTime, by its documents.
func tasmota(pulse int) time.Duration {
	if pulse < 112 {
		return time.Duration(pulse) * 100 * time.Millisecond
	}
	return time.Duration(pulse-100) * time.Second
}

// Whatever the lease, the device counts no longer, and as long as it can.
func TestPulse(t *testing.T) {
	for want, lease := range map[int]time.Duration{
		1: 100 * time.Millisecond, 10: time.Second, 100: 10 * time.Second, 111: 11900 * time.Millisecond,
		112: 12 * time.Second, 113: 13 * time.Second, 460: 6 * time.Minute, 700: 10 * time.Minute, 64900: 48 * time.Hour,
	} {
		if got := template.Pulse(lease); got != want {
			t.Errorf("%v is PulseTime %d, not %d", lease, got, want)
		}
	}
	for lease := 100 * time.Millisecond; lease < 20*time.Hour; lease += lease/50 + 37*time.Millisecond {
		got := tasmota(template.Pulse(lease))
		if got > lease || lease < 18*time.Hour && lease-got >= time.Second {
			t.Errorf("%v becomes %v (PulseTime %s)", lease, got, strconv.Itoa(template.Pulse(lease)))
		}
	}
}
