package doctor

import (
	"context"
	"fmt"

	"github.com/headgate-io/headgate/gateway/heartbeat"
	"github.com/headgate-io/headgate/gateway/setup"
	"github.com/headgate-io/headgate/gateway/slot"
)

// Loops says which of the gateway's loops do not move.
func Loops(m *heartbeat.Monitor) Probe {
	return Probe{"loops", func(context.Context) Check {
		if stuck := m.Stuck(); len(stuck) > 0 {
			return fail("its supervisor starts the gateway again when this lasts; without one, restart it, and send the log with the goroutines that SIGABRT prints",
				"do not move: %s", heartbeat.Summary(stuck))
		}
		return ok("%d watched, all move", len(m.Names()))
	}}
}

// Watchdog says whether the hardware watchdog that the configuration names
// watches over the gateway.
func Watchdog(device string, fault func() error) Probe {
	return Probe{"watchdog", func(context.Context) Check {
		if err := fault(); err != nil {
			return fail("mend it, or take watchdog.device out of the configuration", "%v", err)
		}
		return ok("%s resets the board when the gateway hangs", device)
	}}
}

// Setup says what became of the setup file of the boot partition.
func Setup(status func() (setup.Status, error)) Probe {
	return Probe{"setup", func(context.Context) Check {
		s, err := status()
		switch {
		case err != nil:
			return fail("look at the disk", "what is kept of it cannot be read: %v", err)
		case s.Error != "":
			return fail("correct "+setup.FileName+" on the boot partition of the card, and start the board again", "was not carried out: %s", s.Error)
		case s.Applied.IsZero():
			return ok("there was no setup file")
		}
		return ok("carried out on %s", s.Applied.Format("2006-01-02"))
	}}
}

// Update says which of the gateway's binaries runs, and what became of the
// newest update.
func Update(status func() (slot.State, error)) Probe {
	return Probe{"update", func(context.Context) Check {
		s, err := status()
		if err != nil {
			return fail("look at the disk", "%v", err)
		}
		running := "the binary of the image runs"
		if s.Current != slot.Base {
			running = fmt.Sprintf("the binary in slot %s runs", s.Current)
		}
		switch {
		case s.Trial != nil:
			return ok("an update is being tried, start %d of %d", s.Trial.Starts, slot.MaxStarts)
		case s.Failure != nil:
			return warn("'headgate system update' with one that works clears this", "%s; the update before was taken back: %s", running, s.Failure.Reason)
		}
		return ok("%s", running)
	}}
}
