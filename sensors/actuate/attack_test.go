package actuate_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors/actuate"
)

// start has somebody switch an actuator on, and waits for the outlet.
func (w *world) start(t *testing.T, name string, value float64, lease time.Duration) error {
	t.Helper()
	var late error
	_, err := w.controller.Start(&actuate.Command{Who: "someone", Actuator: name, Value: value, Lease: lease}, func(err error) { late = err })
	w.settle()
	return errors.Join(err, late)
}

// TestNoNumberHurtsOthers asks for values and leases that are none: they are
// refused, and the next one is served at once.
func TestNoNumberHurtsOthers(t *testing.T) {
	w := newWorld(t, t.TempDir())
	for _, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -1, 1e308, math.Nextafter(1, 2)} {
		var r *actuate.Refusal
		if err := w.start(t, "dimmer", v, time.Second); !errors.As(err, &r) || r.Code != actuate.CodeInvalid {
			t.Errorf("%v: %v", v, err)
		}
		if fault := w.controller.LedgerFault(); fault != "" {
			t.Errorf("%v breaks the ledger: %s", v, fault)
		}
	}
	if err := w.start(t, "dimmer", 0.5, math.MaxInt64); err != nil {
		t.Fatal(err)
	}
	if got := w.lines["dimmer"].value; got != 0.5 {
		t.Errorf("the dimmer is at %v", got)
	}
	w.pass(10*time.Second+2*step, func() {})
	if got := w.lines["dimmer"].value; got != 0 {
		t.Errorf("the dimmer is at %v past max_on", got)
	}
}

// TestRefusalsCarryTheirCause asks in the name of a chain that may not move
// anything: what is told of it says so, and so does what is told of an off.
func TestRefusalsCarryTheirCause(t *testing.T) {
	w := newWorld(t, t.TempDir())
	who := actuate.Asker{Who: "f@1", Function: "f", Age: 2 * time.Hour, Retained: true, Hops: 7}
	on := function.Actuation{Actuator: "pump", Value: 1}
	if _, err := w.controller.Ask(&who, nil, &on); err == nil {
		t.Fatal("granted")
	}
	if err := w.start(t, "pump", 1, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	if _, err := w.controller.Reserve(who, []function.Actuation{{Actuator: "pump"}}); err != nil {
		t.Fatal(err)
	}
	if err := w.start(t, "pump", 1, time.Second); err != nil {
		t.Fatal(err)
	}
	w.pass(2*time.Second, func() {})
	kinds := []actuate.Kind{actuate.Refused, actuate.TurnedOn, actuate.TurnedOff, actuate.TurnedOn, actuate.TurnedOff}
	if len(w.told) != len(kinds) {
		t.Fatalf("told of %+v", w.told)
	}
	for i, e := range w.told {
		caused := i == 0 || i == 2
		if e.Kind != kinds[i] || e.Retained != caused || e.Hops != map[bool]int{true: 7}[caused] || (e.Age > 0) != caused {
			t.Errorf("event %d: %+v", i, e)
		}
	}
}

// TestEndsBeginNewChains has what ends by itself say nothing of who asked: the
// chain of a program of many valves does not grow with each.
func TestEndsBeginNewChains(t *testing.T) {
	w := newWorld(t, t.TempDir())
	who := actuate.Asker{Who: "f@1", Function: "f", Age: time.Second, Hops: 3}
	until, err := w.controller.Ask(&who, nil, &function.Actuation{Actuator: "pump", Value: 1, Lease: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l, err := w.controller.Reserve(who, []function.Actuation{{Actuator: "pump", Value: 1, Until: until}})
	if err != nil {
		t.Fatal(err)
	}
	l.Commit()
	w.settle()
	w.pass(2*time.Second, func() {})
	if len(w.told) != 2 || w.told[0].Hops != 3 || w.told[1].Kind != actuate.TurnedOff || w.told[1].Hops != 0 || w.told[1].Age != 0 {
		t.Errorf("told of %+v", w.told)
	}
}

// TestRefusalsLeaveRoom floods with refusals what waits for being told: an end
// that follows is told of.
func TestRefusalsLeaveRoom(t *testing.T) {
	w := newWorld(t, t.TempDir())
	if err := w.start(t, "pump", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	w.told = nil
	for range 10_000 {
		w.controller.Refuse(actuate.Event{Kind: actuate.Refused, Actuator: "pump"})
	}
	if err := w.start(t, "pump", 0, 0); err != nil {
		t.Fatal(err)
	}
	for range 5_000 {
		w.controller.Refuse(actuate.Event{Kind: actuate.Refused, Actuator: "pump"})
	}
	w.settle()
	for _, e := range w.told {
		if e.Kind == actuate.TurnedOff {
			if w.controller.Stats().Untold == 0 {
				t.Error("nothing was left out")
			}
			return
		}
	}
	t.Errorf("nobody hears of the end: %d events", len(w.told))
}

// TestLeaseFloodIsBounded renews a lease more often than the disk can follow:
// all but the newest are answered before the disk is.
func TestLeaseFloodIsBounded(t *testing.T) {
	w := newWorld(t, t.TempDir())
	var answered, refused int
	for range 10_000 {
		_, err := w.controller.Start(&actuate.Command{Who: "d", Actuator: "pump", Value: 1, Lease: time.Second}, func(err error) {
			answered++
			if err != nil {
				refused++
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if waiting := 10_000 - answered; waiting > 2*len(w.specs) {
		t.Errorf("%d leases wait for the ledger", waiting)
	}
	w.settle()
	if answered != 10_000 || refused != 9_999 || w.lines["pump"].value != 1 {
		t.Errorf("%d answers, %d refusals, the pump is at %v", answered, refused, w.lines["pump"].value)
	}
}

// deafDevice takes no commands for a while.
type deafDevice struct {
	*device
	deaf bool
	offs int
}

func (d *deafDevice) Move(name string, value float64, lease time.Duration) error {
	if d.deaf {
		return errors.New("too many messages wait")
	}
	if value == 0 {
		d.offs++
	}
	return d.device.Move(name, value, lease)
}

// TestRemoteOffIsSaidAgain switches a remote valve off while its command cannot
// be sent, and has it go on saying that it is on.
func TestRemoteOffIsSaidAgain(t *testing.T) {
	w := newWorld(t, t.TempDir())
	d := &deafDevice{device: w.remote}
	w.device = d
	w.killGateway()
	w.startGateway()
	if err := w.start(t, "remote", 1, 15*time.Second); err != nil {
		t.Fatal(err)
	}
	w.controller.Heard("remote", true)
	d.deaf = true
	if err := w.start(t, "remote", 0, 0); err != nil {
		t.Fatal(err)
	}
	d.deaf = false
	w.pass(time.Second, func() {})
	if w.lines["remote"].value != 0 {
		t.Error("it is on, and nobody tells it to be off")
	}
	told, offs := len(w.told), d.offs
	w.controller.Heard("remote", true) // said before it heard
	if d.offs != offs {
		t.Error("told again at once")
	}
	for range 3 {
		w.pass(6*time.Second, func() {})
		w.controller.Heard("remote", true)
	}
	w.settle()
	if d.offs != offs+3 || len(w.told) != told+1 || w.told[told].Kind != actuate.Faulted {
		t.Errorf("told %d times to be off, want 3; events %+v", d.offs-offs, w.told[told:])
	}
}

// TestDamagedLedgers opens what is no ledger: nothing is granted, and the error
// says which file.
func TestDamagedLedgers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "safety.ledger")
	good := actuate.NewSmallLedger(path, ledgerSize)
	for i := range 3 {
		if err := good.Append(&actuate.Record{Kind: actuate.TurnedOn, Actuator: "pump", Until: int64(i)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := good.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	open := func() (map[string]actuate.Record, error) {
		l := actuate.NewSmallLedger(path, ledgerSize)
		defer func() { _ = l.Close() }()
		return l.Last()
	}
	for _, n := range []int{0, 1, 1024, len(whole) - 1} {
		if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := open(); err == nil || !strings.Contains(err.Error(), path+" is shorter") {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	// A flipped bit costs its own record and no other.
	for at := 1024; at < 4*1024; at += 37 {
		b := append([]byte(nil), whole...)
		b[at] ^= 0x10
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		last, err := open()
		if err != nil || last["pump"].Until < 1 {
			t.Fatalf("byte %d: %+v, %v", at, last["pump"], err)
		}
	}
}
