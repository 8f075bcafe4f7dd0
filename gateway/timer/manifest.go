package timer

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
)

// Of returns the timers that a function's triggers ask for, or every fault,
// joined, each a *trigger.FieldError.
func Of(spec *function.Spec) ([]store.Timer, error) {
	var timers []store.Timer
	var faults []error
	seen := make(map[string]bool)
	for i := range spec.Triggers {
		t := &spec.Triggers[i]
		name, schedule, ok := t.Timer(spec.Name)
		if !ok {
			continue
		}
		if field, err := check(t, schedule); err != nil {
			faults = append(faults, &trigger.FieldError{Trigger: i, Field: field, Err: err})
			continue
		}
		if !seen[name] { // one may stand in several triggers, with other conditions
			seen[name] = true
			timers = append(timers, store.Timer{
				Name: name, Function: spec.Name, Schedule: schedule, Timezone: t.Timezone, Missed: t.Missed, OnEstimate: t.OnEstimate,
			})
		}
	}
	return timers, errors.Join(faults...)
}

// check says what is wrong with a trigger's times, and in which field.
func check(t *function.Trigger, schedule string) (field string, err error) {
	if t.Every != nil {
		if t.Every.Std() < minEvery {
			return "every", fmt.Errorf("%v is shorter than %v, the shortest interval there is", t.Every, minEvery)
		}
		_, err = Parse(schedule, "")
		return "every", err
	}
	if strings.HasPrefix(schedule, "@every") {
		return "cron", errors.New("an interval is a kind of its own: write every: 15m")
	}
	if _, err := time.LoadLocation(t.Timezone); err != nil || t.Timezone == "Local" {
		return "timezone", fmt.Errorf("%q is not known: write it as Europe/Madrid", t.Timezone)
	}
	_, err = Parse(schedule, t.Timezone)
	return "cron", err
}
