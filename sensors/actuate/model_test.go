package actuate_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sensors/actuate"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// model knows what was granted, from the answers alone, and looks at the
// outlets.
type model struct {
	*world
	t *rapid.T
	// granted is until when each actuator may be on.
	granted map[string]time.Duration
	open    []*invocation
	// lateUntil is until when an outlet may be late: a stopped guard cannot act,
	// and is replaced after its silence.
	lateUntil time.Duration
	seen      map[ledgerSeen]bool
}

// ledgerSeen is one look at the ledger.
type ledgerSeen struct {
	ledger *brokenLedger
	writes int
	name   string
	since  time.Duration
}

// invocation is one that has not settled yet.
type invocation struct {
	asked []function.Actuation
	lease *actuate.Lease
}

func names(w *world) []string { return slices.Sorted(maps.Keys(w.lines)) }

// grant notes what was granted.
func (m *model) grant(name string, until time.Duration) {
	m.granted[name] = max(m.granted[name], until)
}

func (m *model) ungrant(name string) {
	delete(m.granted, name)
	for i := range m.specs {
		if s := &m.specs[i]; slices.Contains(s.Requires, name) {
			m.ungrant(s.Name)
		}
	}
}

// check holds the outlets against the promises.
func (m *model) check() {
	if m.now < m.lateUntil {
		return
	}
	m.settle()
	on := map[string]string{}
	for i := range m.specs {
		s := &m.specs[i]
		l := m.lines[s.Name]
		if l.value == 0 {
			continue
		}
		// One step is how coarsely this world's time passes.
		if until, ok := m.granted[s.Name]; !ok || m.now >= until+step {
			m.t.Fatalf("%s is on without a lease (granted until %v): %v", s.Name, until, m)
		}
		if d := m.now - l.since; d >= s.MaxOn+step {
			m.t.Fatalf("%s is on for %v, max_on is %v", s.Name, d, s.MaxOn)
		}
		if other := on[s.Exclusive]; other != "" && s.Exclusive != "" {
			m.t.Fatalf("%s and %s of %s are on", s.Name, other, s.Exclusive)
		}
		on[s.Exclusive] = s.Name
		for _, r := range s.Requires {
			if m.lines[r].value == 0 {
				m.t.Fatalf("%s is on without %s: %v", s.Name, r, m)
			}
		}
		if l.hasOff && l.since > l.offAt && l.since-l.offAt < s.MinOff {
			m.t.Fatalf("%s came on after %v, min_off is %v", s.Name, l.since-l.offAt, s.MinOff)
		}
		if s.MaxPerDay > 0 {
			if used := l.used(m.now); used > s.MaxPerDay+time.Duration(len(l.spans)+1)*step {
				m.t.Fatalf("%s was on for %v in 24 h, max_per_day is %v", s.Name, used, s.MaxPerDay)
			}
		}
		if m.gatewayStopped && s.Unit != nil && m.now >= m.stoppedAt+guard.Silence+guard.BeatEvery+step {
			m.t.Fatalf("%s is on for %v after the gateway was stopped: %v", s.Name, m.now-m.stoppedAt, m)
		}
		m.checkLedger(s.Name)
	}
}

// checkLedger reads the disk: what is on is in the ledger.
func (m *model) checkLedger(name string) {
	seen := ledgerSeen{m.ledger, m.ledger.writes, name, m.lines[name].since}
	if m.seen[seen] {
		return // the disk is as it was
	}
	m.seen[seen] = true
	last, err := actuate.NewSmallLedger(m.path, ledgerSize).Last()
	if err != nil {
		m.t.Fatalf("%s is on and the ledger cannot be read: %v", name, err)
	}
	if k := last[name].Kind; k != actuate.TurnedOn && k != actuate.Renewed {
		m.t.Fatalf("%s is on and the ledger says %q of it", name, k)
	}
}

func (l *line) used(now time.Duration) (sum time.Duration) {
	from := now - 24*time.Hour
	spans := l.spans
	if l.value > 0 {
		spans = append(slices.Clip(spans), span{l.since, now})
	}
	for _, s := range spans {
		sum += max(0, s.to-max(s.from, from))
	}
	return sum
}

// actuation draws what somebody may want.
func (m *model) actuation(t *rapid.T) function.Actuation {
	a := function.Actuation{Actuator: rapid.SampledFrom(names(m.world)).Draw(t, "actuator"), Value: 1}
	if rapid.IntRange(0, 4).Draw(t, "off") == 0 {
		a.Value = 0
	}
	a.Lease = time.Duration(rapid.IntRange(0, 400).Draw(t, "lease")) * step
	return a
}

func (m *model) alive() bool { return m.controller != nil && !m.gatewayStopped }

func (m *model) actions() map[string]func(*rapid.T) {
	need := func(t *rapid.T, ok bool) {
		if !ok {
			t.Skip("not now")
		}
	}
	return map[string]func(*rapid.T){
		"": func(*rapid.T) { m.check() },
		"command": func(t *rapid.T) {
			need(t, m.alive())
			m.command(m.actuation(t))
		},
		"water": func(t *rapid.T) {
			need(t, m.alive())
			lease := time.Duration(rapid.IntRange(1, 300).Draw(t, "lease")) * step
			m.command(function.Actuation{Actuator: "pump", Value: 1, Lease: lease})
			m.command(function.Actuation{Actuator: rapid.SampledFrom([]string{"valve-1", "valve-2"}).Draw(t, "valve"), Value: 1, Lease: lease})
		},
		"stale command": func(t *rapid.T) {
			need(t, m.alive())
			a := m.actuation(t)
			a.Value = 1
			c := actuate.Command{Who: "device", Actuator: a.Actuator, Value: 1, Lease: a.Lease, Retained: true}
			if rapid.Bool().Draw(t, "expired") {
				c.Retained, c.Expires = false, m.wall
			}
			if _, err := m.controller.Start(&c, nil); err == nil {
				t.Fatal("a stale command was taken")
			}
		},
		"invoke": func(t *rapid.T) {
			need(t, m.alive() && len(m.open) < 3)
			m.invoke(t)
		},
		"settle": func(t *rapid.T) {
			need(t, m.alive() && len(m.open) > 0)
			inv := m.open[0]
			m.open = m.open[1:]
			if rapid.IntRange(0, 3).Draw(t, "rolled back") == 0 {
				inv.lease.Cancel()
				return
			}
			for _, a := range inv.asked {
				if a.Value > 0 {
					m.grant(a.Actuator, a.Until)
				}
			}
			inv.lease.Commit()
		},
		"wait":      func(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(1, 60).Draw(t, "steps"))*step, m.check) },
		"wait long": func(t *rapid.T) { m.pass(time.Duration(rapid.IntRange(60, 600).Draw(t, "steps"))*step, m.check) },
		"clock jumps": func(t *rapid.T) {
			m.wall = m.wall.Add(time.Duration(rapid.IntRange(-1000, 1000).Draw(t, "hours")) * time.Hour)
		},
		"gateway is killed": func(t *rapid.T) {
			need(t, m.controller != nil && !m.guard.stopped)
			m.killGateway()
			m.forget()
			m.pass(step, m.check)
		},
		"everything is killed and started again": func(*rapid.T) {
			m.forget()
			m.startGateway()
		},
		"gateway is stopped": func(t *rapid.T) {
			need(t, m.alive() && !m.guard.stopped)
			m.gatewayStopped, m.stoppedAt = true, m.now
		},
		"gateway goes on": func(t *rapid.T) {
			need(t, m.gatewayStopped)
			m.gatewayStopped = false
			m.settle()
		},
		"guard is killed": func(t *rapid.T) {
			need(t, m.alive())
			m.granted = map[string]time.Duration{"remote": m.granted["remote"]}
			m.replaceGuard()
		},
		"guard hangs": func(t *rapid.T) {
			need(t, m.alive() && !m.guard.stopped)
			m.guard.stopped = true
			m.lateUntil = m.now + 3*time.Second
			m.pass(3*time.Second+step, m.check)
		},
		"disk is full": func(*rapid.T) { m.ledger.broken = true },
		"disk has room again": func(*rapid.T) {
			m.ledger.broken = false
			m.pass(3*time.Second, m.check)
		},
		"function is removed": func(t *rapid.T) {
			need(t, m.alive())
			m.controller.Removed("f")
		},
		"outlet fails":   func(t *rapid.T) { m.lines[rapid.SampledFrom(names(m.world)).Draw(t, "outlet")].fails = true },
		"outlets mended": func(*rapid.T) { m.mend() },
		"flow":           func(t *rapid.T) { m.flow = float64(rapid.IntRange(0, 5).Draw(t, "flow")) },
		"sensor":         func(t *rapid.T) { m.flowOK = rapid.Bool().Draw(t, "works") },
	}
}

// command follows an operator's command.
func (m *model) command(a function.Actuation) {
	m.settle()
	failed := false
	until, err := m.controller.Start(&actuate.Command{Who: "operator", Actuator: a.Actuator, Value: a.Value, Lease: a.Lease}, func(err error) { failed = err != nil })
	switch {
	case err != nil:
	case a.Value == 0:
		m.ungrant(a.Actuator)
	default:
		old, had := m.granted[a.Actuator]
		m.grant(a.Actuator, until)
		m.settle()
		if !failed {
			return
		}
		delete(m.granted, a.Actuator)
		if had {
			m.granted[a.Actuator] = old
		}
	}
}

// forget follows the gateway's end: what the device's own timer ends may go on.
func (m *model) forget() {
	m.open, m.granted = nil, map[string]time.Duration{"remote": m.granted["remote"]}
}

func (m *model) mend() {
	for _, l := range m.lines {
		l.fails = false
	}
}

// invoke asks for one or two things as a function does, and keeps what it got.
func (m *model) invoke(t *rapid.T) {
	who := actuate.Asker{Who: "f@1", Function: "f", EventID: "e"}
	inv := &invocation{}
	for range rapid.IntRange(1, 3).Draw(t, "calls") {
		a := m.actuation(t)
		until, err := m.controller.Ask(&who, inv.asked, &a)
		if err != nil {
			continue
		}
		a.Until = until
		inv.asked = append(inv.asked, a)
	}
	if rapid.Bool().Draw(t, "slow") {
		m.pass(step, m.check)
	}
	if !m.alive() {
		return
	}
	lease, err := m.controller.Reserve(who, inv.asked)
	if err != nil {
		if !errors.Is(err, actuate.ErrChanged) {
			t.Fatal(err)
		}
		return
	}
	inv.lease = lease
	m.open = append(m.open, inv)
}

// TestModel shows the safety of actuators: whatever happens in whatever order,
// the outlets keep the promises.
func TestModel(t *testing.T) {
	slow.UnderRace(t, slow.OneGoroutine)
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "ledger")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		m := &model{world: newWorld(t, dir), t: t, granted: map[string]time.Duration{}, seen: map[ledgerSeen]bool{}}
		t.Repeat(m.actions())
	})
}

// TestSeededFaults shows that TestModel catches what it is there for.
func TestSeededFaults(t *testing.T) {
	if !fault.Seeded {
		t.Skip("needs -tags seededfaults")
	}
	for _, f := range []fault.Fault{
		fault.LeaseIgnored, fault.MaxOnIgnored, fault.ExclusiveIgnored, fault.SilenceIgnored, fault.OnBeforeLedger, fault.LeaseSurvives, fault.RequiresIgnored,
	} {
		t.Run(string(f), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestModel$", "-rapid.checks=2000", "-rapid.nofailfile", "-rapid.shrinktime=0s")
			cmd.Env = append(os.Environ(), "HEADGATE_FAULT="+string(f))
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatalf("the fault was not caught:\n%s", out)
			}
			for _, l := range strings.Split(string(out), "\n") {
				if strings.Contains(l, " is on ") || strings.Contains(l, " are on") || strings.Contains(l, "was on for") {
					t.Log(strings.TrimSpace(l))
					return
				}
			}
			t.Fatalf("it failed for another reason:\n%s", out)
		})
	}
}
