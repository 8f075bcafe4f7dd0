package rollout_test

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/rollout"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// field is a fleet in which anything happens to a deployment.
type field struct {
	*rapid.T
	l       rollout.Look
	now     time.Time
	waves   int
	dead    map[string]bool // does not speak any more
	actions map[rollout.Action]int
}

func ptr[T any](v T) *T { return &v }

func newField(t *rapid.T) *field {
	s := strategy(t, api.NewStrategy{
		Waves: []float64{5, 30}, Soak: ptr(int64(60)), Deadline: ptr(int64(600)), Silent: ptr(int64(120)),
		Gate: api.NewGate{Sample: ptr(int64(rapid.IntRange(0, 20).Draw(t, "sample"))), Unhealthy: ptr(float64(rapid.SampledFrom([]int{0, 10, 40}).Draw(t, "unhealthy")))},
	})
	return &field{
		T: t, now: epoch, dead: map[string]bool{}, actions: map[rollout.Action]int{},
		l: rollout.Look{
			Deployment: store.Deployment{ID: "d", Function: "a", Targets: []store.Target{{Name: "a-2"}}, State: store.Running, Waves: len(s.Waves)},
			Strategy:   s, Chosen: rapid.IntRange(0, 40).Draw(t, "gateways"),
		},
	}
}

// bad is whether a gateway is unhealthy, in other words than Judge's.
func (f *field) bad(r store.Reached) bool {
	last := r.At
	if r.Seen.After(last) {
		last = r.Seen
	}
	return r.State == store.GatewayUnhealthy || f.now.After(last.Add(120*time.Second)) || r.State == store.GatewayPending && !f.now.Before(r.At.Add(600*time.Second))
}

// broken is whether the gate is, for the present wave, in other words.
func (f *field) broken() bool {
	var bad, all, faults int
	var news []wire.Counts
	for _, r := range f.l.Reached {
		if r.Wave != f.l.Deployment.Wave {
			continue
		}
		all++
		if f.bad(r) {
			bad++
		}
		faults += int(r.Faults)
		if r.New.Invocations > 0 {
			news = append(news, r.New)
		}
	}
	share := float64(bad)*100 > f.l.Strategy.Gate.Unhealthy*float64(all)
	slices.SortFunc(news, func(a, b wire.Counts) int { return cmp.Compare(a.Invocations, b.Invocations) })
	var failed, events float64
	for _, c := range news { // one counts for four of the middle one, or for the sample
		part := min(1, float64(max(4*news[(len(news)-1)/2].Invocations, uint64(f.l.Strategy.Gate.Sample)))/float64(c.Invocations))
		failed, events = failed+part*float64(c.Failures), events+part*float64(c.Invocations)
	}
	errors := events > 0 && events >= float64(f.l.Strategy.Gate.Sample) && failed*100 > events*5+1e-6 // before it none failed
	return share || errors || faults > 0
}

// judge does what Judge says, and holds it to what it promises.
func (f *field) judge() {
	d := &f.l.Deployment
	v := rollout.Judge(f.l, f.now)
	f.actions[v.Action]++
	switch v.Action {
	case rollout.Stay:
		return
	case rollout.Begin:
		if d.State != store.Running {
			f.Fatalf("a wave begins though it is %s", d.State)
		}
		if v.Wave <= d.Wave && v.Wave != len(f.l.Strategy.Waves) || v.Wave > len(f.l.Strategy.Waves) {
			f.Fatalf("wave %d after %d", v.Wave, d.Wave)
		}
		if d.Wave > 0 && f.broken() {
			f.Fatalf("wave %d begins with a broken gate: %+v", v.Wave, f.l)
		}
		for i := len(f.l.Reached); i < rollout.Quota(f.l.Strategy, v.Wave, f.l.Chosen); i++ {
			f.l.Reached = append(f.l.Reached, store.Reached{
				Gateway: fmt.Sprint(i), Name: fmt.Sprint(i), Wave: v.Wave, At: f.now, State: store.GatewayPending, Changed: f.now,
			})
		}
		d.Wave, d.WaveBegan = v.Wave, f.now
		f.waves++
	case rollout.Finish:
		if f.broken() || len(f.l.Reached) < f.l.Chosen || d.State != store.Running {
			f.Fatalf("done: %+v", f.l)
		}
		d.State = store.Done
	case rollout.RollBack:
		if v.Reason == "" {
			f.Fatalf("rolled back for no reason")
		}
		d.State = store.RolledBack
	}
}

func (f *field) gateway() *store.Reached {
	if len(f.l.Reached) == 0 {
		return nil
	}
	return &f.l.Reached[rapid.IntRange(0, len(f.l.Reached)-1).Draw(f.T, "gateway")]
}

// happen has something happen to a gateway, or to the deployment.
func (f *field) happen() {
	r := f.gateway()
	switch what := rapid.SampledFrom([]string{"live", "live", "live", "all live", "refused", "events", "events", "failures", "fault", "dies", "pause", "resume", "joins", "leaves", "abort"}).Draw(f.T, "what"); {
	case what == "pause" && f.l.Deployment.State == store.Running:
		f.l.Deployment.State = store.Paused
	case what == "resume" && f.l.Deployment.State == store.Paused:
		f.l.Deployment.State = store.Running
	case what == "abort" && f.l.Deployment.State.Open() && rapid.IntRange(0, 20).Draw(f.T, "sure") == 0:
		f.l.Deployment.State = store.Aborted
	case what == "joins":
		f.l.Chosen++
	case what == "leaves" && r != nil && f.l.Chosen > 0:
		f.l.Reached, f.l.Chosen = f.l.Reached[:len(f.l.Reached)-1], f.l.Chosen-1
	case what == "all live":
		for i := range f.l.Reached {
			f.live(&f.l.Reached[i])
			f.l.Reached[i].New.Invocations += 20
		}
	case r == nil || f.dead[r.Gateway]:
	case what == "live":
		f.live(r)
	case what == "refused":
		r.State = store.GatewayUnhealthy
	case what == "events":
		r.New.Invocations += 20
	case what == "failures":
		r.New.Invocations, r.New.Failures = r.New.Invocations+20, r.New.Failures+uint64(rapid.IntRange(0, 3).Draw(f.T, "failures"))
	case what == "fault":
		r.Faults += uint64(rapid.IntRange(0, 1).Draw(f.T, "faults"))
	case what == "dies":
		f.dead[r.Gateway] = rapid.Bool().Draw(f.T, "for good")
	}
}

func (f *field) live(r *store.Reached) {
	if r.State == store.GatewayPending && !f.dead[r.Gateway] {
		r.State, r.Changed = store.GatewayLive, f.now
	}
}

// pass lets time pass; who is not dead speaks.
func (f *field) pass(d time.Duration) {
	f.now = f.now.Add(d)
	for i := range f.l.Reached {
		if r := &f.l.Reached[i]; !f.dead[r.Gateway] {
			r.Seen = f.now
		}
	}
}

// Whatever happens, no wave begins while the gate is broken, and it ends.
func TestRolloutModel(t *testing.T) {
	ends := map[store.DeploymentState]int{}
	seen := func() bool { return ends[store.Done] > 0 && ends[store.RolledBack] > 0 && ends[store.Aborted] > 0 }
	for round := 0; round == 0 || !seen() && round < 50; round++ {
		rapid.Check(t, func(t *rapid.T) { lifetime(t, ends) })
	}
	if !seen() {
		t.Errorf("the model saw too little: %v", ends)
	}
}

// lifetime is one deployment from its beginning to its end.
func lifetime(t *rapid.T, ends map[store.DeploymentState]int) {
	f := newField(t)
	for range rapid.IntRange(0, 60).Draw(t, "steps") {
		f.happen()
		f.pass(time.Duration(rapid.IntRange(0, 90).Draw(t, "seconds")) * time.Second)
		f.judge()
	}
	if f.l.Deployment.State == store.Paused {
		f.l.Deployment.State = store.Running
	}
	for n := 0; f.l.Deployment.State == store.Running; n++ {
		if n > 4*(600+60)/10+10 && f.l.Chosen > 0 {
			t.Fatalf("it does not end: %+v", f.l)
		}
		if f.l.Chosen == 0 && f.l.Deployment.Wave == 0 {
			return // it waits for the first
		}
		f.pass(10 * time.Second)
		f.judge()
	}
	ends[f.l.Deployment.State]++
	f.l.Reached = append(f.l.Reached, store.Reached{State: store.GatewayUnhealthy, Wave: 1})
	if v := rollout.Judge(f.l, f.now.Add(time.Hour)); v.Action != rollout.Stay {
		t.Fatalf("%+v after its end", v)
	}
}
