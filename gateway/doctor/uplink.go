package doctor

import (
	"context"
	"time"
)

// Membership is what is looked at of the enrolment and the uplink.
type Membership struct {
	Enrolled bool
	// Name is what the controller calls the gateway, Controller its address.
	Name, Controller string
	// Waiting is a controller that an enrolment is tried at; Error is what came of
	// it, or of the last renewal.
	Waiting, Error string
	// Remaining is how long the certificate is good.
	Remaining time.Duration
	Connected bool
	LinkError string
	// Batches wait for the controller, GrainMinutes share a row.
	Batches, GrainMinutes int64
	OverBudget            bool
}

// Uplink says whether the controller gets what is for it.
func Uplink(look func() Membership) Probe {
	return Probe{"uplink", func(context.Context) Check {
		m := look()
		switch {
		case !m.Enrolled && m.Waiting != "" && m.Error != "":
			return warn("check the network and the controller's address; the gateway goes on trying", "enrolment at %s: %s", m.Waiting, m.Error)
		case !m.Enrolled && m.Waiting != "":
			return ok("waits for its enrolment at %s", m.Waiting)
		case !m.Enrolled && m.Error != "":
			return fail("put a copy of the file back, or remove it and enrol again", "%s", m.Error)
		case !m.Enrolled:
			return ok("not enrolled")
		case m.Remaining <= 0:
			return fail("functions keep running, and usage waits: the gateway renews it as soon as it reaches the controller; after 180 days enrol again", "the certificate ended %s ago: %s", (-m.Remaining).Round(time.Minute), m.Error)
		case m.GrainMinutes >= 60: // configured it is less
			return fail("let the gateway reach the controller, or give uplink.outbox more room", "the outbox is filling up (%d batches): usage is counted in steps of %d minutes", m.Batches, m.GrainMinutes)
		case !m.Connected:
			return warn("usage waits and nothing is lost; 'headgate enroll --status' shows more", "%s does not reach %s: %s", m.Name, m.Controller, m.LinkError)
		case m.OverBudget:
			return warn("raise uplink.bytes_per_day; what waits goes tomorrow", "the day's bytes are spent, and %d batches wait", m.Batches)
		case m.LinkError != "":
			return warn("look at the gateway's findings at the controller", "%s", m.LinkError)
		}
		return ok("%s at %s; %d batches on their way", m.Name, m.Controller, m.Batches)
	}}
}
