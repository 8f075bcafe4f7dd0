package rollout_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

var epoch = time.Date(2026, 3, 29, 1, 59, 59, 0, time.UTC)

func strategy(t interface{ Fatal(...any) }, n api.NewStrategy) api.Strategy {
	s, err := fleet.Complete(n)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// look is a deployment of 100 gateways in its second wave of 10, each of which
// is live since a minute after it began, with 10 events and no failure.
func look(t *testing.T) rollout.Look {
	l := rollout.Look{
		Deployment: store.Deployment{ID: "d", Function: "a", Targets: []store.Target{{Name: "a-2"}}, State: store.Running, Wave: 2, Waves: 4, WaveBegan: epoch},
		Strategy:   strategy(t, api.NewStrategy{}), Chosen: 100,
	}
	for i := range 10 {
		r := store.Reached{
			Gateway: fmt.Sprint("g", i), Name: fmt.Sprint("gw-", i), Wave: 2, At: epoch, State: store.GatewayLive, Changed: epoch.Add(time.Minute), Seen: epoch.Add(10 * time.Minute),
			Old: wire.Counts{Invocations: 10, Busy: 10_000}, New: wire.Counts{Invocations: 10, Busy: 10_000},
		}
		if i == 0 {
			r.Wave = 1
		}
		l.Reached = append(l.Reached, r)
	}
	return l
}

func TestJudge(t *testing.T) {
	soaked := 11 * time.Minute
	each := func(l *rollout.Look, fn func(*store.Reached)) {
		for i := range l.Reached {
			fn(&l.Reached[i])
		}
	}
	cases := []struct {
		name   string
		change func(*rollout.Look)
		at     time.Duration
		want   rollout.Action
		reason string
	}{
		{"all is well", func(*rollout.Look) {}, soaked, rollout.Begin, ""},
		{"it is still watched", func(*rollout.Look) {}, soaked - time.Second, rollout.Stay, "watched until"},
		{"paused", func(l *rollout.Look) { l.Deployment.State = store.Paused }, soaked, rollout.Stay, ""},
		{"aborted", func(l *rollout.Look) { l.Deployment.State = store.Aborted }, soaked, rollout.Stay, ""},
		{"the last wave", func(l *rollout.Look) {
			l.Chosen, l.Deployment.Wave = 10, 4
			each(l, func(r *store.Reached) { r.Wave = 4 })
		}, soaked, rollout.Finish, ""},
		{"one is at it", func(l *rollout.Look) { l.Reached[3].State = store.GatewayPending }, soaked, rollout.Stay, "at it"},
		{"one of nine refused", func(l *rollout.Look) { l.Reached[3].State, l.Reached[3].Note = store.GatewayUnhealthy, "refused: no" }, soaked, rollout.RollBack, "gw-3: refused: no"},
		{"as many refused as may", func(l *rollout.Look) { l.Strategy.Gate.Unhealthy = 15; l.Reached[3].State = store.GatewayUnhealthy }, soaked, rollout.Begin, ""},
		{"paused, and broken", func(l *rollout.Look) {
			l.Deployment.State, l.Reached[3].State = store.Paused, store.GatewayUnhealthy
		}, time.Minute, rollout.RollBack, "unhealthy"},
		{"silent since an hour", func(*rollout.Look) {}, 10*time.Minute + time.Hour + time.Second, rollout.RollBack, "silent"},
		{"one never spoke, within an hour", func(l *rollout.Look) { l.Reached[3].State, l.Reached[3].Seen = store.GatewayPending, time.Time{} }, soaked, rollout.Stay, "have not spoken"},
		{"one never spoke, and so many may be unhealthy", func(l *rollout.Look) {
			l.Strategy.Gate.Unhealthy = 15
			l.Reached[3].State, l.Reached[3].Seen = store.GatewayPending, time.Time{}
		}, soaked, rollout.Begin, ""},
		{"one of an earlier wave never spoke", func(l *rollout.Look) { l.Reached[0].State, l.Reached[0].Seen = store.GatewayPending, time.Time{} }, soaked, rollout.Begin, ""},
		{"late", func(l *rollout.Look) {
			l.Reached[3].State = store.GatewayPending
			each(l, func(r *store.Reached) { r.Seen = epoch.Add(24 * time.Hour) })
		}, 24 * time.Hour, rollout.RollBack, "not done in time"},
		{"too few events", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New.Invocations = 2 }) }, soaked, rollout.Stay, "20 events"},
		{"too few events until the deadline", func(l *rollout.Look) {
			each(l, func(r *store.Reached) { r.New.Invocations, r.Seen = 2, epoch.Add(24*time.Hour) })
		}, 24 * time.Hour, rollout.Begin, ""},
		{"too few, and one failed", func(l *rollout.Look) {
			each(l, func(r *store.Reached) { r.New.Invocations, r.Seen = 2, epoch.Add(24*time.Hour) })
			l.Reached[4].New.Failures = 1
		}, 24 * time.Hour, rollout.RollBack, "1 of 18 events failed"},
		{"no events of a removal", func(l *rollout.Look) {
			l.Deployment.Targets = nil
			each(l, func(r *store.Reached) { r.New = wire.Counts{} })
		}, soaked, rollout.Begin, ""},
		{"no events of what ran before", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New, r.Note = wire.Counts{}, fleet.HadIt }) }, soaked, rollout.Begin, ""},
		{"more failures", func(l *rollout.Look) { l.Reached[4].New.Failures = 5 }, 2 * time.Minute, rollout.RollBack, "5 of 90 events failed (5.6 %), before it were 0.0 %"},
		{"as many failures as before", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New.Failures, r.Old.Failures = 5, 5 }) }, soaked, rollout.Begin, ""},
		{"failures as elsewhere", func(l *rollout.Look) {
			each(l, func(r *store.Reached) { r.New.Failures, r.Old = 5, wire.Counts{} })
			l.Elsewhere = []wire.Counts{{Invocations: 100, Failures: 50}}
		}, soaked, rollout.Begin, ""},
		{"failures, with nothing to compare", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New.Failures, r.Old = 5, wire.Counts{} }) }, soaked, rollout.RollBack, "failed"},
		{"crashes", func(l *rollout.Look) { l.Reached[4].New.Crashes = 1 }, time.Minute, rollout.RollBack, "crashed"},
		{"slower", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New.Busy = 400_000 }) }, time.Minute, rollout.RollBack, "takes 40ms"},
		{"slower, and nobody notices", func(l *rollout.Look) { each(l, func(r *store.Reached) { r.New.Busy = 90_000 }) }, soaked, rollout.Begin, ""},
		{"a fault of an actuator", func(l *rollout.Look) { l.Reached[0].Faults = 1 }, time.Minute, rollout.RollBack, "1 faults of actuators"},
		{"a joined gateway waits for its turn", func(l *rollout.Look) { l.Chosen = 111 }, soaked, rollout.Stay, "reaching"},
		{"what was chosen is gone", func(l *rollout.Look) { l.Chosen, l.Reached = 0, nil }, soaked, rollout.Finish, ""},
		{"it is for none of those that it would choose", func(l *rollout.Look) { l.Chosen, l.Exempt, l.Reached, l.Deployment.Wave = 0, 3, nil, 0 }, 0, rollout.GiveUp, "3 with such labels take no binary"},
		{"it chooses nobody", func(l *rollout.Look) { l.Chosen, l.Reached, l.Deployment.Wave = 0, nil, 0 }, soaked, rollout.Stay, "waits for the first"},
		{"the first wave", func(l *rollout.Look) { l.Reached, l.Deployment.Wave = nil, 0 }, 0, rollout.Begin, ""},
	}
	for _, c := range cases {
		l := look(t)
		c.change(&l)
		v := rollout.Judge(l, epoch.Add(c.at))
		if v.Action != c.want || !strings.Contains(v.Reason, c.reason) {
			t.Errorf("%s: %+v, want %v with %q", c.name, v, c.want, c.reason)
		}
	}
}

// Each wave has one gateway at least, and more than the one before.
func TestQuotas(t *testing.T) {
	s := strategy(t, api.NewStrategy{})
	for chosen, want := range map[int][]int{0: {0, 0, 0, 0}, 1: {1, 1, 1, 1}, 3: {1, 1, 2, 3}, 10: {1, 1, 5, 10}, 1000: {10, 100, 500, 1000}} {
		for w, n := range want {
			if got := rollout.Quota(s, w+1, chosen); got != n {
				t.Errorf("%d gateways, wave %d: %d, want %d", chosen, w+1, got, n)
			}
		}
	}
	l := rollout.Look{Deployment: store.Deployment{State: store.Running, Wave: 1, WaveBegan: epoch}, Strategy: s, Chosen: 3}
	l.Reached = []store.Reached{{Wave: 1, At: epoch, State: store.GatewayLive, Changed: epoch, Seen: epoch.Add(time.Hour), Note: fleet.HadIt}}
	if v := rollout.Judge(l, epoch.Add(time.Hour)); v.Action != rollout.Begin || v.Wave != 3 {
		t.Errorf("%+v: the second wave would reach nobody", v)
	}
}
