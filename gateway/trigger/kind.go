package trigger

import (
	"fmt"
	"slices"
	"strings"
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

	kinds = iota
)

var kindNames = [kinds]string{"mqtt", "http", "timer", "state", "queue", "lifecycle", "file", "failure"}

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
func (r *rule) means(subject string) bool { return r.glob == "" || globMatch(r.glob, subject) }

// globMatch reports whether text is as glob says, * being any run of characters.
func globMatch(glob, text string) bool {
	parts := strings.Split(glob, "*")
	first, last := parts[0], parts[len(parts)-1]
	if len(parts) == 1 {
		return text == glob
	}
	if len(text) < len(first)+len(last) || !strings.HasPrefix(text, first) || !strings.HasSuffix(text, last) {
		return false
	}
	text = text[len(first) : len(text)-len(last)]
	for _, part := range parts[1 : len(parts)-1] {
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text = text[i+len(part):]
	}
	return true
}
