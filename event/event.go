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
	// Retained is true when a stored retained message is at the root of the
	// chain. Actuators refuse what a retained message caused.
	Retained bool
}

// Types of events that the gateway makes itself.
const (
	TypeMQTT   = "io.headgate.mqtt.message"
	TypeInvoke = "io.headgate.invoke"
	TypeQueue  = "io.headgate.queue.message"
	// TypeFailed tells of an event that a function gave up. Its data is the
	// JSON of a failure: see docs/functions.md.
	TypeFailed = "io.headgate.function.failed"
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
