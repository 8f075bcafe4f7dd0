package gateway_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/internal/slow"
)

func every(d time.Duration) *function.Duration { return (*function.Duration)(&d) }

// until waits until the condition holds.
func (r *rig) until(what string, cond func() bool) {
	r.Helper()
	for deadline := time.Now().Add(time.Minute); !cond(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatal("waited in vain until " + what)
		}
	}
}

func (r *rig) timers(name string) map[string]time.Time {
	r.Helper()
	var f api.FunctionDetail
	r.call(http.MethodGet, "/v1/functions/"+name, nil, &f)
	out := map[string]time.Time{}
	for _, t := range f.Timers {
		out[t.Trigger] = t.Next
	}
	return out
}

// A timer starts its function in the commit that advances it; where the
// condition is false it advances all the same.
func TestTimerTrigger(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	r := start(t, t.TempDir())
	r.script("tick", "", `export default (event, { state }) => {
	  state.set("n", (state.get("n") ?? 0) + 1);
	  state.set("event", [event.meta("type"), event.data.schedule, Number.isInteger(event.data.missed), event.source.startsWith("/timers/tick/")]);
	};`, takes(function.Trigger{Every: every(time.Second)}))
	r.script("never", "", notes, takes(function.Trigger{Every: every(time.Second), When: "data.missed > 1000"}))
	r.eventually("tick", "n", "2")
	if got := r.state("tick", "event"); got != `["io.headgate.timer","@every 1s",true,true]` {
		t.Errorf("the event is %s", got)
	}
	fired := r.counter("headgate_timer_fired_total")
	r.until("both have fired again", func() bool { return r.counter("headgate_timer_fired_total") >= fired+4 })
	if got := r.state("never", "all"); got != "" {
		t.Errorf("the condition let %s through", got)
	}
	if n := r.queued("tick") + r.queued("never"); n > 1 {
		t.Errorf("%d rows wait", n)
	}
}

// A deploy, a rollback, a restart and a removal leave the timers as the live
// version's triggers say; what stays the same keeps its next firing.
func TestTimersFollowTheVersion(t *testing.T) {
	dir := t.TempDir()
	r := start(t, dir)
	far, cron := function.Trigger{Every: every(24 * time.Hour)}, function.Trigger{Cron: "0 5 * * *", Timezone: "Europe/Madrid", OnEstimate: true}
	r.script("f", "", "export default () => {};", takes(far))
	r.until("it has a next firing", func() bool { return !r.timers("f")[far.String()].IsZero() })
	was := r.timers("f")[far.String()]
	near := func(when time.Time) bool { return when.Sub(was).Abs() < time.Second }

	r.script("f", "", "export default () => 2;", takes(cron, far)) // another place in the list
	r.until("the new one is there too", func() bool { return len(r.timers("f")) == 2 && !r.timers("f")[cron.String()].IsZero() })
	if got := r.timers("f")[far.String()]; !near(got) {
		t.Errorf("a deploy moved the next firing from %v to %v", was, got)
	}
	asked := time.Now()
	if next := r.timers("f")[cron.String()]; next.Minute() != 0 || next.Before(asked) || next.After(time.Now().Add(25*time.Hour)) {
		t.Errorf("%s fires at %v", &cron, next)
	}
	r.call(http.MethodPost, "/v1/functions/f/rollback", api.Rollback{}, nil)
	if got := r.timers("f"); len(got) != 1 || !near(got[far.String()]) {
		t.Errorf("after the rollback %v, it was %v", got, was)
	}
	if n := r.counter("headgate_timer_timers"); n != 1 {
		t.Errorf("%d timers after the rollback", n)
	}
	r.stop()
	r = start(t, dir)
	if got := r.timers("f"); len(got) != 1 || !near(got[far.String()]) {
		t.Errorf("after the restart %v, it was %v", got, was)
	}
	r.call(http.MethodDelete, "/v1/functions/f", nil, nil)
	if n := r.counter("headgate_timer_timers"); n != 0 {
		t.Errorf("%d timers after the removal", n)
	}
}

// Faults of times are refused where they are.
func TestTimerFaults(t *testing.T) {
	r := start(t, t.TempDir())
	for want, tr := range map[string]function.Trigger{
		"triggers[0].cron":     {Cron: "61 * * * *"},
		"write every: 15m":     {Cron: "@every 5m"},
		"triggers[0].timezone": {Cron: "0 5 * * *", Timezone: "Europe/Nowhere"},
		"triggers[0].every":    {Every: every(time.Millisecond)},
		"never comes":          {Cron: "0 0 30 2 *"},
	} {
		spec := function.Spec{Name: "f", Main: "f.js", Triggers: []function.Trigger{tr}}
		if err := r.tryDeploy(spec, "export default () => {};"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: deployed with %v, want %s", &tr, err, want)
		}
	}
	var list []api.Function
	if err := r.client.Do(context.Background(), http.MethodGet, "/v1/functions", nil, &list); err != nil || len(list) != 0 {
		t.Errorf("deployed: %+v, %v", list, err)
	}
}

// A timer that an operator fires starts what its schedule would start, and the
// schedule stays as it is.
func TestTimerByHand(t *testing.T) {
	r := start(t, t.TempDir())
	far := function.Trigger{Every: every(24 * time.Hour), When: "config.on"}
	deploy := func(on bool) {
		r.script("f", "", `export default (event, { state }) => state.set("due", [event.meta("type"), event.data.due, event.data.schedule]);`,
			takes(far), func(s *function.Spec) { s.Config = map[string]any{"on": on} })
	}
	deploy(true)
	r.until("it has a next firing", func() bool { return !r.timers("f")[far.String()].IsZero() })
	next := r.timers("f")[far.String()]
	var ran api.TimerRan
	r.call(http.MethodPost, "/v1/timers", api.TimerRun{Function: "f"}, &ran)
	if !ran.Started || time.Since(ran.Due).Abs() > time.Minute {
		t.Errorf("%+v", ran)
	}
	due := ran.Due.UTC().Truncate(time.Millisecond).Format(time.RFC3339Nano)
	r.eventually("f", "due", `["io.headgate.timer","`+due+`","@every 24h0m0s"]`)
	if got := r.timers("f")[far.String()]; got.Sub(next).Abs() > time.Second {
		t.Errorf("the next firing moved from %v to %v", next, got)
	}
	deploy(false)
	if r.call(http.MethodPost, "/v1/timers", api.TimerRun{Function: "f"}, &ran); ran.Started {
		t.Errorf("started although its condition is false: %+v", ran)
	}
}
