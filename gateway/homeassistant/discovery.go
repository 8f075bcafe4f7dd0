// Package homeassistant tells Home Assistant of the gateway's sensors and
// actuators by its MQTT discovery: a retained message for each, from which Home
// Assistant makes an entity.
//
// The messages are those of https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery,
// with the keys of https://www.home-assistant.io/integrations/valve.mqtt/,
// https://www.home-assistant.io/integrations/sensor.mqtt/ and
// https://www.home-assistant.io/integrations/binary_sensor.mqtt/.
package homeassistant

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sensors"
)

// Node is the gateway as Home Assistant knows it: one device with an entity for
// each sensor and actuator.
type Node struct {
	// ID is in topics and ids: a-z, 0-9.
	ID string
	// Name is what people read, Version the gateway's.
	Name, Version string
	// Prefix is the first level of discovery topics.
	Prefix string
}

// Message is a discovery message, to be retained.
type Message struct {
	Topic   string
	Payload []byte
}

// Words of availability.
const (
	Online  = "online"
	Offline = "offline"
)

// StatusTopic is where the gateway says, retained, whether it is there.
func (n *Node) StatusTopic() string { return "headgate/" + n.ID + "/status" }

// BirthTopic is where Home Assistant says that it has started.
func (n *Node) BirthTopic() string { return n.Prefix + "/status" }

// Topics is a filter for all discovery messages of one entity's depth; Owns
// says which are the node's.
func (n *Node) Topics() string { return n.Prefix + "/+/+/config" }

// Owns reports whether a discovery topic is the node's.
func (n *Node) Owns(topic string) bool {
	levels := strings.Split(topic, "/")
	return len(levels) > 3 && levels[len(levels)-1] == "config" && strings.HasPrefix(levels[len(levels)-2], n.object(""))
}

func (n *Node) object(name string) string { return "headgate_" + n.ID + "_" + name }

func (n *Node) topic(component, name string) string {
	return n.Prefix + "/" + component + "/" + n.object(name) + "/config"
}

// entity is what all have in common.
type entity struct {
	Name              string  `json:"name"`
	UniqueID          string  `json:"unique_id"`
	StateTopic        string  `json:"state_topic"`
	ValueTemplate     string  `json:"value_template"`
	AttributesTopic   string  `json:"json_attributes_topic"`
	AvailabilityTopic string  `json:"availability_topic"`
	Available         string  `json:"payload_available"`
	NotAvailable      string  `json:"payload_not_available"`
	QoS               int     `json:"qos"`
	DeviceClass       string  `json:"device_class,omitempty"`
	Device            *device `json:"device"`
	Origin            *origin `json:"origin"`
}

type device struct {
	Identifiers  []string `json:"identifiers"`
	Name         string   `json:"name"`
	Manufacturer string   `json:"manufacturer"`
	Model        string   `json:"model"`
	Version      string   `json:"sw_version"`
}

type origin struct {
	Name    string `json:"name"`
	Version string `json:"sw_version"`
}

func (n *Node) entity(name, topic string) entity {
	return entity{
		Name: name, UniqueID: n.object(name), StateTopic: topic, AttributesTopic: topic,
		AvailabilityTopic: n.StatusTopic(), Available: Online, NotAvailable: Offline, QoS: 1,
		Device: &device{[]string{"headgate_" + n.ID}, n.Name, "Headgate", "Gateway", n.Version},
		Origin: &origin{"Headgate", n.Version},
	}
}

func message(topic string, payload any) Message {
	b, err := json.Marshal(payload)
	if err != nil {
		panic(err) // strings and numbers only
	}
	return Message{topic, b}
}

// Actuator is one actuator, by its topics.
type Actuator struct {
	Name string
	// Topic has its state, CommandTopic takes on and off.
	Topic, CommandTopic string
}

// Valve is the discovery of an actuator. Opening it from Home Assistant is a
// command without a lease: the gateway grants the actuator's default.
func (n *Node) Valve(a Actuator) Message {
	type valve struct {
		entity
		CommandTopic    string `json:"command_topic"`
		Open            string `json:"payload_open"`
		Close           string `json:"payload_close"`
		ReportsPosition bool   `json:"reports_position"`
		Optimistic      bool   `json:"optimistic"`
		Retain          bool   `json:"retain"`
	}
	v := valve{entity: n.entity(a.Name, a.Topic), CommandTopic: a.CommandTopic, Open: "on", Close: "off"}
	v.DeviceClass = "water"
	v.ValueTemplate = "{% if value_json.state == 'on' %}open{% elif value_json.state == 'off' %}closed{% else %}None{% endif %}"
	return message(n.topic("valve", a.Name), &v)
}

// Sensor is one sensor.
type Sensor struct {
	Name, Topic string
	// Measures is what the value is of, where known.
	Measures string
	Unit     sensors.Unit
	// Silent is how long the sensor may send nothing.
	Silent time.Duration
}

// Sensor is the discovery of a sensor; one that is on or off is a binary
// sensor.
func (n *Node) Sensor(s Sensor) Message {
	e := n.entity(s.Name, s.Topic)
	expire := int(s.Silent / time.Second)
	if s.Unit == sensors.Switch {
		type binary struct {
			entity
			On     string `json:"payload_on"`
			Off    string `json:"payload_off"`
			Expire int    `json:"expire_after,omitempty"`
		}
		e.ValueTemplate = "{% if value_json.value is not defined %}None{% elif value_json.value > 0 %}ON{% else %}OFF{% endif %}"
		return message(n.topic("binary_sensor", s.Name), &binary{e, "ON", "OFF", expire})
	}
	type sensor struct {
		entity
		Unit       string `json:"unit_of_measurement,omitempty"`
		StateClass string `json:"state_class"`
		Expire     int    `json:"expire_after,omitempty"`
	}
	e.ValueTemplate = "{{ value_json.value | default('None') }}" // which is unknown
	class, unit := classOf(s.Unit, s.Measures)
	e.DeviceClass = class
	state := "measurement"
	if class == "water" || s.Measures == "count" {
		state = "total_increasing"
	}
	return message(n.topic("sensor", s.Name), &sensor{e, unit, state, expire})
}
