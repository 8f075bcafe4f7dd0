package doctor

import (
	"context"
	"strings"
)

// Actuators is what is known of what the gateway moves.
type Actuators struct {
	// Local is true where some hang on this board, and need the guard.
	Local      bool
	GuardReady bool
	GuardFault string
	GuardHung  uint64
	Ledger     string // what is wrong with it
	LedgerLost int
	All        []Actuator
}

// Actuator is one of them.
type Actuator struct {
	Name string
	// Fault is what is wrong with it, Unknown true where nobody knows what it is.
	Fault   string
	Unknown bool
	// Latching is a valve that stays as it is without power, NoTimer a device
	// that nothing stops where the link to it is lost.
	Latching, NoTimer bool
}

// WaterStops looks at what stops water: the guard, the ledger, and actuators
// whose hardware does not promise to stop.
func WaterStops(read func() Actuators) Probe {
	return Probe{"actuators", func(context.Context) Check {
		a := read()
		if len(a.All) == 0 {
			return ok("none is configured")
		}
		if a.Ledger != "" {
			return fail("nothing is switched on until it can be written: make room, or look at the disk", "the safety ledger: %s", a.Ledger)
		}
		if a.Local && !a.GuardReady {
			return fail("nothing on this board is switched on without it; the log says more", "the guard process is not ready: %s", orNothing(a.GuardFault))
		}
		var faults, latching, noTimer []string
		for _, x := range a.All {
			switch {
			case x.Fault != "":
				faults = append(faults, x.Name+": "+x.Fault)
			case x.Unknown:
				faults = append(faults, x.Name+": nobody knows what it is")
			}
			if x.Latching {
				latching = append(latching, x.Name)
			}
			if x.NoTimer {
				noTimer = append(noTimer, x.Name)
			}
		}
		switch {
		case len(faults) > 0:
			return fail("look at the wiring, the supply and the sensor; 'headgate actuator history NAME' shows what happened", "%s", strings.Join(faults, "; "))
		case a.GuardHung > 0:
			return warn("the machine may be overloaded, or its disk hang", "the guard process did not answer and was replaced, %d times", a.GuardHung)
		case len(noTimer) > 0:
			return warn("give the device a timer of its own ({{lease_s}} in mqtt.on), or a gateway near it", "%s: nothing stops it where the link to it is lost (stops_itself: false)", strings.Join(noTimer, ", "))
		case len(latching) > 0:
			return warn("keep the supply of the board and the valve on a battery, or use a valve that closes without power", "%s: a latching valve stays open where the power goes while it is", strings.Join(latching, ", "))
		case a.LedgerLost > 0:
			return warn("a power cut may have torn one apart; more of them say that the disk is ill", "%d records of the safety ledger cannot be read", a.LedgerLost)
		}
		return ok("%d, all as ordered; what is on goes off by itself", len(a.All))
	}}
}

func orNothing(s string) string {
	if s == "" {
		return "it is starting"
	}
	return s
}
