package timer_test

import (
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/timer"
)

// The clocks of Madrid go forward on 29 March 2026 at 02:00 (01:00 UTC) and
// back on 25 October at 03:00 (01:00 UTC).
func TestNext(t *testing.T) {
	for _, c := range []struct{ name, schedule, zone, from, want string }{
		{"daily", "0 5 * * *", "", "2026-07-01T05:00:00Z", "2026-07-02T05:00:00Z"},
		{"in a zone", "0 5 * * *", "Europe/Madrid", "2026-07-01T00:00:00Z", "2026-07-01T03:00:00Z"},
		{"weekday", "30 6 * * 1-5", "", "2026-07-03T06:30:00Z", "2026-07-06T06:30:00Z"},
		{"leap day", "0 0 29 2 *", "", "2026-01-01T00:00:00Z", "2028-02-29T00:00:00Z"},
		{"descriptor", "@daily", "America/New_York", "2026-07-01T00:00:00Z", "2026-07-01T04:00:00Z"},
		{"interval", "@every 90m", "", "2026-07-01T00:00:10Z", "2026-07-01T01:30:10Z"},
		{"before the gap", "30 2 * * *", "Europe/Madrid", "2026-03-27T12:00:00Z", "2026-03-28T01:30:00Z"},
		{"in the gap: the next instant there is", "30 2 * * *", "Europe/Madrid", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
		{"after the gap", "30 2 * * *", "Europe/Madrid", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"},
		{"several in the gap are one", "0,20,40 2 * * *", "Europe/Madrid", "2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"},
		{"repeated: the first pass", "30 2 * * *", "Europe/Madrid", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"},
		{"repeated: once", "30 2 * * *", "Europe/Madrid", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"},
		{"repeated: from the second pass", "30 2 * * *", "Europe/Madrid", "2026-10-25T01:10:00Z", "2026-10-26T01:30:00Z"},
		{"every hour, into the second pass", "30 * * * *", "Europe/Madrid", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"},
		{"every hour, over the gap", "30 * * * *", "Europe/Madrid", "2026-03-29T00:30:00Z", "2026-03-29T01:30:00Z"},
		{"every ten minutes, at the edge", "*/10 * * * *", "Europe/Madrid", "2026-10-25T00:50:00Z", "2026-10-25T01:00:00Z"},
		{"half an hour's daylight saving", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", "2026-10-03T15:30:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := timer.Parse(c.schedule, c.zone)
			if err != nil {
				t.Fatal(err)
			}
			from, err := time.Parse(time.RFC3339, c.from)
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Next(from).UTC().Format(time.RFC3339); got != c.want {
				t.Errorf("after %s comes %s, want %s", c.from, got, c.want)
			}
		})
	}
}

// Whatever the zone, a schedule that names its hours comes once a day, all the
// year, and time moves forward.
func TestOnceADay(t *testing.T) {
	for _, zone := range []string{"UTC", "Europe/Madrid", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"} {
		for _, schedule := range []string{"30 1 * * *", "30 2 * * *", "0 3 * * *", "0 0 * * *"} {
			s, err := timer.Parse(schedule, zone)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
			days := map[string]bool{}
			for range 365 {
				next := s.Next(at)
				if !next.After(at) {
					t.Fatalf("%s in %s: after %v comes %v", schedule, zone, at, next)
				}
				at = next
				days[at.Format(time.DateOnly)] = true
			}
			if len(days) != 365 {
				t.Errorf("%s in %s came on %d of 365 days", schedule, zone, len(days))
			}
		}
	}
}

func TestParseFaults(t *testing.T) {
	for _, c := range []struct{ schedule, zone, want string }{
		{"", "", "write it as"},
		{"* * * *", "", "write it as"},
		{"60 * * * *", "", "write it as"},
		{"0 0 30 2 *", "", "never comes"},
		{"@every 10ms", "", "at least 1s"},
		{"@every", "", "write it as"},
		{"@reboot", "", "write it as"},
		{"TZ=UTC 0 0 * * *", "", "a field of its own"},
		{"TZ=", "", "a field of its own"},
		{"0 0 * * *", "Middle/Earth", "Europe/Madrid"},
		{"0 0 * * *", "Local", "Europe/Madrid"},
		{strings.Repeat("1,", 200) + "1 * * * *", "", "longer than"},
	} {
		if _, err := timer.Parse(c.schedule, c.zone); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q in %q: %v, want %s", c.schedule, c.zone, err, c.want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("0 5 * * *", "Europe/Madrid")
	f.Add("@every 1h", "")
	f.Fuzz(func(t *testing.T, schedule, zone string) {
		s, err := timer.Parse(schedule, zone)
		if err != nil {
			return
		}
		from := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
		if next := s.Next(from); !next.IsZero() && !next.After(from) {
			t.Errorf("%q in %q: after %v comes %v", schedule, zone, from, next)
		}
	})
}
