package actuate

import (
	"fmt"
	"time"
)

// offAgainAfter is how long a device may say that it is on after it was told to
// be off, before it is told again.
const offAgainAfter = 5 * time.Second

// Heard takes what a remote device says of itself.
func (c *Controller) Heard(name string, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.byName[name]
	if u == nil || u.spec.Remote == nil {
		return
	}
	u.heardOf = c.cfg.Now()
	said := "off"
	if on {
		said = "on"
	}
	changed := u.reported != said
	u.reported = said
	if !on || u.on || !changed && u.heardOf-u.offTold < offAgainAfter {
		return
	}
	// Somebody else switched it on, or it has not heard of the end: it has no
	// lease.
	if why := "the device says that it is on, without a lease: it is told to be off"; changed || u.fault != why {
		c.failOnly(u, why)
	}
	if err := c.orderLocked(u, 0, 0); err != nil {
		c.cfg.Logger.Error("switch off", "actuator", name, "error", err)
	}
}

// watchDevice ends a lease whose device does not say that it is on.
func (c *Controller) watchDevice(u *unit, now time.Duration) {
	r := u.spec.Remote
	if r == nil || r.ConfirmWithin == 0 || now-u.since < r.ConfirmWithin || u.told {
		return
	}
	if u.heardOf >= u.since && u.reported == "on" {
		u.told = true
		return
	}
	c.offLocked(u, Faulted, fmt.Sprintf("the device did not say within %v that it is on", r.ConfirmWithin), u.who)
}

// Status is every actuator as it is now, in the order of the configuration.
func (c *Controller) Status() []Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	out := make([]Status, len(c.units))
	for i, u := range c.units {
		s := &out[i]
		*s = Status{Name: u.spec.Name, State: Off, Fault: u.fault, Reported: u.reported, UsedToday: u.used.used(c.cfg.Steady())}
		switch {
		case u.on:
			s.State, s.Value, s.Since, s.Left, s.Who = On, u.value, now-u.since, max(0, u.until-now), u.who.Who
			s.UsedToday += max(0, now-u.counted)
		case !u.known:
			s.State = Unknown
		}
		if e := u.spec.Expect; e != nil {
			s.Feedback = c.feedback(e, now)
		}
	}
	return out
}

func (c *Controller) feedback(e *Expect, now time.Duration) string {
	v, at, err := c.cfg.Feedback(e.Sensor)
	if err != nil {
		return fmt.Sprintf("%s: %v", e.Sensor, err)
	}
	return fmt.Sprintf("%s: %v, %v ago", e.Sensor, v, (now - at).Round(time.Second))
}
