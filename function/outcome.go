package function

import (
	"fmt"
	"time"
)

// Outcome says how an invocation ended. Its names are the error kinds of the
// usage records, the metrics and the CLI.
type Outcome uint8

// Every way an invocation can end. All but OK apply nothing.
const (
	// OK: handle returned 0 and its effects may be settled.
	OK Outcome = iota
	// Failed: handle returned non-zero or the language threw.
	Failed
	// Trapped: the guest executed an illegal operation (unreachable, out of
	// bounds, division by zero) or exited.
	Trapped
	// OutOfFuel: the instruction budget of the call is spent.
	OutOfFuel
	// OutOfStack: calls nested deeper than the stack weight allows.
	OutOfStack
	// OutOfMemory: the guest could not grow its memory and gave up.
	OutOfMemory
	// TimedOut: the deadline passed.
	TimedOut
	// Refused: the gateway could not start it (budget, shutdown, broken module).
	Refused
)

var outcomeNames = [...]string{"ok", "failed", "trapped", "out_of_fuel", "out_of_stack", "out_of_memory", "timed_out", "refused"}

// Outcomes is how many outcomes there are, for arrays indexed by Outcome.
const Outcomes = len(outcomeNames)

// String returns the outcome's snake_case name.
func (o Outcome) String() string {
	if int(o) < len(outcomeNames) {
		return outcomeNames[o]
	}
	return fmt.Sprintf("outcome_%d", uint8(o))
}

// Result is what one invocation left behind besides its effects.
type Result struct {
	Outcome Outcome
	// Error says what went wrong, for people; empty when Outcome is OK.
	Error string
	// Output is the last output of the guest. It is valid until the call's
	// owner reuses the call.
	Output []byte
	// Fuel is the work done, in units of about one wasm instruction.
	Fuel uint64
	// Duration is the time from entering the guest to leaving it, monotonic.
	Duration time.Duration
	// ColdStart is true when an instance had to be made for this call.
	ColdStart bool
	// MemoryBytes is the linear memory of the instance after the call.
	MemoryBytes uint64
}
