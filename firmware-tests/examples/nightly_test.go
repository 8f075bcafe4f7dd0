//go:build e2e

package examples

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestNightly(t *testing.T) {
	example{
		folder: "nightly",
		devices: map[string]device{
			"probes": {publish: []string{"probes/+/reading"}},
			"office": {subscribe: []string{"reports/+"}},
		},
		check: checkNightly,
		without: map[string]string{
			"collect": "collect keeps 0 days, want 330",
			"nightly": "function nightly: not found",
		},
	}.run(t)
}

type measured struct {
	Value float64 `json:"value"`
	At    int64   `json:"at"`
}

// What is kept, and how much of what is older goes in one night.
const (
	keptDays  = 30
	mostAtOne = 200
)

func checkNightly(ctx context.Context, s *site) error {
	office, err := s.listen(ctx, "office")
	if err != nil {
		return err
	}
	defer office.Close()
	madrid, err := time.LoadLocation("Europe/Madrid")
	if err != nil {
		return err
	}
	next, err := isFar(ctx, func(now time.Time) time.Time {
		now = now.In(madrid)
		four := time.Date(now.Year(), now.Month(), now.Day(), 4, 0, 0, 0, madrid)
		if !four.After(now) {
			four = time.Date(now.Year(), now.Month(), now.Day()+1, 4, 0, 0, 0, madrid)
		}
		return four
	})
	if err != nil {
		return err
	}
	night := next
	// Where the machine has a time server, the gateway believes that more than
	// anybody, and its clock cannot be set to four.
	state, err := unix.Adjtimex(&unix.Timex{})
	settable := err != nil || state == unix.TIME_ERROR
	if !settable {
		if _, err := isFar(ctx, func(now time.Time) time.Time { return now.Truncate(24*time.Hour).AddDate(0, 0, 1) }); err != nil {
			return err
		}
		night = time.Now().In(madrid)
	}

	const days = 110
	yesterday, err := s.measure(ctx, night, days)
	if err != nil {
		return err
	}
	if err := s.firesAt(ctx, next); err != nil {
		return err
	}
	if settable {
		_, err = s.Run(ctx, "clock", "set", night.Add(-2*time.Second).Format(time.RFC3339))
	} else {
		_, err = s.Run(ctx, "timer", "run", "nightly")
	}
	if err != nil {
		return err
	}
	date := night.UTC().AddDate(0, 0, -1).Format(time.DateOnly)
	report := map[string]any{"date": date, "probes": yesterday}
	if err := s.exactly(ctx, office, "reports/"+date, []any{report}); err != nil {
		return err
	}
	// What is left of 240 old rows goes in the next night.
	if err := s.keeps(ctx, 3*days-mostAtOne); err != nil {
		return err
	}
	if _, err := s.Run(ctx, "timer", "run", "nightly"); err != nil {
		return err
	}
	if err := s.until(ctx, func() error { return s.keeps(ctx, 3*(keptDays+1)) }); err != nil {
		return err
	}
	s.say("the clock was set to four: %v; reported %s: %v", settable, date, yesterday)
	return nil
}

// measure lets three probes measure on each of the days before the night, and
// on its own; it returns what has to be reported of the last whole one.
func (s *site) measure(ctx context.Context, night time.Time, days int) (yesterday map[string]any, err error) {
	random := rand.New(rand.NewPCG(6, 6))
	yesterday = map[string]any{}
	midnight := night.UTC().Truncate(24 * time.Hour)
	for _, probe := range []string{"barn", "north", "well"} {
		var sent []any
		for day := range days {
			from := midnight.AddDate(0, 0, -day).Unix()
			sum, values := 0.0, []float64{}
			for range 1 + random.IntN(4) {
				m := measured{float64(random.IntN(400))/8 - 10, from + random.Int64N(86400)}
				sent = append(sent, m)
				sum += m.Value // eighths: the order does not matter
				values = append(values, m.Value)
			}
			if day == 1 {
				n := len(values)
				yesterday[probe] = map[string]any{"n": n, "min": slices.Min(values), "max": slices.Max(values), "mean": sum / float64(n)}
			}
		}
		sent = append(sent, `{"value":900,"at":1}`, `{"value":3}`, "nothing")
		random.Shuffle(len(sent), func(i, j int) { sent[i], sent[j] = sent[j], sent[i] })
		if err := s.publish(ctx, "probes", "probes/"+probe+"/reading", sent...); err != nil {
			return nil, err
		}
	}
	return yesterday, s.until(ctx, func() error { return s.keeps(ctx, 3*days) })
}

// keeps compares how many rows collect has.
func (s *site) keeps(ctx context.Context, want int) error {
	out, err := s.Run(ctx, "state", "list", "collect")
	if err != nil {
		return err
	}
	if n := strings.Count(out, "day/"); n != want {
		return fmt.Errorf("collect keeps %d days, want %d", n, want)
	}
	return nil
}

// isFar is the instant that comes next. Where that is near, it waits until it is
// past: no timer may fire and no day end by itself while the check drives the clock.
func isFar(ctx context.Context, next func(now time.Time) time.Time) (time.Time, error) {
	for {
		now := time.Now().UTC()
		at := next(now)
		if at.Sub(now) > 2*time.Minute {
			return at, nil
		}
		select {
		case <-time.After(at.Sub(now)):
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}

// firesAt compares when nightly fires next with the calendar.
func (s *site) firesAt(ctx context.Context, next time.Time) error {
	if _, err := s.Run(ctx, "clock", "set", "now"); err != nil {
		return err
	}
	return s.until(ctx, func() error {
		out, err := s.Run(ctx, "describe", "nightly", "--json")
		if err != nil {
			return err
		}
		var f struct{ Timers []struct{ Next time.Time } }
		if err := json.Unmarshal([]byte(out), &f); err != nil {
			return err
		}
		if len(f.Timers) != 1 || f.Timers[0].Next.Sub(next).Abs() > time.Minute {
			return fmt.Errorf("nightly fires at %v, want %v", f.Timers, next)
		}
		return nil
	})
}
