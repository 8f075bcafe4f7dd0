//go:build seededfaults

package fault

import "os"

// Seeded reports whether this build can carry faults.
const Seeded = true

var active = Fault(os.Getenv("HEADGATE_FAULT"))

// On reports whether f is the fault named by HEADGATE_FAULT.
func On(f Fault) bool { return f == active }
