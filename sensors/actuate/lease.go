package actuate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
)

// ErrChanged is returned by Reserve where an answer that Ask gave does not hold
// any more: the invocation has to be asked again what it wants.
var ErrChanged = errors.New("what was answered about an actuator has changed")

// Lease is what an invocation reserved. One of Commit and Cancel must follow;
// both may be called again.
type Lease struct {
	c *Controller
	l *lease
}

// lease is what is reserved until it is on, or until that is given up.
type lease struct {
	who   Asker
	moves []*move
	done  func(error) // hears how it ended; may be nil
	err   error
}

// move is one actuator of a lease.
type move struct {
	u     *unit
	value float64
	until time.Duration
	live  bool
	// noted is true once the ledger speaks of it.
	noted bool
}

// move is the lease's part about u.
func (l *lease) move(u *unit) *move {
	for _, m := range l.moves {
		if m.u == u && m.live {
			return m
		}
	}
	return nil
}

// Ask answers what would be granted now: until when, or why not. It reserves
// nothing. earlier is what the same invocation has asked for.
func (c *Controller) Ask(who *Asker, earlier []function.Actuation, a *function.Actuation) (until time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.byName[a.Actuator]
	if u == nil {
		return 0, c.refusedLocked(who, refuse(a.Actuator, CodeUnknown, noSuch))
	}
	if a.Value == 0 {
		return 0, nil
	}
	p := plan{c: c, now: c.cfg.Now(), earlier: earlier}
	until, r := c.admit(&p, u, a, who)
	if r != nil {
		return 0, c.refusedLocked(who, r)
	}
	return until, nil
}

// Now is the time that leases are counted in.
func (c *Controller) Now() time.Duration { return c.cfg.Now() }

func (c *Controller) refusedLocked(who *Asker, r *Refusal) error {
	c.stats.Refused++
	if r.Code != CodeUnknown && !who.Muted {
		c.tellLocked(Event{Kind: Refused, Actuator: r.Actuator, Reason: string(r.Code) + ": " + r.Reason}.by(who))
		c.poke()
	}
	return r
}

// Reserve follows an invocation that went well: what it switched off is
// switched off, and what it may switch on is kept for it until the Lease's
// Commit or Cancel.
func (c *Controller) Reserve(who Asker, asked []function.Actuation) (*Lease, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := lastOf(asked)
	for _, a := range last {
		if u := c.byName[a.Actuator]; u != nil && a.Value == 0 {
			c.offLocked(u, TurnedOff, "switched off by "+who.Who, who)
		}
	}
	c.poke()
	l := &lease{who: who}
	p := plan{c: c, now: c.cfg.Now()}
	for i, a := range last {
		if a.Value == 0 {
			continue
		}
		u := c.byName[a.Actuator]
		if u == nil {
			return nil, ErrChanged
		}
		again := a
		again.Lease = a.Until - p.now
		if again.Lease <= 0 {
			return nil, ErrChanged
		}
		if until, r := c.admit(&p, u, &again, &who); r != nil || until < a.Until {
			return nil, fmt.Errorf("%w: %w", ErrChanged, orShorter(r, a.Actuator))
		}
		p.earlier = append(p.earlier, last[i])
		l.moves = append(l.moves, &move{u: u, value: a.Value, until: a.Until, live: true})
	}
	if len(l.moves) == 0 {
		return nil, nil
	}
	c.holdLocked(l)
	return &Lease{c, l}, nil
}

func orShorter(r *Refusal, name string) error {
	if r == nil {
		return fmt.Errorf("actuator %s: less is granted now", name)
	}
	return r
}

// lastOf are the last words about each actuator, in order.
func lastOf(asked []function.Actuation) []function.Actuation {
	var out []function.Actuation
	for i, a := range asked {
		later := false
		for _, b := range asked[i+1:] {
			later = later || b.Actuator == a.Actuator
		}
		if !later {
			out = append(out, a)
		}
	}
	return out
}

// holdLocked makes l the pending lease of its actuators; one that was pending
// before is given up for it.
func (c *Controller) holdLocked(l *lease) {
	for _, m := range l.moves {
		if old := m.u.pending; old != nil {
			old.drop(m.u)
		}
		m.u.pending = l
	}
}

// drop gives up the lease's part about u.
func (l *lease) drop(u *unit) {
	if m := l.move(u); m != nil {
		m.live = false
	}
	if u.pending == l {
		u.pending = nil
	}
}

// Commit has the lease begin: first in the ledger, then at the outlets.
func (l *Lease) Commit() {
	if l == nil {
		return
	}
	l.c.mu.Lock()
	l.c.enqueueLocked(l.l)
	l.c.mu.Unlock()
	l.c.poke()
}

// Cancel gives it up.
func (l *Lease) Cancel() {
	if l == nil {
		return
	}
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	for _, m := range l.l.moves {
		l.l.drop(m.u)
	}
}

// noSuch is said of names that nobody has.
const noSuch = "the gateway has no such actuator: 'headgate actuator list' shows which there are"

// Command is what an operator or a device asks for.
type Command struct {
	Who      string
	EventID  string
	Actuator string
	Value    float64
	Lease    time.Duration
	Retained bool
	// Expires is when it is stale; zero is never. Source and Seq, where they are
	// set, number the commands of one source: an older number moves nothing.
	Expires time.Time
	Source  string
	Seq     uint64
}

// Do follows a command and waits until the actuator is what was asked for, or
// the command was refused. It returns until when the lease runs.
func (c *Controller) Do(ctx context.Context, cmd *Command) (until time.Duration, err error) {
	done := make(chan error, 1)
	until, err = c.Start(cmd, func(err error) { done <- err })
	if err != nil || until == 0 {
		return 0, err
	}
	select {
	case err := <-done:
		return until, err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Start is Do without waiting: done, which may be nil, hears how it ended. Off
// has happened when Start returns.
func (c *Controller) Start(cmd *Command, done func(error)) (until time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	who := Asker{Who: cmd.Who, EventID: cmd.EventID, Retained: cmd.Retained}
	u := c.byName[cmd.Actuator]
	if u == nil {
		return 0, c.refusedLocked(&who, refuse(cmd.Actuator, CodeUnknown, noSuch))
	}
	if r := c.fresh(u, cmd); r != nil {
		return 0, c.refusedLocked(&who, r)
	}
	defer c.poke()
	if cmd.Value == 0 {
		c.noteSeq(u, cmd)
		c.offLocked(u, TurnedOff, "switched off by "+cmd.Who, who)
		return 0, nil
	}
	p := plan{c: c, now: c.cfg.Now()}
	a := function.Actuation{Actuator: cmd.Actuator, Value: cmd.Value, Lease: cmd.Lease}
	until, r := c.admit(&p, u, &a, &who)
	if r != nil {
		return 0, c.refusedLocked(&who, r)
	}
	c.noteSeq(u, cmd)
	l := &lease{who: who, done: done, moves: []*move{{u: u, value: cmd.Value, until: until, live: true}}}
	c.holdLocked(l)
	c.enqueueLocked(l)
	return until, nil
}

// enqueueLocked has l wait for the ledger. Those that wait there already and
// were given up for newer ones leave: of those that live there are no more than
// actuators, however slow the disk is.
func (c *Controller) enqueueLocked(l *lease) {
	if len(c.jobs) >= 2*len(c.units) {
		c.jobs = slices.DeleteFunc(c.jobs, func(old *lease) bool {
			dead := !slices.ContainsFunc(old.moves, func(m *move) bool { return m.live })
			if dead {
				c.moveLocked(old, nil) // it moves nothing, and says so
			}
			return dead
		})
	}
	c.jobs = append(c.jobs, l)
}

// Refuse tells of a command that was not understood.
func (c *Controller) Refuse(e Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Refused++
	c.tellLocked(e)
	c.poke()
}

// fresh refuses a command that comes too late, or again.
func (c *Controller) fresh(u *unit, cmd *Command) *Refusal {
	switch {
	case cmd.Retained:
		return refuse(cmd.Actuator, CodeRetained, "a retained command moves nothing")
	case !cmd.Expires.IsZero() && !c.cfg.Wall().Before(cmd.Expires):
		return refuse(cmd.Actuator, CodeStale, "the command expired at %s", cmd.Expires.UTC().Format(time.RFC3339))
	case cmd.Seq > 0 && cmd.Seq <= u.seqs.newest(cmd.Source):
		return refuse(cmd.Actuator, CodeStale, "command %d of %s came after command %d", cmd.Seq, cmd.Source, u.seqs.newest(cmd.Source))
	}
	return nil
}

func (c *Controller) noteSeq(u *unit, cmd *Command) {
	if cmd.Seq > 0 {
		u.seqs = u.seqs.note(cmd.Source, cmd.Seq)
	}
}

// beginLocked is the record of a move that is about to happen; nil where it may
// not any more.
func (c *Controller) beginLocked(l *lease, m *move) *Record {
	now := c.cfg.Now()
	if !m.live || m.u.pending != l {
		return nil
	}
	if m.until <= now {
		c.stats.Expired++
		l.drop(m.u)
		return nil
	}
	kind := TurnedOn
	if m.u.on {
		kind = Renewed
	}
	m.noted = true
	r := c.record(m.u, kind, now)
	r.Who, r.Event, r.Value, r.Reason = l.who.Who, l.who.EventID, m.value, ""
	r.Until, r.Since = m.until.Milliseconds(), now.Milliseconds()
	if m.u.on {
		r.Since = m.u.since.Milliseconds()
	}
	return r
}

// moveLocked moves what the ledger speaks of by now, or gives it up with err.
func (c *Controller) moveLocked(l *lease, err error) {
	for _, m := range l.moves {
		u := m.u
		if !m.live || u.pending != l { // switched off meanwhile
			if m.noted && err == nil && !u.on {
				c.noteEnd(u, Interrupted, "it was switched off before it began", c.cfg.Now())
			}
			l.err = errors.Join(l.err, refuse(u.spec.Name, CodeStale, "it was switched off, or its lease ended, before it could begin"))
			continue
		}
		l.drop(u)
		if err != nil && !fault.On(fault.OnBeforeLedger) {
			l.err = errors.Join(l.err, refuse(u.spec.Name, CodeUnavailable, "%v", err))
			c.tellLocked(Event{Kind: Refused, Actuator: u.spec.Name, Reason: err.Error()}.by(&l.who))
			continue
		}
		if err := c.startLocked(l, m); err != nil {
			l.err = errors.Join(l.err, err)
		}
	}
	if l.done != nil {
		l.done(l.err)
	}
}

// startLocked switches one actuator on, or keeps it on for longer.
func (c *Controller) startLocked(l *lease, m *move) error {
	u, now := m.u, c.cfg.Now()
	if m.until <= now {
		c.stats.Expired++
		if !u.on {
			c.noteEnd(u, Interrupted, "its lease ended while the ledger was written", now)
		}
		return refuse(u.spec.Name, CodeStale, "its lease ended while the ledger was written")
	}
	for _, name := range u.spec.Requires {
		r := c.byName[name]
		if fault.On(fault.RequiresIgnored) {
			break
		}
		if !r.on {
			c.offLocked(u, TurnedOff, name+", which it requires, is off", l.who)
			return refuse(u.spec.Name, CodeRequires, "%s is off", name)
		}
		m.until = min(m.until, r.until) // it may have been shortened
	}
	kind := TurnedOn
	if u.on {
		kind = Renewed
		c.countLocked(u, now)
	} else {
		u.since, u.counted, u.met, u.metAt = now, now, false, now
	}
	u.on, u.value, u.until, u.who = true, m.value, m.until, l.who.later()
	u.told = false
	if err := c.orderLocked(u, m.value, m.until); err != nil {
		c.offLocked(u, Faulted, err.Error(), l.who)
		return refuse(u.spec.Name, CodeUnavailable, "%v", err)
	}
	c.shortenLocked(u)
	c.stats.Granted++
	c.tellLocked(Event{Kind: kind, Actuator: u.spec.Name, Value: u.value, Lease: u.until - now, Until: u.until}.by(&l.who))
	return nil
}

// shortenLocked ends what requires u no later than u, whose lease may have
// become shorter.
func (c *Controller) shortenLocked(u *unit) {
	for _, other := range c.units {
		if !other.on || other.until <= u.until || !other.requires(u) || fault.On(fault.RequiresIgnored) {
			continue
		}
		other.until = u.until
		if err := c.orderLocked(other, other.value, other.until); err != nil {
			c.offLocked(other, Faulted, err.Error(), other.who)
			continue
		}
		c.shortenLocked(other)
	}
}
