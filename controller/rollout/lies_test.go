package rollout_test

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sync/wire"
)

// One gateway of a hundred that lies neither carries a bad version on nor takes
// a good one back, whatever numbers it thinks of.
func TestOneLiarOfAHundred(t *testing.T) {
	const most = 1 << 53
	at := epoch.Add(12 * time.Minute)
	crowd := func(old, now wire.Counts) rollout.Look {
		l := look(t)
		l.Chosen, l.Deployment.Wave, l.Reached = 200, 3, nil
		for i := range 100 {
			l.Reached = append(l.Reached, store.Reached{
				Gateway: fmt.Sprint("g", i), Name: fmt.Sprint("gw-", i), Wave: 3, At: epoch, State: store.GatewayLive, Changed: epoch, Seen: at, Old: old, New: now,
			})
		}
		return l
	}
	few := wire.Counts{Invocations: 10, Busy: 10_000}
	failing := wire.Counts{Invocations: 10, Failures: 2, Busy: 10_000}
	slow := wire.Counts{Invocations: 10, Busy: 10_000_000}
	for name, c := range map[string]struct {
		old, now, lieOld, lieNew wire.Counts
		want                     rollout.Action
		reason                   string
	}{
		"a good one, and no lie":       {few, few, few, few, rollout.Begin, ""},
		"a good one, all failed":       {few, few, few, wire.Counts{Invocations: most, Failures: most}, rollout.Begin, ""},
		"a good one, more than all":    {few, few, few, wire.Counts{Invocations: 1, Failures: most, Crashes: most}, rollout.Begin, ""},
		"a good one, slow as never":    {few, few, few, wire.Counts{Invocations: 1, Busy: most}, rollout.Begin, ""},
		"a good one, was fast":         {few, few, wire.Counts{Invocations: most}, few, rollout.Begin, ""},
		"a bad one, and no lie":        {few, failing, few, few, rollout.RollBack, "failed"},
		"a bad one, praised":           {few, failing, few, wire.Counts{Invocations: most}, rollout.RollBack, "failed"},
		"a bad one, and it always was": {few, failing, wire.Counts{Invocations: most, Failures: most}, few, rollout.RollBack, "failed"},
		"a bad one, nothing before":    {wire.Counts{}, failing, wire.Counts{Invocations: most, Failures: most}, few, rollout.RollBack, "failed"},
		"a slow one, praised":          {few, slow, few, wire.Counts{Invocations: most}, rollout.RollBack, "an event takes"},
		"a slow one, and it always was": {
			few, slow, wire.Counts{Invocations: 1, Busy: most}, few, rollout.RollBack, "an event takes",
		},
	} {
		l := crowd(c.old, c.now)
		l.Reached[17].Old, l.Reached[17].New = c.lieOld, c.lieNew
		if c.old == (wire.Counts{}) {
			for range 50 {
				l.Elsewhere = append(l.Elsewhere, few)
			}
		}
		if v := rollout.Judge(l, at); v.Action != c.want || !strings.Contains(v.Reason, c.reason) {
			t.Errorf("%s: %+v, want %v with %q", name, v, c.want, c.reason)
		}
	}
}

// Numbers as large as a message can have lead to a decision all the same.
func TestNumbersWithoutEnd(t *testing.T) {
	l := look(t)
	all := wire.Counts{Invocations: math.MaxUint64, Failures: math.MaxUint64, Crashes: math.MaxUint64, Busy: math.MaxUint64}
	for i := range l.Reached {
		l.Reached[i].New, l.Reached[i].Old = all, wire.Counts{Invocations: math.MaxUint64}
		l.Reached[i].Faults = math.MaxUint64
	}
	l.Strategy.Gate.Faults = math.MaxInt32
	if v := rollout.Judge(l, epoch.Add(11*time.Minute)); v.Action != rollout.RollBack || !strings.Contains(v.Reason, "100.0 %") {
		t.Errorf("%+v", v)
	}
}

// After a break in which nobody was heard, because the controller, its database or
// its broker was away or its clock wrong, gateways get the time to speak that
// they always have, and no wave begins unseen.
func TestNobodyHeard(t *testing.T) {
	l := look(t)
	l.Reached[3].State = store.GatewayPending
	back := epoch.Add(60 * time.Hour) // over every bound
	l.Since = back
	for _, c := range []struct {
		after  time.Duration
		change func()
		want   rollout.Action
		reason string
	}{
		{0, func() {}, rollout.Stay, "at it"},
		{time.Hour - time.Second, func() {}, rollout.Stay, "at it"},
		{time.Hour + time.Second, func() {}, rollout.RollBack, "silent"},
		{time.Minute, func() {
			for i := range l.Reached {
				l.Reached[i].Seen = back.Add(time.Minute)
			}
			l.Reached[3].State, l.Reached[3].Changed = store.GatewayLive, back.Add(time.Minute)
		}, rollout.Stay, "watched"},
		{12 * time.Minute, func() {}, rollout.Begin, ""},
		{12 * time.Minute, func() { l.Reached[3].Changed = epoch; l.Since = back.Add(5 * time.Minute) }, rollout.Stay, "watched"},
	} {
		c.change()
		if v := rollout.Judge(l, back.Add(c.after)); v.Action != c.want || !strings.Contains(v.Reason, c.reason) {
			t.Errorf("%v after it: %+v, want %v with %q", c.after, v, c.want, c.reason)
		}
	}
}

// A controller that was away for longer than gateways may be silent takes nothing
// back for that, nor does one whose broker was, or whose clock leaps.
func TestControllerWasAway(t *testing.T) {
	slow.UnderRace(t, sameEngines)
	w := newWorld(t, "sqlite:"+filepath.Join(t.TempDir(), "c.db"), 10)
	id := w.deploy("a-1")
	w.pass(2)
	var deaf error
	for _, e := range w.engines {
		e.Hear(func() error { return deaf })
	}
	leap := func() {
		t.Helper()
		w.mu.Lock()
		w.now = w.now.Add(2 * time.Hour)
		w.mu.Unlock()
		for _, e := range w.engines {
			if err := e.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d, steps := w.deployment(id); d.State != store.Running {
			t.Fatalf("%s: %q", d.State, steps)
		}
	}
	leap() // it was away, or its clock was
	deaf = errors.New("no broker")
	for range 20 {
		w.mu.Lock()
		w.now = w.now.Add(20 * time.Second)
		w.mu.Unlock()
		for _, e := range w.engines {
			if err := e.Tick(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	if d, steps := w.deployment(id); d.State != store.Running {
		t.Fatalf("%s: %q", d.State, steps)
	}
	deaf = nil
	w.pass(30)
	if d, steps := w.deployment(id); d.State != store.Done {
		t.Errorf("%s, %s: %q", d.State, d.Reason, steps)
	}
	if n := w.engines[0].Stats().Breaks; n != 2 {
		t.Errorf("%d breaks", n)
	}
}
