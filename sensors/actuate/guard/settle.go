package guard

import (
	"os"

	"golang.org/x/sys/unix"
)

// settle makes the guard hard to take away: its memory is not swapped, and the
// kernel ends others first when memory runs out. Both need rights that it may
// not have; it works without.
func settle() {
	// MCL_ONFAULT: what is used is locked, not the whole program.
	_ = unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("-1000"), 0o644)
}
