package trigger

import (
	"fmt"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
)

// Kind is where an event comes from. Each has subjects of its own: paths of
// levels between slashes, as MQTT's topics are, that patterns match.
type Kind uint8

// The kinds.
const (
	// MQTT is messages, by topic.
	MQTT Kind = iota
	// HTTP is requests, by method and path: GET/fields/3.
	HTTP
	// Timer is firings, by the timer's name.
	Timer
	// State is changes of keys: see StateSubject.
	State
	// Queue is messages of queues, by the queue's name.
	Queue
	// Lifecycle is what happens to devices and to the gateway, by name.
	Lifecycle
	// File is changes of objects: see FileSubject.
	File
	// Failure is dead letters, by the function whose they are.
	Failure
	// Sensor is readings, by the sensor's name.
	Sensor
	// Actuator is what happens to actuators, by name: see ActuatorSubject.
	Actuator

	kinds = iota
)

var kindNames = [kinds]string{"mqtt", "http", "timer", "state", "queue", "lifecycle", "file", "failure", "sensor", "actuator"}

// String returns the kind's name.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind_%d", uint8(k))
}

// ParseKind is the opposite of String.
func ParseKind(name string) (Kind, error) {
	if i := slices.Index(kindNames[:], name); i >= 0 {
		return Kind(i), nil
	}
	return 0, fmt.Errorf("%q is not a kind of trigger: use one of %s", name, strings.Join(kindNames[:], ", "))
}

// StateSubject is the subject of a change of a key.
func StateSubject(namespace, key string) string { return namespace + "/" + key }

// FileSubject is the subject of a change of an object.
func FileSubject(bucket, key string) string { return bucket + "/" + key }

// ActuatorSubject is the subject of what happens to an actuator.
func ActuatorSubject(name, happens string) string { return name + "/" + happens }

// Any reports whether there is a trigger for the subject, whatever its
// condition says.
func (t *Table) Any(kind Kind, subject string) bool {
	if t.trees[kind].Len() == 0 {
		return false
	}
	for _, r := range t.trees[kind].Match(subject, nil) {
		if r.set.slot.live.Load() == r.set && r.means(subject) {
			return true
		}
	}
	return false
}

// means reports whether a subject that the pattern matches is meant.
func (r *rule) means(subject string) bool {
	if r.kind == Actuator {
		name, happens, _ := strings.Cut(subject, "/")
		return (len(r.happens) == 0 || slices.Contains(r.happens, happens)) && (r.glob == "" || function.MatchName(r.glob, name))
	}
	return r.glob == "" || function.MatchName(r.glob, subject)
}
