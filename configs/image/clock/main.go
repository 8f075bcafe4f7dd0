// Command clock sets the board's clock from time servers, and tells the kernel
// how far it can be trusted (adjtimex(2)): that is what the gateway goes by.
// A board without a battery wakes up in 1970, and the first answer moves it.
//
// The servers are those in /perm/headgate/system/ntp, one a line, which the
// setup file can name; else those of pool.ntp.org.
package main

import (
	"log"
	"os"
	"strings"
	"time"

	"github.com/beevik/ntp"
	"golang.org/x/sys/unix"
)

const (
	serversFile = "/perm/headgate/system/ntp"
	retry       = 5 * time.Second
	// every is well below the time in which the kernel's bound of the error,
	// that grows by 500 ppm, comes to 16 s and it counts as lost.
	every = time.Hour
	// step is from where the clock is set, and not slewed.
	step = 500 * time.Millisecond
)

func servers() []string {
	raw, err := os.ReadFile(serversFile)
	if list := strings.Fields(string(raw)); err == nil && len(list) > 0 {
		return list
	}
	return []string{"0.pool.ntp.org", "1.pool.ntp.org", "2.pool.ntp.org", "3.pool.ntp.org"}
}

func main() {
	failures := 0
	for i := 0; ; i++ {
		list := servers()
		server := list[i%len(list)]
		if err := set(server); err != nil {
			if failures++; failures&(failures-1) == 0 { // the 1st, 2nd, 4th, 8th ...
				log.Printf("%s: %v (failure %d)", server, err, failures)
			}
			time.Sleep(min(time.Duration(failures)*retry, 5*time.Minute))
			continue
		}
		failures = 0
		time.Sleep(every)
	}
}

// set asks one server and follows it.
func set(server string) error {
	r, err := ntp.QueryWithOptions(server, ntp.QueryOptions{Timeout: 5 * time.Second})
	if err != nil {
		return err
	}
	if err := r.Validate(); err != nil {
		return err
	}
	if r.ClockOffset.Abs() >= step {
		t := time.Now().Add(r.ClockOffset)
		tv := unix.NsecToTimeval(t.UnixNano())
		if err := unix.Settimeofday(&tv); err != nil {
			return err
		}
		log.Printf("clock set to %v by %s", t.UTC(), server)
		r.ClockOffset = 0
	}
	return trust(r.ClockOffset, r.RootDistance)
}

// Modes and states of adjtimex(2).
const (
	adjOffset   = 0x0001
	adjMaxError = 0x0004
	adjEstError = 0x0008
	adjStatus   = 0x0010
	adjNano     = 0x2000
	staPLL      = 0x0001
)

// trust slews the clock by offset and clears the kernel's mark of a clock that
// nobody has set.
func trust(offset, distance time.Duration) error {
	t := unix.Timex{Modes: adjOffset | adjMaxError | adjEstError | adjStatus | adjNano, Status: staPLL}
	t.Offset = int64(offset)
	t.Maxerror, t.Esterror = distance.Microseconds(), distance.Microseconds()
	_, err := unix.Adjtimex(&t)
	return err
}
