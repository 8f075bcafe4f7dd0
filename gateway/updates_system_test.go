package gateway_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/slot"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/wire"
)

// TestUpdateCutsNoLease has a function hold a pump on while its versions change,
// forwards and back.
func TestUpdateCutsNoLease(t *testing.T) {
	o := newOwner(t)
	may := func(s *function.Spec) { s.Permissions.Actuators = []string{"pump"} }
	first := o.publish(`export default (e, {actuate, state}) => {
		if (String(e.data) === "2") actuate("pump", "on", {lease: "50m"});
		state.set("word", "one");
	};`, may)
	p := startPlot(t, o.pinned())
	p.untilStage(first, "live")
	p.publish(api.Message{Topic: "in/x", Payload: []byte("2")})
	p.shows("pump", "1")
	p.awaitListed("pump", "on")
	var before, after []api.ActuatorRecord
	p.call(http.MethodGet, "/v1/actuator-records?actuator=pump", nil, &before)

	second := o.publish(says("two"), may)
	p.untilStage(second, "live")
	third := o.publish(throws, may)
	p.untilStage(third, "rolled back")
	p.word("two")

	p.shows("pump", "1")
	p.call(http.MethodGet, "/v1/actuator-records?actuator=pump", nil, &after)
	if a := p.listed("pump"); a.State != "on" || len(after) != len(before) {
		t.Errorf("the pump is %+v; before %+v, after %+v", a, before, after)
	}
}

// program is one for this machine that differs from others by its end.
func program(t *testing.T, n int) []byte {
	t.Helper()
	raw, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Appendf(raw, "\n%d", n)
}

// board is a gateway whose binary is its own affair.
type board struct {
	t     *testing.T
	cfg   config.Config
	slots *slot.Dir
}

func newBoard(t *testing.T, o *owner) *board {
	t.Helper()
	b := &board{t: t, cfg: config.Default()}
	b.cfg.StateDir = t.TempDir()
	b.cfg.MQTT.Listeners = nil
	base := filepath.Join(t.TempDir(), "base")
	if err := os.WriteFile(base, program(t, 0), 0o700); err != nil {
		t.Fatal(err)
	}
	b.cfg.System = config.System{Dir: filepath.Join(b.cfg.StateDir, "system"), Base: base}
	o.pinned()(&b.cfg)
	var err error
	if b.slots, err = slot.Open(b.cfg.System.Dir, base); err != nil {
		t.Fatal(err)
	}
	return b
}

// run runs the gateway until it makes place for another binary, or until during
// is done.
func (b *board) run(during func(c *client.Client)) error {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	g, err := gateway.New(ctx, b.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		b.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()
	if during == nil {
		return <-ended
	}
	c, err := client.New("unix://"+b.cfg.SocketPath(), "")
	if err != nil {
		b.t.Fatal(err)
	}
	defer c.Close()
	if err := c.WaitReady(ctx); err != nil {
		b.t.Fatal(err)
	}
	during(c)
	cancel()
	return <-ended
}

func (o *owner) publishBinary(version string, raw []byte) ota.Target {
	o.Helper()
	return o.releaseBinary(version, runtime.GOARCH, raw, ota.Live)
}

func (o *owner) releaseBinary(version, arch string, raw []byte, aliases ...string) ota.Target {
	o.Helper()
	r := o.open()
	t, err := r.Add(bytes.NewReader(raw), ota.Release{Kind: ota.System, Arch: arch, Version: version, Aliases: aliases})
	o.must(err)
	o.commit(r)
	return t
}

func (b *board) state() slot.State {
	b.t.Helper()
	s, err := b.slots.Load()
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// checked waits until the repository was asked.
func checked(t *testing.T, c *client.Client) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var u api.Updates
		if err := c.Do(t.Context(), http.MethodGet, "/v1/updates", nil, &u); err == nil && !u.Checked.IsZero() {
			if u.Error != "" {
				t.Error(u.Error)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("the repository was never asked")
		}
	}
}

// TestSystemUpdates stages what is signed, makes place for it, and does not take
// again what was taken back.
func TestSystemUpdates(t *testing.T) {
	o := newOwner(t)
	o.publishBinary("v1", program(t, 0)) // the one that runs
	b := newBoard(t, o)
	if err := b.run(func(c *client.Client) { checked(t, c) }); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s := b.state(); s.Trial != nil {
		t.Fatalf("it took the binary that runs: %+v", s)
	}

	second := o.publishBinary("v2", program(t, 2))
	if err := b.run(nil); !errors.Is(err, gateway.ErrUpdate) {
		t.Fatalf("it made no place for the new binary: %v", err)
	}
	choice, err := b.slots.Next()
	if err != nil || choice.Trial == nil || b.state().Slots[choice.Slot].SHA256 != second.SHA256 {
		t.Fatalf("next is %+v, %v", choice, err)
	}
	// It does not work: the launcher takes it back, and so it stays.
	o.must(b.slots.Reject("it did not become healthy"))
	if err := b.run(func(c *client.Client) { checked(t, c) }); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if s := b.state(); s.Trial != nil || s.Current != slot.Base {
		t.Fatalf("what was taken back is tried again: %+v", s)
	}

	third := o.publishBinary("v3", program(t, 3))
	if err := b.run(nil); !errors.Is(err, gateway.ErrUpdate) {
		t.Fatalf("the next one: %v", err)
	}
	if _, err := b.slots.Next(); err != nil {
		t.Fatal(err)
	}
	o.must(b.slots.Confirm())
	if s := b.state(); s.Slots[s.Current].SHA256 != third.SHA256 {
		t.Errorf("confirmed is %+v", s)
	}
	if err := b.run(func(c *client.Client) { checked(t, c) }); err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// TestControllerChoosesTheBinary among those that are signed for this machine, and
// hears what became of it.
func TestControllerChoosesTheBinary(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	t.Parallel()
	o := newOwner(t)
	first := o.publishBinary("v1", program(t, 0)) // the one that runs, and that is for all
	foreign := o.releaseBinary("v2", "m68k", program(t, 1))
	second := o.releaseBinary("v2", runtime.GOARCH, program(t, 2))
	b := newBoard(t, o)
	c := newCloud(t, b.cfg.StateDir)
	sum := func(t ota.Target) string { return t.SHA256 }
	err := b.run(func(*client.Client) {
		c.want(wire.Desired{Revision: 1, System: foreign.Name})
		m := c.until("another machine's binary to be refused", func(m *wire.Reported) bool { return strings.Contains(m.Error, "is for m68k") })
		if got := hex.EncodeToString(m.System.SHA256); got != sum(first) || m.System.Trial {
			t.Errorf("reported %+v", m.System)
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	c.want(wire.Desired{Revision: 2, System: second.Name, SystemAttempt: "d1"})
	if err := b.run(nil); !errors.Is(err, gateway.ErrUpdate) {
		t.Fatalf("it made no place for the new binary: %v", err)
	}
	if choice, err := b.slots.Next(); err != nil || choice.Trial == nil || b.state().Slots[choice.Slot].SHA256 != sum(second) {
		t.Fatalf("next is %+v, %v", choice, err)
	}
	o.must(b.slots.Reject("it did not become healthy"))
	err = b.run(func(*client.Client) {
		c.until("what was taken back", func(m *wire.Reported) bool {
			return hex.EncodeToString(m.System.Failed) == sum(second) && m.System.Note == "it did not become healthy" && m.System.FailedAttempt == "d1" && !m.System.Trial
		})
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	// Under the same attempt it is not tried again, nor without one; under another
	// it is.
	for i, attempt := range []string{"d1", ""} {
		c.want(wire.Desired{Revision: uint64(3 + i), System: second.Name, SystemAttempt: attempt})
		err = b.run(func(cl *client.Client) {
			c.until("the state to be followed", func(m *wire.Reported) bool { return m.Revision == uint64(3+i) })
			o.must(cl.Do(t.Context(), http.MethodPost, "/v1/updates", nil, nil))
			checked(t, cl)
		})
		if s := b.state(); err != nil && !errors.Is(err, context.Canceled) || s.Trial != nil {
			t.Fatalf("%q: %v, %+v", attempt, err, s)
		}
	}
	c.want(wire.Desired{Revision: 5, System: second.Name, SystemAttempt: "d2"})
	if err := b.run(nil); !errors.Is(err, gateway.ErrUpdate) {
		t.Fatalf("it made no place for what another deployment wants: %v", err)
	}
	o.must(b.slots.Reject("again"))
	if f := b.state().Failure; f == nil || f.Attempt != "d2" {
		t.Errorf("taken back as %+v", f)
	}
}

// TestUnsignedBinaryIsRefused has only what the owner signed be tried, from a
// person with every right too.
func TestUnsignedBinaryIsRefused(t *testing.T) {
	o := newOwner(t)
	b := newBoard(t, o)
	put := func(c *client.Client, raw []byte) error {
		return c.Do(t.Context(), http.MethodPut, "/v1/system/binary", bytes.NewReader(raw), nil)
	}
	o.publishBinary("v1", program(t, 0))
	err := b.run(func(c *client.Client) {
		checked(t, c)
		if err := put(c, program(t, 7)); err == nil || !strings.Contains(err.Error(), "has not signed this binary") {
			t.Errorf("an unsigned one: %v", err)
		}
		if s := b.state(); s.Trial != nil {
			t.Errorf("it is tried: %+v", s)
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	b.cfg.Updates.AllowDirect = true
	err = b.run(func(c *client.Client) {
		if err := put(c, program(t, 7)); err != nil {
			t.Errorf("with allow_direct: %v", err)
		}
	})
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, gateway.ErrUpdate) {
		t.Fatal(err)
	}
}
