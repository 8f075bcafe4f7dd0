// Package event holds the one shape that everything which happens takes inside
// a gateway: an Event, whose attributes are those of CloudEvents 1.0.
//
// Triggers make events, dispatch moves them, functions read them. The package
// depends on the standard library alone, so that every other package may speak
// its words.
package event

import (
	"errors"
	"fmt"
	"time"
)

// MaxHops is the longest chain of events caused by events. A longer one is a
// loop between functions: it becomes a dead letter, not a storm.
const MaxHops = 16

// Event is one thing that happened. It is immutable once a trigger has made
// it: Data and Extensions are shared by every function that it starts.
//
// Field names and meanings are those of CloudEvents 1.0, section 3.1.
type Event struct {
	// ID is unique within Source.
	ID string
	// Source says where the event comes from, as a URI reference:
	// "/mqtt/soil-3" is the device soil-3.
	Source string
	// Type is the kind of event, in reverse-DNS form (see the Type constants).
	Type string
	// Subject is what it is about within Source: for MQTT the topic.
	Subject string
	// Time is when the gateway saw it.
	Time time.Time
	// DataContentType is the media type of Data; empty means unknown.
	DataContentType string
	// Data is the payload, as it came.
	Data []byte
	// Extensions are further CloudEvents attributes, names in lower case.
	Extensions map[string]string

	// Hops counts the events that led here: 0 for one from outside.
	Hops int
	// Trust is how far Time can be relied on.
	Trust Trust
	// Retained is true when a stored retained message is at the root of the
	// chain. Actuators refuse what a retained message caused.
	Retained bool
}

// Trust is how far a gateway's wall clock can be relied on: boards have no
// battery for it.
type Trust uint8

// The levels of trust, the least first.
const (
	// TimeUnknown: nothing is known but that the gateway was built before.
	TimeUnknown Trust = iota
	// TimeEstimated: counted on from the last time known, or the clock of a
	// board that nothing has set right since it started.
	TimeEstimated
	// TimeSynchronised: set by a time server or confirmed by a person.
	TimeSynchronised
)

// String returns the level's name.
func (t Trust) String() string {
	switch t {
	case TimeSynchronised:
		return "synchronised"
	case TimeEstimated:
		return "estimated"
	}
	return "unknown"
}

// ExtTrust is the CloudEvents extension that holds Trust.
const ExtTrust = "timetrust"

// ExtOrigin is an extension of events that are caused by an event which is old:
// when that arrived, in milliseconds of the gateway's steady clock.
const ExtOrigin = "headgateorigin"

// Extensions of requests.
const (
	// ExtHTTPMethod is the method, ExtHTTPQuery the query as it was sent.
	ExtHTTPMethod = "httpmethod"
	ExtHTTPQuery  = "httpquery"
	// ExtHTTPHeaders are the headers as a JSON object of texts, with lower-case
	// names; several of one name are joined with commas.
	ExtHTTPHeaders = "httpheaders"
	// ExtHTTPRemote is the address of who is at the other end of the connection,
	// ExtHTTPKey the name of the key that was shown.
	ExtHTTPRemote = "httpremote"
	ExtHTTPKey    = "httpkey"
)

// ParseTrust is the opposite of String.
func ParseTrust(s string) (Trust, error) {
	for _, t := range [...]Trust{TimeUnknown, TimeEstimated, TimeSynchronised} {
		if s == t.String() {
			return t, nil
		}
	}
	return TimeUnknown, fmt.Errorf("%q must be unknown, estimated or synchronised", s)
}

// Types of events that the gateway makes itself.
const (
	TypeMQTT   = "io.headgate.mqtt.message"
	TypeInvoke = "io.headgate.invoke"
	// TypeHTTP is a request; its subject is the path.
	TypeHTTP  = "io.headgate.http.request"
	TypeQueue = "io.headgate.queue.message"
	// TypeTimer comes from a durable timer.
	TypeTimer = "io.headgate.timer"
	// TypeFailed tells of an event that a function gave up. Its data is the
	// JSON of a failure: see docs/functions.md.
	TypeFailed = "io.headgate.function.failed"
	// TypeState tells of a key that has changed; its data says how: see
	// docs/functions.md.
	TypeState = "io.headgate.state.changed"
	// TypeObjectCreated tells of an object that was put into a bucket, and
	// TypeObjectDeleted of one that is gone; the data says which.
	TypeObjectCreated = "io.headgate.object.created"
	TypeObjectDeleted = "io.headgate.object.deleted"
	// TypeSensor is a reading of a sensor; its subject is the sensor's name.
	TypeSensor = "io.headgate.sensor.reading"
	// TypeActuator is the prefix of what happens to an actuator, as
	// io.headgate.actuator.off; its subject is the actuator's name.
	TypeActuator = "io.headgate.actuator."
	// TypeLifecycle is the prefix of what happens to devices and to the gateway
	// itself, as io.headgate.device.connected.
	TypeLifecycle = "io.headgate."
)

// ErrInvalid is returned for an event that misses a required attribute.
var ErrInvalid = errors.New("invalid event")

// Validate reports whether the attributes that CloudEvents requires are there.
func (e *Event) Validate() error {
	for _, f := range [...]struct{ name, value string }{
		{"id", e.ID}, {"source", e.Source}, {"type", e.Type},
	} {
		if f.value == "" {
			return fmt.Errorf("%w: attribute %s is empty", ErrInvalid, f.name)
		}
	}
	return nil
}
