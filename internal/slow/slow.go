// Package slow leaves tests out where everything takes ten times as long: under
// the race detector and on an emulated processor. The test says so itself, and
// says what shows the same there; a list of names elsewhere would go on to
// name what has another name by now.
package slow

import (
	"os"
	"testing"
)

// Why a test is left out, and what shows the same.
const (
	WholeGateways = "it runs whole gateways; the packages below have tests of the same code"
	LargeGuests   = "it compiles guests of megabytes; those of smaller languages do the same"
	OneGoroutine  = "it is one goroutine, with nothing to race with, and much to compute"
)

// emulatedCPU is the variable that says that the processor is emulated.
const emulatedCPU = "EMULATED_CPU"

// IsEmulated reports whether the processor is emulated.
func IsEmulated() bool { return os.Getenv(emulatedCPU) != "" }

// UnderRace leaves the test out of short runs under the race detector.
func UnderRace(t testing.TB, why string) {
	t.Helper()
	if race && testing.Short() {
		t.Skip("under the race detector: " + why)
	}
}

// Emulated leaves the test out of short runs on an emulated processor.
func Emulated(t testing.TB, why string) {
	t.Helper()
	if IsEmulated() && testing.Short() {
		t.Skip("on an emulated processor: " + why)
	}
}

// Both leaves the test out of short runs on either.
func Both(t testing.TB, why string) {
	t.Helper()
	UnderRace(t, why)
	Emulated(t, why)
}
