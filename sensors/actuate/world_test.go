package actuate_test

import (
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/sensors/actuate"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// step is how finely the world's time passes.
const step = 100 * time.Millisecond

// reporter is a test of any kind.
type reporter interface {
	Errorf(format string, args ...any)
	Fatal(args ...any)
}

// ledgerSize has the ledger go round in a test.
const ledgerSize = 48

// world is a gateway's actuators with everything around them: outlets whose
// state is what counts, a guard that can be stopped and killed, a device with a
// timer of its own, a ledger on disk, clocks that jump.
type world struct {
	t     reporter
	specs []actuate.Spec
	now   time.Duration
	wall  time.Time

	ledger     *brokenLedger
	path       string
	controller *actuate.Controller
	// gatewayStopped and guardStopped are under SIGSTOP.
	gatewayStopped bool
	stoppedAt      time.Duration
	guard          *memGuard
	remote         *device
	device         actuate.Device // remote, but in tests of what is between
	lines          map[string]*line
	told           []actuate.Event
	flow           float64
	flowOK         bool
}

// line is an outlet as somebody sees it who stands beside it.
type line struct {
	w      *world
	value  float64
	since  time.Duration
	offAt  time.Duration
	hasOff bool
	fails  bool
	spans  []span
}

type span struct{ from, to time.Duration }

func (l *line) Set(v float64) error {
	if l.fails && v > 0 {
		return errors.New("the outlet refuses")
	}
	switch {
	case v > 0 && l.value == 0:
		l.since = l.w.now
	case v == 0 && l.value > 0:
		l.spans = append(l.spans, span{l.since, l.w.now})
		l.offAt, l.hasOff = l.w.now, true
	}
	l.value = v
	return nil
}

func (l *line) Close() error { return nil }

// memGuard is the guard process: a Keeper, or nobody.
type memGuard struct {
	w       *world
	keeper  *guard.Keeper
	stopped bool
	// orders wait while it is stopped, reports until the controller is free.
	orders  []guard.Order
	reports []guard.Report
	heard   time.Duration // when it answered last
}

func (g *memGuard) Send(o *guard.Order) error {
	if g.keeper == nil {
		return guard.ErrDown
	}
	g.orders = append(g.orders, *o)
	g.take()
	return nil
}

// take obeys what has come.
func (g *memGuard) take() {
	if g.keeper == nil || g.stopped {
		return
	}
	for _, o := range g.orders {
		g.reports = append(g.reports, g.keeper.Obey(g.w.now, &o)...)
		g.heard = g.w.now
	}
	g.orders = nil
}

// start starts a guard: everything is off before it is ready.
func (g *memGuard) start() {
	*g = memGuard{w: g.w, keeper: guard.NewKeeper(g.w.now), heard: g.w.now}
	for i := range g.w.specs {
		if u := g.w.specs[i].Unit; u != nil {
			g.reports = append(g.reports, g.keeper.Add(g.w.now, u, guard.Lines{Main: g.w.lines[u.Name]})...)
		}
	}
	g.reports = append(g.reports, guard.Report{Ready: true})
}

// device is a remote actuator with a timer.
type device struct {
	w     *world
	until time.Duration
}

func (d *device) Move(_ string, value float64, lease time.Duration) error {
	l := d.w.lines["remote"]
	if value > 0 && lease <= 0 {
		d.w.t.Errorf("the device was told to be on without an end")
	}
	d.until = d.w.now + lease
	return l.Set(value)
}

// brokenLedger is the ledger on a disk that can fail.
type brokenLedger struct {
	*actuate.Ledger
	broken bool
	writes int
}

func (b *brokenLedger) Append(rs ...*actuate.Record) error {
	if b.broken {
		return errors.New("no space left on device")
	}
	b.writes++
	return b.Ledger.Append(rs...)
}

func ptr[T any](v T) *T { return &v }

// newWorld is a pump with two valves on one line behind it, a dimmer and a
// remote valve on the same line.
func newWorld(t reporter, dir string) *world {
	unit := func(name, group string, maxOn time.Duration) *guard.Unit {
		return &guard.Unit{Name: name, MaxOn: maxOn, Group: group}
	}
	w := &world{
		t: t, now: time.Hour, wall: time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC), path: filepath.Join(dir, "safety.ledger"), flowOK: true, flow: 5,
		specs: []actuate.Spec{
			{Name: "pump", Unit: unit("pump", "", time.Minute), MaxOn: time.Minute, DefaultLease: 30 * time.Second, MaxPerDay: 3 * time.Minute},
			{Name: "valve-1", Unit: unit("valve-1", "line", 20*time.Second), MaxOn: 20 * time.Second, MinOff: 5 * time.Second, Requires: []string{"pump"}, Exclusive: "line"},
			{
				Name: "valve-2", Unit: unit("valve-2", "line", 20*time.Second), MaxOn: 20 * time.Second, Requires: []string{"pump"}, Exclusive: "line",
				Expect: &actuate.Expect{Sensor: "flow", Above: ptr(2.0), Within: 4 * time.Second},
			},
			{Name: "dimmer", Unit: unit("dimmer", "", 10*time.Second), MaxOn: 10 * time.Second, Dimmable: true},
			{Name: "remote", Remote: &actuate.Remote{}, MaxOn: 15 * time.Second, Exclusive: "line"},
		},
		lines: map[string]*line{},
	}
	for i := range w.specs {
		s := &w.specs[i]
		if s.DefaultLease == 0 {
			s.DefaultLease = s.MaxOn
		}
		s.StaleAfter = time.Minute
		w.lines[s.Name] = &line{w: w}
	}
	w.guard, w.remote = &memGuard{w: w}, &device{w: w}
	w.device = w.remote
	w.startGateway()
	return w
}

// startGateway starts gateway and guard, as a supervisor does.
func (w *world) startGateway() {
	w.guard.start()
	w.ledger = &brokenLedger{Ledger: actuate.NewSmallLedger(w.path, ledgerSize), broken: w.ledger != nil && w.ledger.broken}
	w.gatewayStopped = false
	w.controller = actuate.New(actuate.Config{
		Actuators: w.specs, Ledger: w.ledger, Guard: w.guard, Device: w.device,
		Feedback: func(string) (float64, time.Duration, error) {
			if !w.flowOK {
				return 0, 0, errors.New("no reading")
			}
			return w.flow, w.now, nil
		},
		Now: func() time.Duration { return w.now }, Boot: "boot-1",
		Steady: func() time.Time { return time.Unix(1_700_000_000, 0).Add(w.now) },
		Wall:   func() time.Time { return w.wall }, Trust: func() event.Trust { return event.TimeEstimated },
		Tell: func(e actuate.Event) { w.told = append(w.told, e) }, Logger: slog.New(slog.DiscardHandler),
	})
	if err := w.remote.Move("remote", 0, 0); err != nil {
		w.t.Fatal(err)
	}
	w.settle()
}

// settle lets the controller and the guard hear each other out.
func (w *world) settle() {
	if w.controller == nil || w.gatewayStopped {
		return
	}
	for range 8 {
		rs := w.guard.reports
		w.guard.reports = nil
		for _, r := range rs {
			w.controller.Reported(r)
		}
		w.controller.Step()
		if len(w.guard.reports) <= 1 { // the answer to Step's beat
			break
		}
	}
}

// killGateway ends the gateway; its guard hears the socket close.
func (w *world) killGateway() {
	_ = w.ledger.Close()
	w.controller = nil
	g := w.guard
	if g.keeper != nil && !g.stopped {
		g.take()
		g.keeper.Release(w.now, guard.Parted)
	}
}

// pass lets time go by.
func (w *world) pass(d time.Duration, check func()) {
	for end := w.now + d; w.now < end; {
		w.now += step
		w.wall = w.wall.Add(step)
		if g := w.guard; g.keeper != nil && !g.stopped {
			g.reports = append(g.reports, g.keeper.Tick(w.now)...)
		}
		if w.remote.until <= w.now {
			_ = w.lines["remote"].Set(0)
		}
		if w.controller != nil && !w.gatewayStopped {
			w.settle()
			if g := w.guard; w.now-g.heard >= guard.Silence { // as Client does
				w.replaceGuard()
			}
		}
		check()
	}
}

// replaceGuard is what Client does about a guard that is gone or hangs.
func (w *world) replaceGuard() {
	if w.controller != nil {
		w.controller.GuardDown(errors.New("gone"))
	}
	w.guard.start()
	w.settle()
}

func (w *world) String() string {
	s := fmt.Sprintf("%v:", w.now)
	for _, sp := range w.specs {
		s += fmt.Sprintf(" %s=%v", sp.Name, w.lines[sp.Name].value)
	}
	return s
}
