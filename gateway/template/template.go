// Package template knows how devices that others made speak MQTT, so that a
// configuration names the device and not its topics and payloads.
//
// The shapes are those of the devices' public documents: Zigbee2MQTT's "MQTT
// Topics and Messages" (https://www.zigbee2mqtt.io/guide/usage/mqtt_topics_and_messages.html),
// "Device availability" and "On with timed off" on the devices' pages, and
// Tasmota's "MQTT" and "Commands" (https://tasmota.github.io/docs/MQTT/,
// https://tasmota.github.io/docs/Commands/).
package template

import (
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sensors"
)

// The templates.
const (
	Zigbee2MQTT = "zigbee2mqtt"
	Tasmota     = "tasmota"
)

// Names are the templates, for an error.
const Names = Zigbee2MQTT + " or " + Tasmota

// Device is what a configuration says of one.
type Device struct {
	// Template is Zigbee2MQTT or Tasmota.
	Template string
	// Name is the device's: the friendly name with Zigbee2MQTT, the topic with
	// Tasmota.
	Name string
	// Base is the first level of Zigbee2MQTT's topics (zigbee2mqtt).
	Base string
	// Field is what counts of what the device sends: of a sensor it must be
	// said, of an actuator it is the one it has where left out.
	Field string
}

// Actuator is how a device is moved and what it says of that.
type Actuator struct {
	Set, On, Off          string
	State, Field, StateOn string
	// ConfirmWithin is how soon a device that is there says that it is on.
	ConfirmWithin time.Duration
	// MaxOn is the longest that the device can count.
	MaxOn time.Duration
}

// Sensor is where a device says what it measures, and whether it is there.
type Sensor struct {
	Topic, Field          string
	Availability, Offline string
	// Unit is that of the field, where its name says so.
	Unit sensors.Unit
}

// Placeholders that stand for the lease in what is sent.
const (
	leaseSeconds = "{{lease_s}}"
	// PulseTime is the lease as Tasmota's PulseTime; see Pulse.
	PulseTime = "{{pulse_time}}"
)

// How long devices can count: the on time of Zigbee's OnWithTimedOff is 16 bits
// of tenths of a second (Zigbee Cluster Library, 3.8.2.3.6); Tasmota's PulseTime
// ends at 64900.
const (
	zigbeeMaxOn  = 6553 * time.Second
	tasmotaMaxOn = (64900 - 100) * time.Second
)

// confirmWithin leaves time for a mesh that has to find a way.
const confirmWithin = 15 * time.Second

func (d *Device) check() error {
	switch d.Template {
	case Zigbee2MQTT:
	case Tasmota:
		if d.Base != "" {
			return fmt.Errorf("base is for %s: a Tasmota's topics begin with cmnd, stat and tele", Zigbee2MQTT)
		}
	default:
		return fmt.Errorf("%q is no template: %s", d.Template, Names)
	}
	if d.Name == "" {
		return fmt.Errorf("device is missing: the friendly name with %s, the topic with %s", Zigbee2MQTT, Tasmota)
	}
	for _, name := range []string{d.Name, d.base()} {
		if err := topic.DefaultLimits.CheckName(name); err != nil || name[0] == '$' {
			return fmt.Errorf("%q cannot be part of a topic", name)
		}
	}
	if strings.ContainsAny(d.Field, "\"\\{} \t;") {
		return fmt.Errorf("%q is no field", d.Field)
	}
	return nil
}

func (d *Device) base() string {
	if d.Base == "" {
		return Zigbee2MQTT
	}
	return strings.TrimSuffix(d.Base, "/")
}

// Actuator is the device as an actuator.
func (d Device) Actuator() (Actuator, error) {
	if err := d.check(); err != nil {
		return Actuator{}, err
	}
	if d.Template == Tasmota {
		return d.tasmotaActuator()
	}
	field := d.Field
	if field == "" {
		field = "state" // of several in one device: state_l1, state_left …
	}
	at := d.base() + "/" + d.Name
	return Actuator{
		Set: at + "/set", On: fmt.Sprintf(`{"%s":"ON","on_time":%s}`, field, leaseSeconds), Off: fmt.Sprintf(`{"%s":"OFF"}`, field),
		State: at, Field: field, StateOn: "ON", ConfirmWithin: confirmWithin, MaxOn: zigbeeMaxOn,
	}, nil
}

// tasmotaActuator sends the time and the command as one, so that neither is
// without the other, whatever is lost. The relay is POWER, or POWER2 …
func (d *Device) tasmotaActuator() (Actuator, error) {
	power := strings.ToUpper(d.Field)
	if power == "" {
		power = "POWER"
	}
	number, ok := strings.CutPrefix(power, "POWER")
	if !ok || len(number) > 1 || number != "" && (number[0] < '1' || number[0] > '8') {
		return Actuator{}, fmt.Errorf("%q is no relay of a Tasmota: POWER, or POWER1 to POWER8 where there are several", d.Field)
	}
	pulse := "PulseTime" + number
	if number == "" {
		pulse += "1"
	}
	return Actuator{
		Set: "cmnd/" + d.Name + "/Backlog", On: fmt.Sprintf("%s %s; %s ON", pulse, PulseTime, power), Off: power + " OFF",
		State: "stat/" + d.Name + "/" + power, Field: power, StateOn: "ON", ConfirmWithin: confirmWithin, MaxOn: tasmotaMaxOn,
	}, nil
}

// Pulse is a lease as Tasmota's PulseTime: 1 to 111 are tenths of a second, 112
// and more are seconds and a hundred. What it cannot say is said shorter.
func Pulse(lease time.Duration) int {
	if tenths := int(lease / (100 * time.Millisecond)); tenths < 120 {
		return max(1, min(tenths, 111))
	}
	return int(min(lease, tasmotaMaxOn)/time.Second) + 100
}

// Sensor is the device as a sensor.
func (d Device) Sensor() (Sensor, error) {
	if err := d.check(); err != nil {
		return Sensor{}, err
	}
	if d.Field == "" {
		return Sensor{}, fmt.Errorf("field is missing: what counts of what the device sends, such as %s", map[string]string{
			Zigbee2MQTT: "soil_moisture", Tasmota: "DS18B20.Temperature",
		}[d.Template])
	}
	s := Sensor{Field: d.Field, Offline: "offline", Unit: unit(d.Field)}
	if d.Template == Tasmota {
		s.Topic, s.Availability = "tele/"+d.Name+"/SENSOR", "tele/"+d.Name+"/LWT"
	} else {
		s.Topic = d.base() + "/" + d.Name
		s.Availability = s.Topic + "/availability"
	}
	return s, nil
}

// units are what both call their fields, in their default settings.
var units = map[string]sensors.Unit{
	"temperature": sensors.Celsius, "soil_temperature": sensors.Celsius, "device_temperature": sensors.Celsius, "dewpoint": sensors.Celsius,
	"humidity": sensors.Percent, "soil_moisture": sensors.Percent, "battery": sensors.Percent, "moisture": sensors.Percent,
	"pressure": sensors.Hectopascal,
}

func unit(field string) sensors.Unit {
	return units[strings.ToLower(field[strings.LastIndexByte(field, '.')+1:])]
}
