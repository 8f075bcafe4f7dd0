package config_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/remote"
)

func TestSensorTemplates(t *testing.T) {
	c, err := load(t, `sensors:
  soil: {template: zigbee2mqtt, device: soil-kitchen, field: soil_moisture}
  shed: {template: tasmota, device: shed, field: DS18B20.Temperature, unit: K}
`)
	if err != nil {
		t.Fatal(err)
	}
	name, d := c.Sensors["soil"].Driver()
	m, ok := d.(*remote.MQTT)
	if name != "template" || !ok || m.Topic != "zigbee2mqtt/soil-kitchen" || m.Field != "soil_moisture" || m.Availability.Topic != "zigbee2mqtt/soil-kitchen/availability" {
		t.Errorf("%s: %+v", name, d)
	}
	if u := c.Sensors["soil"].Sample("soil").Unit; u != sensors.Percent {
		t.Errorf("soil is in %q", u)
	}
	if s := c.Sensors["shed"].Sample("shed"); s.Unit != "K" || !s.Passive {
		t.Errorf("%+v", s)
	}
	for source, want := range map[string]string{
		"{template: shelly, device: a, field: b}":                    "is no template: zigbee2mqtt or tasmota",
		"{template: tasmota, device: a}":                             "field is missing",
		"{template: tasmota, device: a, field: b, mqtt: {topic: c}}": "a sensor has one driver",
		"{sim: {}, device: a}":                                       "is for a template",
	} {
		if _, err := load(t, "sensors: {x: "+source+"}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

func TestActuatorTemplates(t *testing.T) {
	c, err := load(t, `actuators:
  valve-2: {template: zigbee2mqtt, device: v2, max_on: 20m}
  pump: {template: tasmota, device: pump, field: POWER2, max_on: 2h}
`)
	if err != nil {
		t.Fatal(err)
	}
	v, p := c.Actuators["valve-2"].WithDefaults(), c.Actuators["pump"].WithDefaults()
	if m := v.MQTT; m == nil || m.Set != "zigbee2mqtt/v2/set" || !m.CarriesLease() || m.ConfirmWithin == 0 {
		t.Errorf("%+v", m)
	}
	if m := p.MQTT; m == nil || m.Set != "cmnd/pump/Backlog" || !m.CarriesLease() || m.State != "stat/pump/POWER2" {
		t.Errorf("%+v", m)
	}
	for source, want := range map[string]string{
		"{template: shelly, device: a, max_on: 1m}":                                     "is no template",
		"{template: zigbee2mqtt, max_on: 1m}":                                           "device is missing",
		"{template: zigbee2mqtt, device: a, max_on: 2h}":                                "longer than the device can count, 1h49m13s",
		"{template: zigbee2mqtt, device: a, gpio: GPIO3, max_on: 1m}":                   "exactly one of",
		"{template: zigbee2mqtt, device: a, max_on: 1m, mqtt: {set: a, on: b, off: c}}": "leave one of both out",
		"{gpio: GPIO3, device: a, max_on: 1m}":                                          "is for a template",
	} {
		if _, err := load(t, "actuators: {x: "+source+"}\n"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}
