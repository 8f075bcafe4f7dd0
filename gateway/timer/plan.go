package timer

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
)

// Missed says what follows when the gateway was off, or did not know the time,
// while a timer should have fired.
type Missed string

// The policies. All is bounded: see MostMissed.
const (
	// Skip goes on with the next instant.
	Skip Missed = "skip"
	// Once fires once for all that was missed.
	Once Missed = "once"
	// All fires for each instant that was missed, in order.
	All Missed = "all"
)

// MostMissed bounds the instants that All fires for; the newest count. Once
// counts no further either.
const MostMissed = 100

// ParseMissed reads a policy; empty is Skip.
func ParseMissed(s string) (Missed, error) {
	switch m := Missed(s); m {
	case "":
		return Skip, nil
	case Skip, Once, All:
		return m, nil
	}
	return "", fmt.Errorf("missed %q must be skip, once or all", s)
}

const (
	// grace is how late a firing may be without having been missed.
	grace = time.Minute
	// backBy is how far the wall clock must have gone back for a timer to aim
	// anew. Below, what fired in the repeated time does not fire again.
	backBy = time.Hour
)

// moment is the present on all scales.
type moment struct {
	wall, steady time.Time
	trust        event.Trust
}

// on is the present on the schedule's own scale.
func (m *moment) on(s *Schedule) time.Time {
	if s.Interval() {
		return m.steady
	}
	return m.wall
}

// plan is what a timer does next.
type plan struct {
	// fire is the instant to fire for; zero is none now.
	fire time.Time
	// missed is how many instants before were missed and fire no more, or with
	// Once the firing stands for.
	missed int
	// aim is true when the timer's due changes to due without a firing.
	aim bool
	due time.Time // after the firing, or the aim
	// back is true when it aims anew because the clock went back.
	back bool
	// blind is true while the clock cannot be relied on.
	blind bool
}

// decide says what a timer does now. It is a function of its arguments alone.
func decide(s *Schedule, missed Missed, onEstimate bool, due, seen time.Time, m *moment) plan {
	now := m.on(s)
	switch {
	case !s.Interval() && m.trust != event.TimeSynchronised && (!onEstimate || m.trust == event.TimeUnknown):
		return plan{blind: true}
	case due.IsZero():
		return plan{aim: true, due: s.Next(now)}
	case now.Before(seen.Add(-backBy)):
		return plan{aim: true, due: s.Next(now), back: true}
	case due.After(now):
		return plan{}
	case now.Sub(due) <= grace && s.Next(due).After(now):
		return plan{fire: due, due: s.Next(due)}
	}
	instants, more := between(s, due, now)
	switch missed {
	case Skip:
		// The newest may be in its grace, and then it is no miss.
		last := instants[len(instants)-1]
		if now.Sub(last) <= grace {
			return plan{fire: last, missed: len(instants) - 1, due: s.Next(now)}
		}
		return plan{aim: true, missed: len(instants), due: s.Next(now)}
	case Once:
		return plan{fire: instants[len(instants)-1], missed: len(instants) - 1, due: s.Next(now)}
	default:
		p := plan{fire: instants[0], due: s.Next(now)}
		if more {
			p.missed = 1 // at least: nobody counts ten years of minutes
		}
		if len(instants) > 1 {
			p.due = instants[1]
		}
		return p
	}
}

// between lists the instants of a schedule from due to now, the newest
// MostMissed of them; more says that there are others before.
func between(s *Schedule, due, now time.Time) (instants []time.Time, more bool) {
	if s.Interval() {
		// Counted back from now in whole intervals.
		n := int64(now.Sub(due) / s.every)
		first := max(0, n-MostMissed+1)
		for i := first; i <= n; i++ {
			instants = append(instants, due.Add(time.Duration(i)*s.every))
		}
		return instants, first > 0
	}
	for span := time.Hour; ; span *= 4 {
		from := now.Add(-span)
		all := span > now.Sub(due) || span <= 0
		instants = instants[:0]
		if all {
			from = due
			instants = append(instants, due)
		}
		dropped := 0
		for at := s.Next(from); !at.IsZero() && !at.After(now); at = s.Next(at) {
			if len(instants) == MostMissed {
				instants = append(instants[:0], instants[1:]...)
				dropped++
			}
			instants = append(instants, at)
		}
		if all || len(instants) == MostMissed {
			return instants, !all || dropped > 0
		}
	}
}
