// Package launch starts the gateway's binary where no service manager does, and
// stands behind it as systemd would: it is told that the gateway is ready and
// that it is alive, ends it when it is not, and starts it again. It decides
// together with package slot which binary that is: a new one that does not
// become ready, or fails the doctor where the old one did not, is taken back.
package launch

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/gateway/slot"
)

// Config configures a launcher. Zero durations take the defaults named beside
// them.
type Config struct {
	Slots *slot.Dir
	// Args follow the binary's name, Env adds to the launcher's environment.
	Args, Env []string
	// Safe are the arguments with which the base binary makes the board safe
	// after a gateway has ended, however that was; none is nothing to do.
	Safe []string
	// Failing asks the running gateway for the doctor's checks that fail.
	Failing func(ctx context.Context) ([]string, error)
	// Ready is called each time that the gateway has become ready; its ctx
	// ends with that gateway.
	Ready          func(ctx context.Context)
	Stdout, Stderr io.Writer
	Logger         *slog.Logger

	ReadyWithin   time.Duration // 5 min: a damaged database is copied in that time
	Watchdog      time.Duration // 30 s without a sign of life end the gateway
	StopWithin    time.Duration // 30 s
	Pause         time.Duration // 1 s, between two starts
	SafeWithin    time.Duration // 25 s
	HealthyFor    time.Duration // 10 s: how long a new binary has to do well
	HealthyWithin time.Duration // 2 min, from its start
	CheckEvery    time.Duration // 1 s, of a new binary
}

func (c *Config) defaults() {
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&c.ReadyWithin, 5 * time.Minute},
		{&c.Watchdog, 30 * time.Second},
		{&c.StopWithin, 30 * time.Second},
		{&c.Pause, time.Second},
		{&c.SafeWithin, 25 * time.Second},
		{&c.HealthyFor, 10 * time.Second},
		{&c.HealthyWithin, 2 * time.Minute},
		{&c.CheckEvery, time.Second},
	} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
}

// Run starts the gateway, again and again, until ctx ends. It never gives up:
// water depends on it.
func Run(ctx context.Context, c Config) error {
	c.defaults()
	// The kernel ends the child with the thread that started it (prctl(2),
	// PR_SET_PDEATHSIG): this one must live as long as the launcher.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for ctx.Err() == nil {
		choice, err := c.Slots.Next()
		if err != nil {
			c.Logger.Error("choose a binary: what is known of them cannot be written", "error", err)
		}
		if err := c.once(ctx, choice); err != nil {
			c.Logger.Error("the gateway ended", "slot", choice.Slot, "error", err)
		}
		c.makeSafe(ctx)
		select {
		case <-ctx.Done():
		case <-time.After(c.Pause):
		}
	}
	return nil
}

// once runs one process of the gateway to its end.
func (c *Config) once(ctx context.Context, choice slot.Choice) error {
	n, err := listen()
	if err != nil {
		return err
	}
	defer n.close()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), choice.Path, c.Args...)
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	cmd.Env = append(environ(), c.Env...)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+n.path, "WATCHDOG_USEC="+strconv.FormatInt(c.Watchdog.Microseconds(), 10))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// A grandchild that keeps the pipes open must not keep Wait.
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		if choice.Trial != nil {
			return fmt.Errorf("start: %w", c.reject(err.Error()))
		}
		return fmt.Errorf("start: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	w := watch{cfg: c, choice: choice, process: cmd.Process, exited: exited, notices: n.notices, started: time.Now()}
	return w.run(ctx)
}

// makeSafe does what ExecStopPost does under systemd. It takes the base binary:
// the one that ended may be broken.
func (c *Config) makeSafe(ctx context.Context) {
	if len(c.Safe) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.SafeWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Slots.Path(slot.Base), c.Safe...)
	cmd.Stdout, cmd.Stderr, cmd.Env = c.Stdout, c.Stderr, append(environ(), c.Env...)
	if err := cmd.Run(); err != nil {
		c.Logger.Error("make the board safe", "error", err)
	}
}

func (c *Config) reject(reason string) error {
	if err := c.Slots.Reject(reason); err != nil {
		return err
	}
	c.Logger.Warn("the update was taken back", "reason", reason)
	return nil
}

// environ is the launcher's environment without what its own supervisor meant
// for it.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return name == "NOTIFY_SOCKET" || name == "WATCHDOG_USEC" || name == "WATCHDOG_PID"
	})
}
