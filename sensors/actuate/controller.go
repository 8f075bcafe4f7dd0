package actuate

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// Guard takes orders for the units it owns. It does not wait: what comes of an
// order is told by Reported.
type Guard interface{ Send(o *guard.Order) error }

// Device sends a command to a remote actuator. It does not wait for the device.
type Device interface {
	Move(name string, value float64, lease time.Duration) error
}

// Feedback is the newest value of a sensor that can be relied on, and when it
// was read, in time since the start of the machine; or why there is none.
type Feedback func(sensor string) (value float64, at time.Duration, err error)

// Journal keeps records. *Ledger is one.
type Journal interface {
	// Last is the newest record of each actuator.
	Last() (map[string]Record, error)
	// Append returns when the records are on disk.
	Append(records ...*Record) error
	Close() error
}

var _ Journal = (*Ledger)(nil)

// Config configures a Controller.
type Config struct {
	Actuators []Spec
	Ledger    Journal
	Guard     Guard
	Device    Device
	Feedback  Feedback
	// Now is the time since the start of the machine that Boot names. Steady is
	// the scale of what outlives it, Wall and Trust are the wall clock's.
	Now    func() time.Duration
	Boot   string
	Steady func() time.Time
	Wall   func() time.Time
	Trust  func() event.Trust
	// Tell hears of events, in order, on the controller's own goroutine.
	Tell   func(Event)
	Logger *slog.Logger
}

// Controller decides what may be on, and ends it. Its methods are safe for
// concurrent use and do not wait for disks and devices, but Do.
type Controller struct {
	cfg Config

	mu     sync.Mutex
	units  []*unit
	byName map[string]*unit
	orders uint64
	// jobs are leases whose invocations have committed; ends and events wait to
	// be written and told.
	jobs   []*lease
	ends   []*Record
	events []Event
	wake   chan struct{}
	// guarded is true while the guard is there, ledgerFault what is wrong with
	// the ledger.
	guarded     bool
	ledgerFault string
	probed      time.Duration // when the ledger was tried last that did not work
	// resumed is true once the ledger was read; Run's goroutine asks alone.
	resumed bool
	closed  bool
	stats   Stats
}

// Stats are counters since the start, and what is so now.
type Stats struct {
	On       int
	Granted  uint64
	Refused  uint64
	Faults   uint64
	Expired  uint64 // granted, but over before anything could move
	Records  uint64 // of the ledger
	LostEnds uint64 // ends of leases that were not written: too many waited
	Untold   uint64 // events that were not told: too many waited
}

// unit is one actuator.
type unit struct {
	spec *Spec
	// on is what was ordered; known is false while nobody can say.
	on, known bool
	value     float64
	since     time.Duration
	until     time.Duration
	counted   time.Duration // on time is in used up to here
	offAt     time.Duration
	wasOff    bool // offAt says something
	offSure   bool // the outlet was seen to be off, and when is offAt
	who       Asker
	// pending is the lease that waits for its invocation to commit, or for the
	// ledger.
	pending *lease
	order   uint64 // the newest
	told    bool   // that it is on
	fault   string
	used    window
	seqs    sequence

	metAt    time.Duration // when the sensor last showed what is expected
	met      bool          // it did since it came on
	flowing  time.Duration // since when it shows it although the actuator is off
	reported string
	heardOf  time.Duration // the device's last report
	offTold  time.Duration // when it was last told to be off
}

// Asker is who asks for something.
type Asker struct {
	// Who is a function as name@version, an operator or a device. Function is
	// the name of the first.
	Who, Function string
	EventID       string
	// Age is how old the event is that leads to it, Retained true where a stored
	// retained message does, Hops how many events led to each other until here.
	Age      time.Duration
	Retained bool
	// Hops is the length of the chain of events that leads to it.
	Hops int
	// Muted is true of a question that moves nothing: its refusal is not told of.
	Muted bool
}

// later is who asked, when something happens later on that the asking alone did
// not bring about.
func (a Asker) later() Asker {
	a.Age, a.Retained = 0, false
	return a
}

// A record that only shows that the ledger can be written, under a name that no
// actuator has, and how often it is tried while it cannot.
const (
	probed     Kind = "probe"
	probeName       = "."
	probeEvery      = 2 * time.Second
)

// IsProbe reports whether a record says nothing about an actuator.
func IsProbe(r *Record) bool { return r.Kind == probed }

// Bounds of what waits for the controller's own goroutine.
const (
	maxEnds   = 4096
	maxEvents = 4096
)

// New takes up what the ledger knows: leases of an earlier run are over. Run
// must follow.
func New(cfg Config) *Controller {
	c := &Controller{cfg: cfg, byName: map[string]*unit{}, wake: make(chan struct{}, 1)}
	for i := range cfg.Actuators {
		u := &unit{spec: &cfg.Actuators[i]}
		c.units = append(c.units, u)
		c.byName[u.spec.Name] = u
	}
	if err := c.resumeAll(); err != nil {
		c.ledgerFault = err.Error()
		cfg.Logger.Error("nothing can be switched on: the safety ledger cannot be read", "error", err)
	}
	return c
}

// resumeAll takes up what the ledger knows.
func (c *Controller) resumeAll() error {
	last, err := c.cfg.Ledger.Last()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.resumed = true
	for _, u := range c.units {
		if r, ok := last[u.spec.Name]; ok {
			c.resume(u, &r)
		}
	}
	return nil
}

// resume takes up what the ledger knows of an actuator.
func (c *Controller) resume(u *unit, r *Record) {
	now := c.cfg.Now()
	u.used.load(r.Used)
	u.seqs = r.Seqs
	// It was off at the start of the machine, at the latest; or since the guard
	// was started again.
	u.wasOff, u.offSure, u.offAt = true, true, 0
	if r.Boot == c.cfg.Boot {
		u.offAt = now
	}
	if r.Kind != TurnedOn && r.Kind != Renewed {
		return
	}
	if fault.On(fault.LeaseSurvives) {
		u.on, u.known, u.until = true, true, now+time.Duration(r.Until-r.At)*time.Millisecond
		return
	}
	// How long it was on is not known: all of its lease counts.
	u.used.add(c.cfg.Steady(), time.Duration(r.Until-max(r.At, r.Since))*time.Millisecond)
	u.who = Asker{Who: r.Who, EventID: r.Event}
	c.noteEnd(u, Interrupted, "the gateway was started again", now)
}

// Run works until ctx ends: it writes, moves, ends leases and tells. Then
// everything is switched off.
func (c *Controller) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			c.Stop("the gateway stops")
			c.work()
			return c.cfg.Ledger.Close()
		case <-timer.C:
		case <-c.wake:
		}
		timer.Reset(c.Step())
	}
}

// Step does what there is to do now, and returns when to call it again at the
// latest. Run calls it.
func (c *Controller) Step() time.Duration {
	c.mu.Lock()
	c.settleRemoteLocked()
	c.tickLocked(c.cfg.Now())
	// The guard hears that whoever decides still does.
	if err := c.cfg.Guard.Send(&guard.Order{}); err != nil && !errors.Is(err, guard.ErrDown) {
		c.cfg.Logger.Warn("the guard of the actuators does not listen", "error", err)
	}
	c.mu.Unlock()
	c.work()
	c.mu.Lock()
	defer c.mu.Unlock()
	wait, now := guard.BeatEvery, c.cfg.Now()
	for _, u := range c.units {
		if u.on {
			wait = min(wait, u.until-now)
		}
	}
	return max(wait, time.Millisecond)
}

// poke has Run do at once what waits.
func (c *Controller) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// settleRemoteLocked tells remote devices, whose state nobody knows after a
// restart, to be off.
func (c *Controller) settleRemoteLocked() {
	for _, u := range c.units {
		if u.spec.Unit != nil || u.known {
			continue
		}
		if err := c.orderLocked(u, 0, 0); err != nil {
			u.fault = err.Error()
			continue
		}
		u.known, u.fault = true, ""
	}
}

// work writes to the ledger what waits for it, moves what that lets move, and
// tells of it.
func (c *Controller) work() {
	for {
		c.mu.Lock()
		jobs, ends, events := c.jobs, c.ends, c.events
		c.jobs, c.ends, c.events = nil, nil, nil
		records := ends
		for _, l := range jobs {
			for _, m := range l.moves {
				if r := c.beginLocked(l, m); r != nil {
					records = append(records, r)
				}
			}
		}
		if len(records) == 0 && c.ledgerFault != "" && c.cfg.Now()-c.probed >= probeEvery {
			// Nothing is granted, and so nothing written, until it works again.
			c.probed = c.cfg.Now()
			records = []*Record{{Kind: probed, Actuator: probeName, Boot: c.cfg.Boot}}
		}
		c.mu.Unlock()
		var err error
		if len(records) > 0 {
			err = c.cfg.Ledger.Append(records...)
		}
		if err == nil && len(records) > 0 && !c.resumed { // it could not be read at the start
			err = c.resumeAll()
		}
		c.mu.Lock()
		c.wroteLocked(len(records), err)
		if err != nil {
			// The ends are written when it works again.
			c.ends = append(ends[:min(len(ends), maxEnds-len(c.ends))], c.ends...)
		}
		for _, l := range jobs {
			c.moveLocked(l, err)
		}
		c.mu.Unlock()
		for _, e := range events {
			c.cfg.Tell(e)
		}
		if len(jobs)+len(events) == 0 {
			return
		}
	}
}

func (c *Controller) wroteLocked(n int, err error) {
	switch {
	case n == 0:
		return
	case err == nil:
		c.stats.Records += uint64(n)
		c.ledgerFault = ""
	default:
		if c.ledgerFault == "" {
			c.cfg.Logger.Error("nothing can be switched on: the safety ledger cannot be written", "error", err)
		}
		c.ledgerFault = err.Error()
	}
}

// Stop switches everything off, and nothing on any more.
func (c *Controller) Stop(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, u := range c.units {
		if u.on || u.pending != nil {
			c.offLocked(u, Interrupted, reason, u.who)
		}
	}
}

// Removed ends the leases of a function that is gone.
func (c *Controller) Removed(function string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range c.units {
		held := u.on && u.who.Function == function || u.pending != nil && u.pending.who.Function == function
		if held {
			c.offLocked(u, Interrupted, "function "+function+" was removed", u.who)
		}
	}
	c.poke()
}

// Leases are how many actuators are on, and how long the longest of their
// leases still runs.
func (c *Controller) Leases() (n int, longest time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.cfg.Now()
	for _, u := range c.units {
		if u.on {
			n++
			longest = max(longest, u.until-now)
		}
	}
	return n, longest
}

// Names are the actuators' names, sorted.
func (c *Controller) Names() []string {
	names := make([]string, 0, len(c.units))
	for _, u := range c.units {
		names = append(names, u.spec.Name)
	}
	slices.Sort(names)
	return names
}

// Stats returns the counters.
func (c *Controller) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	for _, u := range c.units {
		if u.on {
			s.On++
		}
	}
	return s
}

// LedgerFault is what is wrong with the ledger, empty where it works.
func (c *Controller) LedgerFault() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ledgerFault
}
