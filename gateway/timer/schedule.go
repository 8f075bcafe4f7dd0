// Package timer fires durable timers: calendars and intervals that outlive the
// process, fire exactly once for each instant whatever kills the gateway, and
// wait for a clock that can be relied on.
//
// A calendar is read on the wall clock of its time zone. Where daylight saving
// leaves an hour out, what would be in it comes at the next instant that there
// is; where it repeats an hour, what names that hour comes once, in its first
// pass. A calendar that fires in every hour goes on in both.
package timer

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // boards may have no zone files

	"github.com/robfig/cron/v3"
)

// Schedule says when a timer fires.
type Schedule struct {
	spec  *cron.SpecSchedule // nil for an interval
	every time.Duration
	loc   *time.Location
}

// minEvery is the shortest interval.
const minEvery = time.Second

var parser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Parse reads a schedule: five fields as cron has them (minute, hour, day of
// the month, month, day of the week), @hourly, @daily, @weekly, @monthly or
// @yearly, or @every and a duration. The time zone is an IANA name; empty is
// UTC.
func Parse(schedule, timezone string) (*Schedule, error) {
	loc, err := time.LoadLocation(timezone)
	if err != nil || timezone == "Local" {
		return nil, fmt.Errorf("timezone %q is not known: write it as Europe/Madrid", timezone)
	}
	if len(schedule) > 256 {
		return nil, errors.New("the schedule is longer than 256 characters")
	}
	if text, ok := strings.CutPrefix(schedule, "@every "); ok {
		every, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || every < minEvery {
			return nil, fmt.Errorf("schedule %q: write the interval as 90s, 10m or 1h30m, at least %v", schedule, minEvery)
		}
		return &Schedule{every: every, loc: loc}, nil
	}
	spec, err := parse(schedule)
	if err != nil {
		return nil, fmt.Errorf("schedule %q: %w: write it as \"0 5 * * *\" (minute hour day month weekday) or \"@daily\"", schedule, err)
	}
	if spec.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("schedule %q never comes: there is no such day", schedule)
	}
	return &Schedule{spec: spec, loc: loc}, nil
}

// parse keeps the library's panics and its own time zones out.
func parse(schedule string) (spec *cron.SpecSchedule, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it is malformed")
		}
	}()
	if strings.HasPrefix(schedule, "TZ=") || strings.HasPrefix(schedule, "CRON_TZ=") {
		return nil, errors.New("the time zone is a field of its own")
	}
	parsed, err := parser.Parse(schedule)
	if err != nil {
		return nil, err
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, errors.New("it is of no known kind")
	}
	return spec, nil
}

// Interval reports whether it fires by elapsed time, not by the calendar.
func (s *Schedule) Interval() bool { return s.spec == nil }

// Next is the first instant after t at which the schedule fires; zero is never.
// For an interval t is on the steady scale, else on the wall clock.
func (s *Schedule) Next(t time.Time) time.Time {
	switch {
	case s.spec == nil:
		return t.Add(s.every)
	case s.spec.Hour>>63 == 1: // the library's mark of a star
		return s.nextReal(t)
	}
	// Civil times are computed with as if in UTC, where every hour is there
	// once.
	civil := civilOf(t.In(s.loc))
	spec := *s.spec
	spec.Location = time.UTC
	for {
		if civil = spec.Next(civil); civil.IsZero() {
			return civil
		}
		// In the second pass of an hour the first is over.
		if at := instantOf(civil, s.loc); at.After(t) {
			return at
		}
	}
}

// nextReal steps through real time, from one offset of the zone to the next.
func (s *Schedule) nextReal(t time.Time) time.Time {
	spec := *s.spec
	for range 64 {
		segment := t.Add(time.Nanosecond).In(s.loc)
		_, offset := segment.Zone()
		_, end := segment.ZoneBounds()
		spec.Location = time.FixedZone("", offset)
		next := spec.Next(t.In(spec.Location))
		if next.IsZero() || end.IsZero() || next.Before(end) {
			return next.In(s.loc)
		}
		t = end.Add(-time.Nanosecond)
	}
	return time.Time{}
}

// civilOf is what the clock on the wall shows, as if it were in UTC.
func civilOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instantOf is when the wall clock of loc shows a civil time: for the first
// time where that happens twice, at the next instant where it never does.
func instantOf(civil time.Time, loc *time.Location) time.Time {
	t := time.Date(civil.Year(), civil.Month(), civil.Day(), civil.Hour(), civil.Minute(), civil.Second(), 0, loc)
	start, end := t.ZoneBounds()
	if civilOf(t).Equal(civil) {
		if start.IsZero() {
			return t
		}
		_, offset := t.Zone()
		_, before := start.Add(-time.Nanosecond).Zone()
		first := t.Add(time.Duration(offset-before) * time.Second)
		if first.Before(start) && civilOf(first.In(loc)).Equal(civil) {
			return first
		}
		return t
	}
	// It is in a gap, whose end is where one of the two offsets begins.
	for _, edge := range [...]time.Time{start, end} {
		if edge.IsZero() {
			continue
		}
		last, first := civilOf(edge.Add(-time.Nanosecond).In(loc)), civilOf(edge.In(loc))
		if last.Before(civil) && civil.Before(first) {
			return edge.In(loc)
		}
	}
	return t
}
