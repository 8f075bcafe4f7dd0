//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/firmware-tests/rig/rigtest"
)

// lease is that of every case; the water has to have stopped a second after it.
const lease = 10 * time.Second

// field is a gateway with valves, and who stands beside them.
type field struct {
	*rig.Gateway
	t     *testing.T
	valve string // the file that the valve is
}

func newField(t *testing.T, dir string) *field {
	t.Helper()
	binary, err := filepath.Abs("../../bin/headgate")
	if err != nil {
		t.Fatal(err)
	}
	g, err := rig.New(binary, dir, "anonymous: true")
	if err != nil {
		t.Fatal(err)
	}
	f := &field{Gateway: g, t: t, valve: filepath.Join(dir, "valve")}
	if err := g.Configure(fmt.Sprintf(`actuators:
  valve: {simulated: %s, max_on: 30m}
  remote: {mqtt: {set: zigbee2mqtt/v2/set, state: zigbee2mqtt/v2, on: '{"state":"ON","on_time":{{lease_s}}}', off: '{"state":"OFF"}'}, max_on: 20m}
`, f.valve)); err != nil {
		t.Fatal(err)
	}
	return f
}

// open reports whether the valve is, as somebody sees it who stands beside it.
func (f *field) open() bool {
	b, err := os.ReadFile(f.valve)
	if err != nil {
		f.t.Fatal(err)
	}
	return strings.TrimSpace(string(b)) != "0"
}

// patience ends what would never end. Nothing is judged by it.
const patience = 2 * time.Minute

// await waits until the valve is open or closed, and returns when it became so:
// the time of its file, whatever this process was doing then.
func (f *field) await(open bool) time.Time {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if f.open() == open {
			break
		}
		if time.Now().After(end) {
			f.t.Fatalf("the valve is open: %v, and was to be %v by now\n%s", f.open(), open, f.Log())
		}
	}
	info, err := os.Stat(f.valve)
	if err != nil {
		f.t.Fatal(err)
	}
	return info.ModTime()
}

// opens switches the valve on with a lease and returns when it opened. Who stood
// still for so long that the lease had ended before they looked tries again.
func (f *field) opens(lease time.Duration) time.Time {
	f.t.Helper()
	for range 5 {
		f.on("valve", lease)
		for end := time.Now().Add(lease + 2*time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
			if f.open() {
				return f.await(true)
			}
		}
	}
	f.t.Fatalf("the valve was not seen open\n%s", f.Log())
	return time.Time{}
}

// on switches an actuator on. Nothing can be while there is no guard: one was
// ended, or did not answer because the machine stood still. It may also have
// stood still for longer than the lease.
func (f *field) on(actuator string, lease time.Duration) {
	f.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := f.Run(f.t.Context(), "actuator", "on", actuator, "--for", lease.String())
		if err == nil {
			return
		}
		passes := strings.Contains(out, "the guard process is not ready") || strings.Contains(out, "its lease ended, before it could begin")
		if !passes || time.Now().After(end) {
			f.t.Fatal(out, err)
		}
	}
}

// closes waits until the valve is closed, and wants that to be in time: within a
// second of the end of a lease that began when it was opened, at the latest. For
// as long as the machine stood still meanwhile nobody could close it.
func (f *field) closes(opened time.Time, lease time.Duration, stalls *rig.Stalls) time.Duration {
	f.t.Helper()
	took := f.await(false).Sub(opened)
	if late := took - lease - stalls.Total(); late > time.Second {
		f.t.Errorf("closed %.2f s after it was opened, with a lease of %v; the machine stood still for %v", took.Seconds(), lease, stalls.Total())
	}
	return took
}

// watch measures for how long the machine stands still, until the test ends.
func watch(t *testing.T) *rig.Stalls {
	s := rig.WatchStalls()
	t.Cleanup(s.Close)
	return s
}

// guardPid is the process of its guard.
func (f *field) guardPid() int {
	f.t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, p := range processes {
		line, err := os.ReadFile(filepath.Join(filepath.Dir(p), "cmdline"))
		if err != nil || !strings.Contains(string(line), "\x00"+filepath.Join(f.Dir, "state", "guard.lock")) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p)))
		if err != nil {
			f.t.Fatal(err)
		}
		return pid
	}
	f.t.Fatal("there is no guard")
	return 0
}

// kill ends a process that belongs to this test, or stops it.
func (f *field) kill(pid int, s syscall.Signal) {
	f.t.Helper()
	if err := syscall.Kill(pid, s); err != nil {
		f.t.Fatal(err)
	}
}

// TestWaterStops switches a valve on for 10 s and lets something fail. Nobody
// starts anything again: whatever it is, the valve is closed 11 s after the
// grant.
func TestWaterStops(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(f *field)
	}{
		{"nothing fails", func(*field) {}},
		{"SIGKILL of the gateway", func(f *field) { f.kill(f.Pid(), syscall.SIGKILL) }},
		{"SIGSTOP of the gateway", func(f *field) { f.kill(f.Pid(), syscall.SIGSTOP) }},
		{"SIGTERM of the gateway", func(f *field) { f.kill(f.Pid(), syscall.SIGTERM) }},
		{"SIGKILL of the guard", func(f *field) { f.kill(f.guardPid(), syscall.SIGKILL) }},
		{"SIGSTOP of the guard", func(f *field) { f.kill(f.guardPid(), syscall.SIGSTOP) }},
		{"SIGKILL of both and a guard again", func(f *field) {
			f.kill(f.Pid(), syscall.SIGSTOP) // so that it starts no other one
			f.kill(f.guardPid(), syscall.SIGKILL)
			f.kill(f.Pid(), syscall.SIGKILL)
			if out, err := f.Run(f.t.Context(), "guard", "--safe", "--config", filepath.Join(f.Dir, "config.yaml")); err != nil {
				f.t.Fatal(out, err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newField(t, t.TempDir())
			if err := f.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				_ = syscall.Kill(f.Pid(), syscall.SIGCONT)
				if err := f.End(); err != nil {
					t.Error(err)
				}
			})
			stalls := watch(t)
			opened := f.opens(lease)
			c.fail(f)
			took := f.closes(opened, lease, stalls)
			t.Logf("closed %.2f s after it was opened", took.Seconds())
			if c.name == "nothing fails" && took < lease-time.Second-stalls.Total() {
				t.Error("that is before the lease's end")
			}
			for end := time.Now().Add(time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
				if f.open() {
					t.Fatal("the valve opened again")
				}
			}
		})
	}
}

// TestGuardWithoutItsFile ends the guard of a gateway whose program was upgraded
// meanwhile: the file that it was started from is gone.
func TestGuardWithoutItsFile(t *testing.T) {
	t.Parallel()
	f := newField(t, t.TempDir())
	program, err := os.ReadFile(f.Binary)
	if err != nil {
		t.Fatal(err)
	}
	f.Binary = filepath.Join(f.Dir, "headgate")
	if err := os.WriteFile(f.Binary, program, 0o700); err != nil {
		t.Fatal(err)
	}
	rigtest.Start(t, f.Gateway)
	if err := os.Rename(f.Binary, f.Binary+"-old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(f.Binary + "-old"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(f.Binary, program, 0o700); err != nil {
		t.Fatal(err)
	}
	first := f.guardPid()
	f.kill(first, syscall.SIGKILL)
	stalls := watch(t)
	f.on("valve", time.Second) // once there is another guard
	f.await(false)
	f.closes(f.opens(time.Second), time.Second, stalls)
}

// TestFullDiskStopsWater fills the disk under a gateway whose valve is open: it
// closes in time, and can still be opened and closed.
func TestFullDiskStopsWater(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("headgate", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Fatalf("mount a tmpfs (this needs root): %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	f := newField(t, dir)
	rigtest.Start(t, f.Gateway)
	stalls := watch(t)
	at := f.opens(3 * time.Second)
	filler, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer filler.Close()
	block := make([]byte, 1<<20)
	for size := len(block); size > 0; {
		if _, err := filler.Write(block[:size]); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("closed %.2f s after it was opened for 3 s, with a full disk", f.closes(at, 3*time.Second, stalls).Seconds())
	at = f.opens(3 * time.Second)
	t.Logf("opened with a full disk for 3 s, closed after %.2f s", f.closes(at, 3*time.Second, stalls).Seconds())
}

// TestCommandCarriesItsDuration looks at what a remote valve is sent.
func TestCommandCarriesItsDuration(t *testing.T) {
	t.Parallel()
	f := newField(t, t.TempDir())
	rigtest.Start(t, f.Gateway)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out rig.Output
	sub := anonymous(ctx, "mosquitto_sub", f.Address, "valve-2", "-t", "zigbee2mqtt/v2/set", "-C", "2", "-d")
	sub.Stdout, sub.Stderr = &out, &out
	if err := sub.Start(); err != nil {
		t.Fatalf("%v (apt-get install mosquitto-clients)", err)
	}
	awaitText(ctx, t, &out, "Subscribed")
	f.on("remote", 10*time.Second)
	if text, err := f.Run(ctx, "actuator", "off", "remote"); err != nil {
		t.Fatal(text, err)
	}
	if err := sub.Wait(); err != nil {
		t.Fatalf("mosquitto_sub: %v\n%s", err, out.String())
	}
	for _, want := range []string{`{"state":"ON","on_time":10}`, `{"state":"OFF"}`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the valve got\n%s\nwant %s", out.String(), want)
		}
	}
}

// TestRetainedCommandMovesNothing keeps commands in the broker, to the valve
// itself and to a function that asks for retained messages, and starts the
// gateway again.
func TestRetainedCommandMovesNothing(t *testing.T) {
	t.Parallel()
	f := newField(t, t.TempDir())
	rigtest.Start(t, f.Gateway)
	deploy(t, f.Gateway, `functions:
  opener:
    main: f.js
    triggers: [{mqtt: farm/command, retained: true}]
    permissions: {actuators: [valve]}
`, "export default (event, {actuate, state}) => {\n  state.set('asked', (state.get('asked') ?? 0) + 1);\n  actuate('valve', 'on', {lease: '5m'});\n};\n")
	publish := func(args ...string) {
		t.Helper()
		if b, err := anonymous(t.Context(), "mosquitto_pub", f.Address, "hand", args...).CombinedOutput(); err != nil {
			t.Fatalf("mosquitto_pub: %v\n%s", err, b)
		}
	}
	publish("-r", "-q", "1", "-t", "actuators/valve/set", "-m", "on")
	// What is published is an event like any other; what was kept is none.
	publish("-r", "-q", "1", "-t", "farm/command", "-m", "on")
	f.await(true)
	if out, err := f.Run(t.Context(), "actuator", "off", "valve"); err != nil {
		t.Fatal(out, err)
	}
	f.await(false)
	if err := f.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	asked := ""
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if f.open() {
			t.Fatal("the valve opened")
		}
		out, err := f.Run(t.Context(), "logs", "opener", "--json")
		if err == nil && strings.Contains(out, "retained") {
			asked = out
			break
		}
	}
	if asked == "" {
		t.Fatal("the function was not asked again, so nothing was shown")
	}
	history, err := f.Run(t.Context(), "actuator", "history", "valve")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(history, " on "); n != 1 {
		t.Errorf("the valve came on %d times, want once, before the restart:\n%s", n, history)
	}
	if !slices.Contains(strings.Fields(asked), "retained") {
		t.Log(asked)
	}
}
