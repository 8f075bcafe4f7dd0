package actuate

import (
	"math"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
)

// plan is what an invocation has asked for so far, over what is.
type plan struct {
	c       *Controller
	now     time.Duration
	earlier []function.Actuation
}

// of is what an actuator would be: on, since and until when.
func (p *plan) of(u *unit) (on bool, since, until time.Duration) {
	on, since, until = u.holds(p.now)
	for i := range p.earlier {
		if e := &p.earlier[i]; e.Actuator == u.spec.Name {
			if e.Value == 0 {
				on = false
				continue
			}
			if !on {
				since = p.now
			}
			on, until = true, e.Until
		}
	}
	return on, since, until
}

// holds reports whether the actuator is on or about to be.
func (u *unit) holds(now time.Duration) (on bool, since, until time.Duration) {
	on, since, until = u.on, u.since, u.until
	if u.pending != nil {
		if m := u.pending.move(u); m != nil && m.until > now {
			if !on {
				since = now
			}
			on, until = true, max(until, m.until)
		}
	}
	return on, since, until
}

// admit decides about an actuator that is to come or to stay on: until when it
// may, or why not.
func (c *Controller) admit(p *plan, u *unit, a *function.Actuation, who *Asker) (until time.Duration, r *Refusal) {
	s, now := u.spec, p.now
	switch {
	case c.closed:
		return 0, refuse(s.Name, CodeUnavailable, "the gateway stops")
	case who.Retained:
		return 0, refuse(s.Name, CodeRetained, "what a stored retained message causes moves nothing")
	case who.Age > s.StaleAfter:
		return 0, refuse(s.Name, CodeStale, "the event is %v old, over stale_after of %v", who.Age.Round(time.Second), s.StaleAfter)
	case c.ledgerFault != "" && !fault.On(fault.OnBeforeLedger):
		return 0, refuse(s.Name, CodeUnavailable, "the safety ledger cannot be written: %s", c.ledgerFault)
	case s.Unit != nil && !c.guarded:
		return 0, refuse(s.Name, CodeUnavailable, "the guard process is not ready")
	case !u.known:
		return 0, refuse(s.Name, CodeUnavailable, "nobody knows what it is: %s", u.fault)
	case !(a.Value >= 0 && a.Value <= 1): // NaN is none of them
		return 0, refuse(s.Name, CodeInvalid, "it cannot be set to %v", a.Value)
	case !s.Dimmable && a.Value != 1:
		return 0, refuse(s.Name, CodeInvalid, "it cannot be set to %v: it is a switch, on or off", a.Value)
	case a.Lease < 0:
		return 0, refuse(s.Name, CodeInvalid, "a lease of %v", a.Lease)
	}
	for i := range p.earlier {
		if e := &p.earlier[i]; e.Actuator == s.Name && e.Value == 0 {
			return 0, refuse(s.Name, CodeInvalid, "the same invocation switched it off before")
		}
	}
	lease := a.Lease
	if lease == 0 {
		lease = s.DefaultLease
	}
	on, since, _ := p.of(u)
	if !on {
		since = now
		off := now - u.offAt
		if !u.offSure {
			off = 0
		}
		if u.wasOff && off < s.MinOff {
			return 0, refuse(s.Name, CodeMinOff, "it is off for %v and has to be for %v", off.Round(time.Second), s.MinOff)
		}
	}
	until = now + min(lease, math.MaxInt64-now) // a duration ends after 292 years
	if last := since + s.MaxOn; until > last && !fault.On(fault.MaxOnIgnored) {
		until = last
		if until <= now {
			return 0, refuse(s.Name, CodeMaxOn, "it is on for %v, the longest that it may", s.MaxOn)
		}
	}
	if until, r = c.admitDay(u, now, until); r != nil {
		return 0, r
	}
	return c.interlocks(p, u, until)
}

// admitDay cuts a lease to what is left of the day's time.
func (c *Controller) admitDay(u *unit, now, until time.Duration) (time.Duration, *Refusal) {
	s := u.spec
	if s.MaxPerDay == 0 {
		return until, nil
	}
	used := u.used.used(c.cfg.Steady())
	if u.on {
		used += max(0, now-u.counted)
	}
	left := s.MaxPerDay - used
	if left <= 0 {
		return 0, refuse(s.Name, CodeMaxPerDay, "it was on for %v in the last 24 h, of %v", used.Round(time.Second), s.MaxPerDay)
	}
	return min(until, now+left), nil
}

// interlocks asks the other actuators.
func (c *Controller) interlocks(p *plan, u *unit, until time.Duration) (time.Duration, *Refusal) {
	s := u.spec
	for _, name := range s.Requires {
		if fault.On(fault.RequiresIgnored) {
			break
		}
		on, _, end := p.of(c.byName[name])
		if !on || end <= p.now {
			return 0, refuse(s.Name, CodeRequires, "%s is off", name)
		}
		until = min(until, end)
	}
	if s.Exclusive == "" || fault.On(fault.ExclusiveIgnored) {
		return until, nil
	}
	for _, other := range c.units {
		if other == u || other.spec.Exclusive != s.Exclusive {
			continue
		}
		if on, _, _ := p.of(other); on {
			return 0, refuse(s.Name, CodeExclusive, "%s is on, and only one of %s may be", other.spec.Name, s.Exclusive)
		}
		if !other.known {
			return 0, refuse(s.Name, CodeExclusive, "%s may be on: nobody knows, and only one of %s may be", other.spec.Name, s.Exclusive)
		}
	}
	return until, nil
}
