package heartbeat

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Device is a hardware watchdog (Documentation/watchdog/watchdog-api.rst of the
// kernel): it resets the board unless it is written to in time.
type Device struct {
	path    string
	timeout time.Duration
	log     *slog.Logger
	f       *os.File
	pings   atomic.Uint64
}

// magicClose tells the driver that the end is meant: it stops counting.
const magicClose = "V"

// OpenDevice starts the watchdog. Only one process can have it: an image whose
// init has it needs none here.
func OpenDevice(path string, timeout time.Duration, log *slog.Logger) (*Device, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		if errors.Is(err, unix.EBUSY) {
			err = fmt.Errorf("%w: another program has it already, such as systemd (RuntimeWatchdogSec) or the image's init: leave watchdog.device out", err)
		}
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	d := &Device{path: path, timeout: timeout, log: log, f: f}
	seconds := int((timeout + time.Second - 1) / time.Second)
	switch err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETTIMEOUT, seconds); {
	case errors.Is(err, unix.ENOTTY), errors.Is(err, unix.EOPNOTSUPP):
		log.Warn("the watchdog keeps a time of its own", "device", path)
	case err != nil:
		return nil, errors.Join(fmt.Errorf("watchdog %s: it does not take %v: choose another watchdog.timeout: %w", path, timeout, err), f.Close())
	}
	return d, nil
}

// Run writes to the watchdog while healthy says so, until ctx ends. Then it is
// told to stop counting if orderly says that the end is meant; else the board is
// reset unless somebody else takes over in time.
func (d *Device) Run(ctx context.Context, healthy, orderly func() bool) error {
	t := time.NewTicker(max(d.timeout/3, time.Millisecond))
	defer t.Stop()
	for {
		if healthy() {
			if _, err := d.f.WriteString("\x00"); err != nil {
				d.log.Error("write to the watchdog", "device", d.path, "error", err)
			}
			d.pings.Add(1)
		}
		select {
		case <-ctx.Done():
			return d.close(orderly())
		case <-t.C:
		}
	}
}

func (d *Device) close(orderly bool) error {
	var err error
	if orderly {
		_, err = d.f.WriteString(magicClose)
	}
	return errors.Join(err, d.f.Close())
}

// DeviceStats counts what was written to the watchdog.
type DeviceStats struct{ Pings uint64 }

// Stats returns the counters; a nil Device has none.
func (d *Device) Stats() DeviceStats {
	if d == nil {
		return DeviceStats{}
	}
	return DeviceStats{d.pings.Load()}
}
