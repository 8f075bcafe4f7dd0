package function

import "time"

// Effects is all that one invocation asks to be done. Nothing in it has
// happened yet: the settle applies all of it or none.
//
// Order within each list is the order of the calls. Slices are owned by the
// Effects once added.
type Effects struct {
	Writes    []Write
	Publishes []Publish
	Enqueues  []Enqueue
	Invokes   []Invoke
	// Objects are the last change of each object that is changed.
	Objects []ObjectChange `json:",omitempty"`
	// Actuations are what it wants of actuators.
	Actuations []Actuation `json:",omitempty"`
}

// Empty reports whether there is nothing to do.
func (e *Effects) Empty() bool {
	return len(e.Writes) == 0 && len(e.Publishes) == 0 && len(e.Enqueues) == 0 && len(e.Invokes) == 0 && len(e.Objects) == 0 && len(e.Actuations) == 0
}

// Stored are all writes, those of objects behind those of state.
func (e *Effects) Stored() []Write {
	if len(e.Objects) == 0 {
		return e.Writes
	}
	all := append(make([]Write, 0, len(e.Writes)+len(e.Objects)), e.Writes...)
	for i := range e.Objects {
		all = append(all, e.Objects[i].Write())
	}
	return all
}

// Write sets or deletes one key of a function's state.
type Write struct {
	Namespace string
	Key       string
	Value     []byte
	Delete    bool
	// TTL is how long the value lives; 0 keeps it.
	TTL time.Duration
}

// Publish is an MQTT message to send.
type Publish struct {
	Topic   string
	Payload []byte
	QoS     byte
	Retain  bool
	// Expiry is the message expiry interval of MQTT 5 (3.3.2.3.3); 0 is none.
	Expiry time.Duration
}

// Enqueue puts a message on a named durable queue.
type Enqueue struct {
	Queue   string
	Payload []byte
	Delay   time.Duration
}

// Invoke starts another function, later and once, with Payload as its data.
type Invoke struct {
	Function string
	Payload  []byte
}

// Actuation switches an actuator.
type Actuation struct {
	Actuator string
	// Value is 0 for off, 1 for on, between where the actuator can be dimmed.
	Value float64
	// Lease is how long it is to be on, as it was asked for; 0 is the actuator's
	// own default. Granted is what was answered.
	Lease   time.Duration
	Granted time.Duration
	// Until is the end of what was granted, in time since the start of the
	// machine.
	Until time.Duration `json:"-"`
}

// LogLine is one line that a function logged. Lines outlive a failed
// invocation: they are not part of Effects.
type LogLine struct {
	Time  time.Time
	Level Level
	Text  string
}

// Level is the severity of a log line; its numbers are the ABI's.
type Level int8

// The levels of the log host call.
const (
	Debug Level = iota
	Info
	Warn
	Error
)

// String returns the level's lower-case name.
func (l Level) String() string {
	switch l {
	case Debug:
		return "debug"
	case Info:
		return "info"
	case Warn:
		return "warn"
	default:
		return "error"
	}
}
