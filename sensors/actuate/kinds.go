package actuate

import (
	"fmt"
	"time"
)

// Kind is what happened to an actuator.
type Kind string

// The kinds. Each is written to the ledger, but refused.
const (
	// TurnedOn and Renewed begin and prolong a lease.
	TurnedOn Kind = "on"
	Renewed  Kind = "renewed"
	// TurnedOff ends it as it should: asked for, or at its end.
	TurnedOff Kind = "off"
	// Interrupted ends it early: a restart, a guard that was replaced.
	Interrupted Kind = "interrupted"
	// Faulted: the outlet, the device or a sensor did not do what was expected.
	Faulted Kind = "fault"
	// Refused: a command that moved nothing.
	Refused Kind = "refused"
)

// Event tells what happened to an actuator.
type Event struct {
	Kind     Kind
	Actuator string
	Value    float64
	Who      string
	EventID  string
	Reason   string
	// Lease is what was granted, Until its end in time since the start of the
	// machine.
	Lease time.Duration
	Until time.Duration
	// Age and Retained are those of the Asker whose word brought this about at
	// once: what it may not move, it may not by way of this event either. Hops is
	// the length of the chain of events that led to it.
	Age      time.Duration
	Retained bool
	Hops     int
}

// by is e as what who has brought about.
func (e Event) by(who *Asker) Event {
	e.Who, e.EventID = who.Who, who.EventID
	e.Age, e.Retained, e.Hops = who.Age, who.Retained, who.Hops
	return e
}

// Code says in a word why something was refused.
type Code string

// The codes.
const (
	CodeUnknown     Code = "unknown"
	CodeInvalid     Code = "invalid"
	CodeStale       Code = "stale"
	CodeRetained    Code = "retained"
	CodeMinOff      Code = "min_off"
	CodeMaxOn       Code = "max_on"
	CodeMaxPerDay   Code = "max_per_day"
	CodeRequires    Code = "requires"
	CodeExclusive   Code = "exclusive"
	CodeUnavailable Code = "unavailable"
)

// Refusal is the error of what may not be.
type Refusal struct {
	Actuator string
	Code     Code
	Reason   string
}

// Error says which actuator, and why.
func (r *Refusal) Error() string {
	return fmt.Sprintf("actuator %s: %s: %s", r.Actuator, r.Code, r.Reason)
}

func refuse(name string, code Code, format string, args ...any) *Refusal {
	return &Refusal{name, code, fmt.Sprintf(format, args...)}
}

// State is what an actuator is.
type State string

// The states. Unknown is that of a latching valve before its first pulse, and
// of everything while its guard is away.
const (
	Off     State = "off"
	On      State = "on"
	Unknown State = "unknown"
)

// Status is one actuator as people see it.
type Status struct {
	Name  string
	State State
	Value float64
	// Since and Until are how long ago it came on and how long it still may;
	// of one that is on.
	Since, Left time.Duration
	Who         string
	// Fault is what is wrong with it, until the next lease goes well.
	Fault string
	// UsedToday is how long it was on in the last 24 hours.
	UsedToday time.Duration
	// Feedback says what the sensor shows that is expected to.
	Feedback string
	// Reported is what a remote device said last, empty where it said nothing.
	Reported string
}
