package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/gateway/slot"
)

// watch follows one process of the gateway. One goroutine runs it.
type watch struct {
	cfg     *Config
	choice  slot.Choice
	process *os.Process
	exited  <-chan error
	notices <-chan []string
	started time.Time

	ready    bool
	stopping bool
	alive    time.Time // the last sign of life
	well     time.Time // since when the new binary does well
	failing  []string  // what the doctor said about it last

	children sync.WaitGroup
	end      context.CancelFunc
}

func (w *watch) run(ctx context.Context) (err error) {
	own, cancel := context.WithCancel(ctx)
	w.end = cancel
	defer w.children.Wait()
	defer cancel()
	w.cfg.Logger.Info("started", "slot", w.choice.Slot, "pid", w.process.Pid, "trial", w.choice.Trial != nil)
	w.alive = w.started
	tick := time.NewTicker(w.cfg.CheckEvery)
	defer tick.Stop()
	for {
		select {
		case err := <-w.exited:
			return w.ended(err)
		case <-ctx.Done():
			return w.stop()
		case notice := <-w.notices:
			w.noticed(own, notice)
		case <-tick.C:
			if reason := w.stuck(); reason != "" {
				return w.abort(reason)
			}
			if w.choice.Trial == nil {
				continue
			}
			if done, err := w.judge(own); done || err != nil {
				return err
			}
		}
	}
}

// noticed takes what the gateway says of itself.
func (w *watch) noticed(own context.Context, notice []string) {
	for _, n := range notice {
		switch n {
		case "READY=1":
			w.ready, w.alive = true, time.Now()
			if w.cfg.Ready != nil {
				w.children.Go(func() { w.cfg.Ready(own) })
			}
		case "WATCHDOG=1":
			w.alive = time.Now()
		case "STOPPING=1":
			w.stopping, w.alive = true, time.Now()
		}
	}
}

// stuck is why the process has to be ended, or empty.
func (w *watch) stuck() string {
	switch silent := time.Since(w.alive); {
	case !w.ready && time.Since(w.started) > w.cfg.ReadyWithin:
		return fmt.Sprintf("it was not ready within %v", w.cfg.ReadyWithin)
	case w.ready && silent > w.cfg.Watchdog:
		return fmt.Sprintf("it gave no sign of life for %v", silent.Round(time.Second))
	}
	return ""
}

// judge looks at a new binary: it is confirmed when it has done well for a
// while, and taken back when that does not come.
func (w *watch) judge(ctx context.Context) (ended bool, err error) {
	if w.ready && !w.stopping {
		w.failing, err = w.news(ctx)
	}
	switch {
	case !w.ready || w.stopping || err != nil || len(w.failing) > 0:
		w.well = time.Time{}
	case w.well.IsZero():
		w.well = time.Now()
	case time.Since(w.well) >= w.cfg.HealthyFor:
		w.choice.Trial = nil
		w.cfg.Logger.Info("the update is confirmed", "slot", w.choice.Slot, "after", time.Since(w.started).Round(time.Millisecond))
		return false, w.cfg.Slots.Confirm()
	}
	if time.Since(w.started) < w.within() {
		return false, nil
	}
	reason := fmt.Sprintf("it did not become healthy within %v", w.within())
	switch {
	case !w.ready:
		reason += ": it never was ready"
	case err != nil:
		reason += ": " + err.Error()
	case len(w.failing) > 0:
		reason += ": doctor says that this fails: " + strings.Join(w.failing, ", ")
	}
	return true, errors.Join(w.cfg.reject(reason), w.stop())
}

// within is how long a new binary has to show that it works.
func (w *watch) within() time.Duration {
	if w.choice.Trial != nil && w.choice.Trial.Within > 0 {
		return w.choice.Trial.Within
	}
	return w.cfg.HealthyWithin
}

// news are the doctor's checks that fail, and did not before the update.
func (w *watch) news(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, w.cfg.Watchdog)
	defer cancel()
	failing, err := w.cfg.Failing(ctx)
	return slices.DeleteFunc(failing, func(name string) bool { return slices.Contains(w.choice.Trial.Tolerated, name) }), err
}

// ended takes note of a process that ended by itself.
func (w *watch) ended(err error) error {
	if err == nil {
		return nil // it was told to, for an update
	}
	return fmt.Errorf("after %v: %w", time.Since(w.started).Round(time.Millisecond), err)
}

// stop asks the process to end, and makes it.
func (w *watch) stop() error {
	w.end()
	if err := w.process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return w.await(w.cfg.StopWithin)
}

// abort ends a process that does not answer: with SIGABRT first, upon which it
// prints where each of its goroutines stands.
func (w *watch) abort(reason string) error {
	w.end()
	if err := w.process.Signal(syscall.SIGABRT); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return errors.Join(errors.New(reason), w.await(5*time.Second))
}

func (w *watch) await(within time.Duration) error {
	deadline := time.After(within)
	for {
		select {
		case <-w.exited: //nolint:errcheck // it was told to end; how it did is no news
			return nil
		case <-w.notices: // what it says now does not count, and must not hold it up
		case <-deadline:
			if err := w.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return err
			}
			<-w.exited //nolint:errcheck // it was killed
			return fmt.Errorf("it did not end within %v and was killed", within)
		}
	}
}
