package guard

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// Line is one output.
type Line interface {
	// Set drives it: 0 is off, 1 is on, between is a fraction of the time.
	Set(value float64) error
	Close() error
}

// Lines are the outputs of a unit. Shut is set for latching valves alone.
type Lines struct{ Main, Shut Line }

// Keeper holds the ends of leases. It is used by one goroutine; times are
// those since the start of the machine.
type Keeper struct {
	units  []*unit
	byName map[string]*unit
	heard  time.Duration
	silent bool
}

type unit struct {
	Unit
	lines Lines
	on    bool
	// since is when it was switched on, until when it is to be off again.
	since, until time.Duration
	seq          uint64
	// pulsing is the line whose pulse ends at pulseEnd.
	pulsing  Line
	pulseEnd time.Duration
	// unsafe is true while the outlet refuses to be switched off.
	unsafe bool
}

// retryEvery is how often an outlet is tried again that refused to be switched
// off, and how often a clock that counts the machine's sleep is looked at.
const retryEvery = 100 * time.Millisecond

// NewKeeper returns a keeper that owns nothing yet.
func NewKeeper(now time.Duration) *Keeper {
	return &Keeper{byName: map[string]*unit{}, heard: now}
}

// Add takes a unit over and switches it off. A fault that it reports is tried
// again by Tick.
func (k *Keeper) Add(now time.Duration, spec *Unit, lines Lines) []Report {
	u := &unit{Unit: *spec, lines: lines}
	k.units = append(k.units, u)
	k.byName[u.Name] = u
	if err := u.off(now); err != nil {
		return []Report{{Unit: u.Name, Off: Broken, Fault: err.Error()}}
	}
	return nil
}

// Obey follows one order.
func (k *Keeper) Obey(now time.Duration, o *Order) []Report {
	out := k.Tick(now) // what is due comes before what is new
	k.heard, k.silent = now, false
	if o.Unit == "" {
		return append(out, Report{}) // alive
	}
	u := k.byName[o.Unit]
	if u == nil {
		return append(out, Report{Unit: o.Unit, Seq: o.Seq, Fault: "the guard has no such actuator"})
	}
	r := Report{Unit: u.Name, Seq: o.Seq}
	switch {
	case o.Seq <= u.seq:
		r.Fault = fmt.Sprintf("order %d came after order %d", o.Seq, u.seq)
	case o.Value == 0:
		u.seq = o.Seq
		if err := u.off(now); err != nil {
			r.Fault, r.Off = err.Error(), Broken
		}
	default:
		u.seq = o.Seq
		if err := k.on(now, u, o); err != nil {
			r.Fault = err.Error()
			if !u.on {
				r.Off = Broken
			}
		}
	}
	return append(out, r)
}

// on switches on until the end of the lease, or says why not.
func (k *Keeper) on(now time.Duration, u *unit, o *Order) error {
	since := u.since
	if !u.on {
		since = now
	}
	until := o.Until
	if last := since + u.MaxOn; until > last && !fault.On(fault.MaxOnIgnored) {
		until = last
	}
	if until <= now {
		return fmt.Errorf("its lease ended %v ago", now-until)
	}
	if other := k.rival(u); other != nil {
		return fmt.Errorf("%s of the same group is on", other.Name)
	}
	if u.on && u.Pulse > 0 {
		u.until = until // it is open, and a pulse more would only heat its coil
		return nil
	}
	if err := u.drive(now, u.lines.Main, o.Value); err != nil {
		return fmt.Errorf("%w%s", err, alsoOff(u.off(now)))
	}
	u.on, u.since, u.until = true, since, until
	return nil
}

func alsoOff(err error) string {
	if err == nil {
		return ""
	}
	return "; and switching it off: " + err.Error()
}

// rival is the unit of the same group that is on.
func (k *Keeper) rival(u *unit) *unit {
	if u.Group == "" || fault.On(fault.ExclusiveIgnored) {
		return nil
	}
	for _, other := range k.units {
		if other != u && other.Group == u.Group && (other.on || other.unsafe) {
			return other
		}
	}
	return nil
}

// Tick does what time brings: the ends of leases and pulses, and silence.
func (k *Keeper) Tick(now time.Duration) []Report {
	var out []Report
	if now-k.heard >= Silence && !k.silent && !fault.On(fault.SilenceIgnored) {
		k.silent = true
		out = k.Release(now, Silent)
	}
	for _, u := range k.units {
		if u.pulsing != nil && now >= u.pulseEnd {
			if err := u.endPulse(); err != nil {
				out = append(out, Report{Unit: u.Name, Seq: u.seq, Fault: err.Error()})
			}
		}
		switch {
		case u.on && now >= u.until && !fault.On(fault.LeaseIgnored):
			out = append(out, k.release(now, u, LeaseEnded))
		case u.unsafe:
			_ = u.off(now) // it was reported when it failed first
		}
	}
	return out
}

// Release switches everything off that is on.
func (k *Keeper) Release(now time.Duration, why Reason) []Report {
	var out []Report
	for _, u := range k.units {
		if u.on {
			out = append(out, k.release(now, u, why))
		}
	}
	return out
}

func (k *Keeper) release(now time.Duration, u *unit, why Reason) Report {
	r := Report{Unit: u.Name, Seq: u.seq, Off: why}
	if err := u.off(now); err != nil {
		r.Fault = err.Error()
	}
	return r
}

// Next is how long nothing is to be done.
func (k *Keeper) Next(now time.Duration) time.Duration {
	wait := k.heard + Silence - now
	if k.silent {
		wait = Silence
	}
	for _, u := range k.units {
		if u.on {
			wait = min(wait, u.until-now, retryEvery)
		}
		if u.unsafe {
			wait = min(wait, retryEvery)
		}
		if u.pulsing != nil {
			wait = min(wait, u.pulseEnd-now)
		}
	}
	return max(wait, time.Millisecond)
}

// Finish switches everything off, waits for the last pulse and lets go of the
// outlets.
func (k *Keeper) Finish(now func() time.Duration, why Reason) []Report {
	out := k.Release(now(), why)
	for _, u := range k.units {
		if u.pulsing != nil {
			time.Sleep(max(0, u.pulseEnd-now()))
			_ = u.endPulse()
		}
		_ = u.lines.Main.Close()
		if u.lines.Shut != nil {
			_ = u.lines.Shut.Close()
		}
	}
	return out
}

// off switches the unit off; where its outlet refuses it is tried again by
// Tick.
func (u *unit) off(now time.Duration) error {
	u.on = false
	line, value := u.lines.Main, 0.0
	if u.Pulse > 0 {
		line, value = u.lines.Shut, 1
	}
	err := u.drive(now, line, value)
	u.unsafe = err != nil
	return err
}

// drive sets a line, or starts its pulse.
func (u *unit) drive(now time.Duration, line Line, value float64) error {
	if u.Pulse == 0 {
		return line.Set(value)
	}
	if err := u.endPulse(); err != nil { // never both coils at once
		return err
	}
	if err := line.Set(1); err != nil {
		return err
	}
	u.pulsing, u.pulseEnd = line, now+u.Pulse
	return nil
}

func (u *unit) endPulse() error {
	if u.pulsing == nil {
		return nil
	}
	if err := u.pulsing.Set(0); err != nil {
		return err
	}
	u.pulsing = nil
	return nil
}
