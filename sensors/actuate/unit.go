package actuate

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// offLocked switches an actuator off at once, and those that require it.
// Nothing stands in its way: the ledger is told afterwards.
func (c *Controller) offLocked(u *unit, kind Kind, reason string, who Asker) {
	now := c.cfg.Now()
	if u.pending != nil {
		u.pending.drop(u)
	}
	was := u.on
	if u.on {
		c.countLocked(u, now)
	}
	u.on, u.value = false, 0
	if err := c.orderLocked(u, 0, 0); err != nil {
		c.cfg.Logger.Error("switch off", "actuator", u.spec.Name, "error", err)
		if u.spec.Unit == nil {
			u.known = false // settleRemoteLocked tells it again
		}
	}
	if was {
		u.offAt, u.wasOff, u.flowing = now, true, 0
		u.offSure = u.spec.Unit == nil
		u.who = who
		if kind == Faulted {
			c.stats.Faults++
			u.fault = reason
		}
		c.noteEnd(u, kind, reason, now)
		u.who = who.later()
	}
	for _, other := range c.units {
		if !other.requires(u) || fault.On(fault.RequiresIgnored) {
			continue
		}
		if other.on || other.pending != nil {
			c.offLocked(other, TurnedOff, u.spec.Name+", which it requires, is off", who)
		}
	}
}

func (u *unit) requires(other *unit) bool {
	for _, name := range u.spec.Requires {
		if name == other.spec.Name {
			return true
		}
	}
	return false
}

// noteEnd writes and tells of the end of a lease.
func (c *Controller) noteEnd(u *unit, kind Kind, reason string, now time.Duration) {
	r := c.record(u, kind, now)
	r.Who, r.Event, r.Reason = u.who.Who, u.who.EventID, reason
	if len(c.ends) >= maxEnds {
		c.stats.LostEnds++
		c.ends = c.ends[1:]
	}
	c.ends = append(c.ends, r)
	who := u.who
	if now-u.since >= calmAfter {
		who.Hops = 0 // time made it, and what time makes is no storm
	}
	c.tellLocked(Event{Kind: kind, Actuator: u.spec.Name, Reason: reason}.by(&who))
	c.poke()
}

// calmAfter is how long an actuator must have been on for its end to begin a
// new chain of events.
const calmAfter = time.Second

// countLocked adds what the actuator was on to its day.
func (c *Controller) countLocked(u *unit, now time.Duration) {
	u.used.add(c.cfg.Steady(), max(0, now-u.counted))
	u.counted = now
}

// record is a record of the actuator as it is.
func (c *Controller) record(u *unit, kind Kind, now time.Duration) *Record {
	return &Record{
		Kind: kind, Actuator: u.spec.Name, Boot: c.cfg.Boot, At: now.Milliseconds(), Wall: c.cfg.Wall().UTC(), Trust: c.cfg.Trust().String(),
		Used: u.used.record(c.cfg.Steady()), Seqs: u.seqs,
	}
}

// tellLocked has an event wait for being told. Refusals are what anybody can
// cause any number of: they take no more than half of the room.
func (c *Controller) tellLocked(e Event) {
	if e.Kind == Refused && len(c.events) >= maxEvents/2 {
		c.stats.Untold++
		return
	}
	if len(c.events) >= maxEvents {
		c.stats.Untold++
		c.events = c.events[1:]
	}
	c.events = append(c.events, e)
}

// orderLocked sends an order to whoever owns the outlet.
func (c *Controller) orderLocked(u *unit, value float64, until time.Duration) error {
	if u.spec.Unit == nil {
		if value == 0 {
			u.offTold = c.cfg.Now()
		}
		return c.cfg.Device.Move(u.spec.Name, value, max(0, until-c.cfg.Now()))
	}
	c.orders++
	u.order = c.orders
	return c.cfg.Guard.Send(&guard.Order{Seq: c.orders, Unit: u.spec.Name, Value: value, Until: until})
}

// Reported hears what the guard says.
func (c *Controller) Reported(r guard.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Ready {
		c.guarded = true
		for _, u := range c.units {
			if u.spec.Unit != nil && u.fault == "" {
				u.known = true
			}
			u.sureLocked(c.cfg.Now())
			if u.on && fault.On(fault.LeaseSurvives) {
				_ = c.orderLocked(u, 1, u.until)
			}
		}
		return
	}
	u := c.byName[r.Unit]
	if u == nil {
		return
	}
	if r.Off != "" && r.Fault != "" { // its outlet cannot be relied on
		u.known = false
		c.failLocked(u, r.Fault)
		return
	}
	if r.Seq < u.order {
		return // a newer order is on its way
	}
	switch {
	case r.Off == guard.LeaseEnded && u.on:
		c.offLocked(u, TurnedOff, "its lease ended", u.who)
	case r.Off != "" && u.on:
		c.offLocked(u, Interrupted, "the guard switched it off: "+string(r.Off), u.who)
	case r.Fault != "" && u.on:
		c.failLocked(u, r.Fault)
	case r.Fault == "":
		u.known, u.fault = true, ""
		if !u.on {
			u.sureLocked(c.cfg.Now())
		}
	}
}

// sureLocked notes that the outlet is off: not only was it told to be.
func (u *unit) sureLocked(now time.Duration) {
	if u.wasOff && !u.offSure {
		u.offAt, u.offSure = now, true
	}
}

func (c *Controller) failLocked(u *unit, why string) {
	if u.fault != why {
		c.cfg.Logger.Error("actuator", "actuator", u.spec.Name, "error", why)
	}
	if u.on || u.pending != nil {
		c.offLocked(u, Faulted, why, u.who)
	} else if u.fault != why {
		c.stats.Faults++
		c.tellLocked(Event{Kind: Faulted, Actuator: u.spec.Name, Reason: why})
		c.poke()
	}
	u.fault = why
}

// GuardDown hears that the guard is gone; the next one switches everything off
// before it is ready.
func (c *Controller) GuardDown(error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.guarded = false
	for _, u := range c.units {
		if u.spec.Unit == nil {
			continue
		}
		u.known, u.fault = false, ""
		if u.on || u.pending != nil {
			c.offLocked(u, Interrupted, "the guard process was replaced", u.who)
		}
	}
}

// tickLocked does what time brings.
func (c *Controller) tickLocked(now time.Duration) {
	for _, u := range c.units {
		if l := u.pending; l != nil {
			if m := l.move(u); m != nil && m.until <= now {
				c.stats.Expired++
				l.drop(u)
			}
		}
		if !u.on {
			c.watchOff(u, now)
			continue
		}
		if now >= u.until && !fault.On(fault.LeaseIgnored) {
			c.offLocked(u, TurnedOff, "its lease ended", u.who)
			continue
		}
		c.watchOn(u, now)
		c.watchDevice(u, now)
	}
}

// watchOn ends a lease whose sensor does not show what is expected.
func (c *Controller) watchOn(u *unit, now time.Duration) {
	e := u.spec.Expect
	if e == nil {
		return
	}
	v, at, err := c.cfg.Feedback(e.Sensor)
	if err == nil && at >= u.since && e.met(v) {
		u.met, u.metAt = true, max(u.metAt, at)
	}
	if now-u.metAt <= e.Within {
		return
	}
	why := fmt.Sprintf("%s shows %v, not what is expected within %v", e.Sensor, v, e.Within)
	if err != nil {
		why = fmt.Sprintf("%s shows nothing within %v: %v", e.Sensor, e.Within, err)
	}
	if !e.ReportOnly {
		c.offLocked(u, Faulted, why, u.who)
		return
	}
	u.metAt = now // told again after as long
	c.failOnly(u, why)
}

// failOnly tells of a fault that ends nothing.
func (c *Controller) failOnly(u *unit, why string) {
	u.fault = why
	c.stats.Faults++
	c.cfg.Logger.Error("actuator", "actuator", u.spec.Name, "error", why)
	c.tellLocked(Event{Kind: Faulted, Actuator: u.spec.Name, Reason: why})
	c.poke()
}

// watchOff tells of an actuator whose sensor shows that it is on although it
// is off: a valve that hangs. Another one that is on may share the sensor.
func (c *Controller) watchOff(u *unit, now time.Duration) {
	e := u.spec.Expect
	if e == nil || !u.wasOff || now-u.offAt < e.Within {
		return
	}
	for _, other := range c.units {
		shares := other != u && other.spec.Expect != nil && other.spec.Expect.Sensor == e.Sensor
		if shares && (other.on || other.wasOff && other.offAt > u.offAt) {
			u.flowing = 0
			return
		}
	}
	v, at, err := c.cfg.Feedback(e.Sensor)
	switch {
	case err != nil || at < u.offAt+e.Within || !e.met(v):
		u.flowing = 0
	case u.flowing == 0:
		u.flowing = now
		c.failOnly(u, fmt.Sprintf("it is off, and %s still shows %v", e.Sensor, v))
	}
}
