package clock

import (
	"os"
	"strings"
	"time"
)

// system is the machine's own clocks.
type system struct {
	start     time.Time // with a monotonic reading
	startBoot time.Duration
	boot      string
}

// System returns the machine's own clocks.
func System() Source {
	s := &system{start: time.Now(), startBoot: sinceBoot()}
	if raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.boot = strings.TrimSpace(string(raw))
	}
	return s
}

// Read implements Source.
func (s *system) Read() (time.Time, time.Duration) {
	now := time.Now()
	return now.Round(0), s.startBoot + now.Sub(s.start)
}

// SinceBoot implements Source.
func (s *system) SinceBoot() time.Duration {
	if d := sinceBoot(); d > 0 {
		return d
	}
	return s.startBoot + time.Since(s.start)
}

// Synchronised implements Source.
func (s *system) Synchronised() bool { return synchronised() }

// BootID implements Source.
func (s *system) BootID() string { return s.boot }
