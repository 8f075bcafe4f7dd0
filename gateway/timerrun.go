package gateway

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/timer"
)

var _ admin.Timers = operator{}

// timerTarget starts what timers fire for.
func (g *Gateway) timerTarget() timer.Dispatch {
	return timer.Dispatch{Dispatcher: g.dispatcher, Clock: g.clock.Load(), Triggers: g.triggers}
}

// RunTimer fires a timer of a function now, beside its schedule.
func (o operator) RunTimer(ctx context.Context, run api.TimerRun) (api.TimerRan, error) {
	if err := o.g.checkReady(); err != nil {
		return api.TimerRan{}, admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	f, err := o.g.registry.Describe(ctx, run.Function)
	if err != nil {
		return api.TimerRan{}, err
	}
	t, err := timerOf(&f.Spec, run.Schedule)
	if err != nil {
		return api.TimerRan{}, admin.Refusal(err)
	}
	name, schedule, _ := t.Timer(run.Function)
	due := o.g.now()
	started, err := o.g.timerTarget().Run(ctx, timer.Firing{Timer: name, Function: run.Function, Schedule: schedule, Due: due})
	return api.TimerRan{Function: run.Function, Trigger: t.String(), Due: due, Started: started}, err
}

// timerOf is the trigger that is meant by its cron or every; by nothing, where
// there is one timer only.
func timerOf(spec *function.Spec, schedule string) (*function.Trigger, error) {
	var found []*function.Trigger
	var all []string
	seen := map[string]bool{}
	for i := range spec.Triggers {
		t := &spec.Triggers[i]
		name, _, ok := t.Timer(spec.Name)
		if !ok || seen[name] { // one timer may stand in several triggers
			continue
		}
		seen[name] = true
		all = append(all, t.String())
		if schedule == "" || means(t, schedule) {
			found = append(found, t)
		}
	}
	there := strings.Join(all, ", ")
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%s has no timer: give it a trigger with cron or every", spec.Name)
	case len(found) == 0:
		return nil, fmt.Errorf("%s has no timer %q: it has %s", spec.Name, schedule, there)
	case len(found) > 1:
		return nil, fmt.Errorf("%s has several timers: name the cron or every of one of %s", spec.Name, there)
	}
	return found[0], nil
}

// means reports whether the schedule is the trigger's, however it is written.
func means(t *function.Trigger, schedule string) bool {
	var every function.Duration
	if t.Every != nil {
		return every.UnmarshalText([]byte(schedule)) == nil && every == *t.Every
	}
	return slices.Equal(strings.Fields(t.Cron), strings.Fields(schedule))
}
