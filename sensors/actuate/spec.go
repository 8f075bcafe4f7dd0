package actuate

import (
	"time"

	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// Spec is one actuator.
type Spec struct {
	Name string
	// Unit is what the guard owns of it; nil where it is Remote.
	Unit *guard.Unit
	// Remote is what is known of a device at the other end of a network.
	Remote *Remote
	// Dimmable is true where values between off and on mean something.
	Dimmable bool

	// MaxOn is the longest that it may be on without a break, DefaultLease what
	// who asks for no lease gets, MinOff how long it has to be off in between.
	MaxOn, DefaultLease, MinOff time.Duration
	// MaxPerDay bounds the time that it is on in any 24 hours; 0 does not.
	MaxPerDay time.Duration
	// Requires are actuators without which it must not be on, Exclusive names a
	// group of which at most one may be on.
	Requires  []string
	Exclusive string
	// Expect is what a sensor has to show while it is on; nil is nothing.
	Expect *Expect
	// StaleAfter is how old what asks for it may be.
	StaleAfter time.Duration
}

// Remote is what is known of a device.
type Remote struct {
	// ConfirmWithin is how soon the device has to tell its state; 0 is never.
	ConfirmWithin time.Duration
}

// Expect is what a sensor has to show while an actuator is on.
type Expect struct {
	Sensor string
	// Above and Below are bounds, in the sensor's unit.
	Above, Below *float64
	// Within is how soon after the start, and for how long at most it may show
	// something else later on.
	Within time.Duration
	// ReportOnly leaves the actuator on and only tells of it.
	ReportOnly bool
}

// met reports whether a value is as expected.
func (e *Expect) met(v float64) bool {
	return (e.Above == nil || v > *e.Above) && (e.Below == nil || v < *e.Below)
}
