package guard

import "time"

// Unit is one actuator as the guard knows it.
type Unit struct {
	Name string `json:"name"`
	// Outlet says what it is wired to.
	Outlet Outlet `json:"outlet"`
	// MaxOn is the longest that it may be on without a break, Group the name
	// that at most one of may be on; empty is none.
	MaxOn time.Duration `json:"max_on"`
	Group string        `json:"group,omitempty"`
	// Pulse is how long a latching valve's coil is powered; 0 is no latching
	// valve.
	Pulse time.Duration `json:"pulse,omitempty"`
}

// Outlet names what an actuator is wired to. Exactly one of GPIO, PWM and File
// is set.
type Outlet struct {
	// GPIO is a line, as GPIO17 or gpiochip0/3. Close is a second one, whose
	// pulse closes a latching valve.
	GPIO  string `json:"gpio,omitempty"`
	Close string `json:"close,omitempty"`
	// ActiveLow is true where a low level switches on.
	ActiveLow bool `json:"active_low,omitempty"`
	// PWM is a channel, as pwmchip0/1, Frequency its frequency in hertz.
	PWM       string  `json:"pwm,omitempty"`
	Frequency float64 `json:"frequency,omitempty"`
	// File simulates: it holds 0, 1 or a fraction. FileClose is the second one of
	// a simulated latching valve.
	File      string `json:"file,omitempty"`
	FileClose string `json:"file_close,omitempty"`
}

// Order is what the gateway sends. Without a Unit it only says that the
// gateway lives.
type Order struct {
	// Units is the first orders': all that the guard is to own. More is true of
	// all but the last of them.
	Units []Unit `json:"units,omitempty"`
	More  bool   `json:"more,omitempty"`
	// Seq counts the orders that move something, from 1.
	Seq  uint64 `json:"seq,omitempty"`
	Unit string `json:"unit,omitempty"`
	// Value is 0 for off, 1 for on, between for a PWM output.
	Value float64 `json:"value,omitempty"`
	// Until is when the lease ends, on the clock that counts from the start of
	// the machine and goes on while it sleeps.
	Until time.Duration `json:"until,omitempty"`
}

// Report is what the guard answers.
type Report struct {
	// Unit and Seq are the order's that is answered, or the unit that was
	// switched off and the last order of it that was obeyed.
	Unit string `json:"unit,omitempty"`
	Seq  uint64 `json:"seq,omitempty"`
	// Off says why the guard switched it off by itself.
	Off Reason `json:"off,omitempty"`
	// Fault says what went wrong, in words.
	Fault string `json:"fault,omitempty"`
	// Ready is true of the first report: everything is off.
	Ready bool `json:"ready,omitempty"`
}

// Reason is why the guard switched an actuator off by itself.
type Reason string

// The reasons.
const (
	// LeaseEnded: its lease, or the longest time that it may be on.
	LeaseEnded Reason = "lease"
	// Silent: the gateway said nothing for Silence.
	Silent Reason = "silence"
	// Parted: the gateway's end of the socket is closed.
	Parted Reason = "parted"
	// Ended: the guard was told to end.
	Ended Reason = "ended"
	// Broken: its outlet refused an order, so that its state is unknown.
	Broken Reason = "broken"
)
