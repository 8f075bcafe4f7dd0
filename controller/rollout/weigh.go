package rollout

import (
	"slices"
	"time"

	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of how far one gateway's word moves what is said of all: numbers are
// what gateways claim, and one that lies is to be one of many.
const (
	// heavy is how many times as many events as the median gateway one counts with.
	heavy = 4
	// slowest is how many times as long as on the median gateway an event may take
	// on one, where there are at least many.
	slowest = 10
	many    = 5
)

// sums are the events of some gateways together, each with its weight; voices is
// how many had any.
type sums struct {
	invocations, failures, crashes, busy float64
	voices                               int
}

// weigh sums the events of gateways. One that has far more than the others counts
// for as much as the gate's sample asks for or a few of the others have; its rates
// stay what they are.
func weigh(list []wire.Counts, sample int64) (out sums) {
	var events []uint64
	var took []float64
	for _, c := range list {
		if c.Invocations > 0 {
			events, took = append(events, c.Invocations), append(took, float64(c.Busy)/float64(c.Invocations))
		}
	}
	if len(events) == 0 {
		return out
	}
	slices.Sort(events)
	slices.Sort(took)
	most := max(heavy*float64(events[(len(events)-1)/2]), float64(sample))
	longest := took[len(took)-1]
	if len(took) >= many {
		longest = max(slowest*took[len(took)/2], float64(noticeable/time.Microsecond))
	}
	out.voices = len(events)
	for _, c := range list {
		if c.Invocations == 0 {
			continue
		}
		n := float64(c.Invocations)
		weight := min(n, most)
		out.invocations += weight
		out.failures += weight * min(float64(c.Failures)/n, 1)
		out.crashes += weight * min(float64(c.Crashes)/n, 1)
		out.busy += weight * min(float64(c.Busy)/n, longest)
	}
	return out
}

// part is how many per cent n is.
func part(n, of float64) float64 {
	if of == 0 {
		return 0
	}
	return 100 * n / of
}

// mean is how long an event takes.
func (s sums) mean() time.Duration {
	return time.Duration(min(s.busy/s.invocations*float64(time.Microsecond), float64(1<<62)))
}

// speaks reports whether what was before says enough of what is now: there are
// events enough, and of more than a few of the gateways.
func (s sums) speaks(now sums, sample int64) bool {
	return s.invocations >= float64(sample) && 2*s.voices >= now.voices
}
