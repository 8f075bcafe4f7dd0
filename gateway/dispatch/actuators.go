package dispatch

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sensors/actuate"
)

// Actuators decides what may be moved. *actuate.Controller is one.
type Actuators interface {
	// Now is the time that leases are counted in.
	Now() time.Duration
	// Ask answers until when something would be granted. It reserves nothing.
	Ask(who *actuate.Asker, earlier []function.Actuation, a *function.Actuation) (until time.Duration, err error)
	// Reserve follows an invocation that went well: it switches off, and keeps
	// what may come on until the lease's Commit or Cancel. Its error is an
	// actuate.ErrChanged where what was answered does not hold any more.
	Reserve(who actuate.Asker, asked []function.Actuation) (*actuate.Lease, error)
}

var _ Actuators = (*actuate.Controller)(nil)

var _ host.Actuators = (*call)(nil)

// Actuate implements host.Actuators.
func (c *call) Actuate(earlier []function.Actuation, a function.Actuation) (granted, until time.Duration, err error) {
	who := c.task.asker()
	who.Muted = c.muted
	until, err = c.task.fn.d.cfg.Actuators.Ask(&who, earlier, &a)
	var refusal *actuate.Refusal
	if errors.As(err, &refusal) && refusal.Code == actuate.CodeUnknown {
		return 0, 0, host.UnknownActuator(a.Actuator)
	}
	if err != nil || until == 0 {
		return 0, 0, err
	}
	return until - c.task.fn.d.cfg.Actuators.Now(), until, nil
}

// actuators is what the call offers its guest; nil where the gateway has none.
func (c *call) actuators() host.Actuators {
	if c.task.fn.d.cfg.Actuators == nil {
		return nil
	}
	return c
}

// asker is who the task is to actuators.
func (t *task) asker() actuate.Asker {
	return actuate.Asker{
		Who: fmt.Sprintf("%s@%d", t.fn.name, t.version.Version), Function: t.fn.name, EventID: t.ev.ID, Age: t.age(), Retained: t.ev.Retained, Hops: t.ev.Hops + 1,
	}
}

// age is how long ago that happened which the task is about: its own event, or
// an older one that led to it.
func (t *task) age() time.Duration {
	d := t.fn.d
	age := max(0, d.cfg.Now().Sub(t.ev.Time))
	if t.kind == durable { // the wall clock may have jumped meanwhile
		age = max(0, d.cfg.Steady().Sub(t.row.Arrived))
	}
	if text, ok := t.ev.Extensions[event.ExtOrigin]; ok {
		if ms, err := strconv.ParseInt(text, 10, 64); err == nil {
			age = max(age, d.cfg.Steady().Sub(time.UnixMilli(ms)))
		}
	}
	return age
}

// tellOldAfter is how old a task must be for what it starts to be told.
const tellOldAfter = 5 * time.Second

// tellAge are the extensions of the events of a cause: for one that is old they
// say how old.
func (c *cause) tellAge() map[string]string {
	if c.of == nil {
		return c.extensions
	}
	return WithOrigin(c.extensions, c.of.age(), c.d.cfg.Steady())
}

// WithOrigin are the extensions of an event whose cause is old by age now, on
// the steady scale: a copy that says so where it matters.
func WithOrigin(extensions map[string]string, age time.Duration, now time.Time) map[string]string {
	if age < tellOldAfter {
		return extensions
	}
	with := maps.Clone(extensions)
	if with == nil {
		with = map[string]string{}
	}
	with[event.ExtOrigin] = strconv.FormatInt(now.Add(-age).UnixMilli(), 10)
	return with
}

// reserve has what the invocation asked of actuators decided for good. It
// reports false where that must be asked again.
func (t *task) reserve() (bool, error) {
	asked := t.call.Effects().Actuations
	if len(asked) == 0 {
		return true, nil
	}
	lease, err := t.fn.d.cfg.Actuators.Reserve(t.asker(), asked)
	if errors.Is(err, actuate.ErrChanged) && t.conflicts < maxConflicts {
		return false, nil
	}
	t.lease = lease
	return true, err
}

// letGo gives up what was reserved and has not begun.
func (t *task) letGo() {
	t.lease.Cancel()
	t.lease = nil
}

// moveActuators lets begin what was reserved, once it has committed.
func (t *task) moveActuators() {
	t.lease.Commit()
	t.lease = nil
}
