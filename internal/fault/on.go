//go:build seededfaults

package fault

import (
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
)

// Seeded reports whether this build can carry faults.
const Seeded = true

var active = Fault(os.Getenv("HEADGATE_FAULT"))

// On reports whether f is the fault named by HEADGATE_FAULT.
func On(f Fault) bool { return f == active }

var crash = newPoint(os.Getenv("HEADGATE_CRASH_AT"))

// point is where the process ends itself.
type point struct {
	step Step
	left atomic.Int64
}

func newPoint(text string) *point {
	step, times, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(times, 10, 64)
	if err != nil || n < 1 {
		n = 1
	}
	p := &point{step: Step(step)}
	p.left.Store(n)
	return p
}

// Reached marks a step. Where it is the one to end at, nothing that comes
// after it in the program happens.
func Reached(s Step) {
	if s != crash.step || crash.left.Add(-1) != 0 {
		return
	}
	_ = syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	select {}
}
