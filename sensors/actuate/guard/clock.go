package guard

import (
	"time"

	"golang.org/x/sys/unix"
)

// SinceBoot is the time since the machine started, with what it slept
// (clock_gettime(2), CLOCK_BOOTTIME): gateway and guard count the same, and no
// correction of the wall clock moves it.
func SinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("clock_gettime(CLOCK_BOOTTIME): " + err.Error()) // Linux has it since 2.6.39
	}
	return time.Duration(ts.Nano())
}
