package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/headgate-io/headgate/gateway/heartbeat"
)

// How long a piece of work of a loop may take before the gateway counts as
// hung. A slow card under a full journal takes seconds, so do many functions.
const (
	commitWithin = time.Minute
	answerWithin = 20 * time.Second
)

// watchLoops says which loops have to move for the gateway to count as alive.
// Asking for counters takes each package's locks: what holds one for ever is
// found, and nothing on the way of an event pays for it.
func (g *Gateway) watchLoops() {
	ask := func(name string, stats func()) {
		g.pulse.Ping(name, answerWithin, func(context.Context) error { stats(); return nil })
	}
	ask("broker", func() { g.broker.Stats() })
	ask("dispatcher", func() { g.dispatcher.Stats() })
	ask("store", func() { g.store.Stats() })
	ask("timers", func() { g.timers.Stats() })
	ask("triggers", func() { g.triggers.Stats() })
	ask("sensors", func() { g.sensing.sampler.Stats() })
	ask("actuators", func() { g.actuators.controller.Stats() })
	ask("guard", func() { g.actuators.guardStats() })
	ask("objects", func() { g.objects.Stats() })
}

// healthy reports whether all loops move.
func (g *Gateway) healthy() bool { return len(g.pulse.Stuck()) == 0 }

// notifySystemd says that the gateway is ready, and then that it is alive for
// as long as ctx lasts and its loops move, where a supervisor asks for it
// (sd_notify(3), sd_watchdog_enabled(3)).
func (g *Gateway) notifySystemd(ctx context.Context) error {
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return fmt.Errorf("notify systemd: %w", err)
	}
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return fmt.Errorf("systemd watchdog: %w", err)
	}
	if interval == 0 {
		<-ctx.Done()
		return stopping()
	}
	tick := time.NewTicker(interval / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return stopping()
		case <-tick.C:
			if !g.healthy() {
				continue // it is logged where it is found
			}
			if _, err := daemon.SdNotify(false, daemon.SdNotifyWatchdog); err != nil {
				return fmt.Errorf("notify systemd: %w", err)
			}
		}
	}
}

func stopping() error {
	_, err := daemon.SdNotify(false, daemon.SdNotifyStopping)
	return err
}

// runWatchdog feeds the hardware watchdog until ctx ends; told is why that is.
// A gateway without its watchdog is better than none: the doctor says so.
func (g *Gateway) runWatchdog(ctx context.Context, told context.Context) error {
	if g.cfg.Watchdog.Device == "" {
		return nil
	}
	d, err := heartbeat.OpenDevice(g.cfg.Watchdog.Device, time.Duration(g.cfg.Watchdog.Timeout), g.log)
	if err != nil {
		g.watchdogFault.Store(&err)
		g.log.Error("the hardware watchdog does not watch over this gateway", "error", err)
		return nil //nolint:nilerr // it goes on without, as said above
	}
	g.watchdog.Store(d)
	// The end is meant where somebody asked for it, not where a part failed.
	orderly := func() bool { return errors.Is(told.Err(), context.Canceled) }
	return d.Run(ctx, g.healthy, orderly)
}
