// Package rollout carries deployments from wave to wave, and takes them back.
// Judge decides, from what the gateways say alone; the Engine does what it
// decides, on any number of replicas at once.
package rollout

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/headgate-io/headgate/controller/api"
	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sync/wire"
)

// noticeable is a delay that somebody would notice; less is not judged.
const noticeable = 10 * time.Millisecond

// Look is what is known of a deployment at a moment.
type Look struct {
	Deployment store.Deployment
	Strategy   api.Strategy
	// Chosen is how many gateways it chooses, Exempt how many more take no binary,
	// Reached are those that it has reached.
	Chosen, Exempt int
	Reached        []store.Reached
	// Elsewhere are the events of the version before on some gateways that it has
	// not reached.
	Elsewhere []wire.Counts
	// Since is since when the controller has heard gateways without a break: what
	// was not said before it may not have been heard. Zero is always.
	Since time.Time
	// gone are gateways that it has reached and does not choose any more.
	gone []string
}

// Action is what is to be done with a deployment.
type Action int

// The actions. Begin begins the wave that the verdict names.
const (
	Stay Action = iota
	Begin
	Finish
	RollBack
	// GiveUp ends what is for none of its gateways.
	GiveUp
)

// Verdict is what Judge decides.
type Verdict struct {
	Action Action
	Wave   int
	Reason string
}

// Judge decides what is to be done with a deployment now. No wave begins while
// the gate is broken; what is broken is rolled back, paused or not; and each wave
// ends, at the latest when its deadline and its soaking are over.
func Judge(l Look, now time.Time) Verdict {
	d := l.Deployment
	if !d.State.Open() {
		return Verdict{}
	}
	if reason := l.broken(now); reason != "" {
		return Verdict{Action: RollBack, Reason: reason}
	}
	if d.State == store.Paused {
		return Verdict{}
	}
	if l.Chosen == 0 && l.Exempt > 0 {
		return Verdict{Action: GiveUp, Reason: fleet.Nobody(l.Exempt)}
	}
	if d.Wave > 0 {
		if reason, complete := l.complete(now); !complete {
			return Verdict{Reason: reason}
		}
	}
	if len(l.Reached) < l.Chosen {
		return Verdict{Action: Begin, Wave: l.next()}
	}
	if d.Wave == 0 {
		return Verdict{Reason: "it chooses no gateway yet, and waits for the first"}
	}
	return Verdict{Action: Finish}
}

// Quota is how many of the chosen gateways have been reached after a wave.
func Quota(s api.Strategy, wave, chosen int) int {
	if wave < 1 || chosen == 0 {
		return 0
	}
	if wave >= len(s.Waves) {
		return chosen
	}
	return min(max(int(math.Ceil(s.Waves[wave-1]*float64(chosen)/100)), 1), chosen)
}

// next is the next wave that reaches more gateways; the last goes on with those
// that have joined.
func (l *Look) next() int {
	for w := l.Deployment.Wave + 1; w < len(l.Strategy.Waves); w++ {
		if Quota(l.Strategy, w, l.Chosen) > len(l.Reached) {
			return w
		}
	}
	return len(l.Strategy.Waves)
}

// tally is what some gateways say together.
type tally struct {
	size, live, unhealthy int
	// busy are pending gateways that have spoken since they were reached, away
	// those that have not.
	busy, away int
	// olds and news are the events of each, old and new those of all.
	olds, news []wire.Counts
	old, new   sums
	// fresh is true where one of them runs it because of this deployment.
	fresh bool
	// since is when the last of them went live.
	since time.Time
	note  string // of one that is unhealthy
}

// tallies counts the gateways of the present wave, and all.
func (l *Look) tallies(now time.Time) (wave, all tally, faults map[int]uint64) {
	faults = map[int]uint64{}
	for i := range l.Reached {
		r := &l.Reached[i]
		state, note := l.health(r, now)
		all.add(r, state, note)
		if r.Wave == l.Deployment.Wave {
			wave.add(r, state, note)
		}
		faults[r.Wave] += min(r.Faults, math.MaxUint32)
	}
	wave.weigh(l.Strategy.Gate.Sample)
	all.weigh(l.Strategy.Gate.Sample)
	return wave, all, faults
}

// health is how a gateway stands now: silence and lateness count.
func (l *Look) health(r *store.Reached, now time.Time) (state store.GatewayState, note string) {
	heard := r.Seen
	for _, t := range []time.Time{r.At, l.Since} {
		if t.After(heard) {
			heard = t
		}
	}
	switch {
	case r.State == store.GatewayUnhealthy:
		return r.State, r.Note
	case now.Sub(heard) > seconds(l.Strategy.Silent):
		return store.GatewayUnhealthy, "silent"
	case r.State == store.GatewayPending && l.over(r.At, l.Strategy.Deadline, now):
		return store.GatewayUnhealthy, "not done in time"
	}
	return r.State, r.Note
}

// over reports whether some seconds have passed since a moment, and whoever might
// have said something of it meanwhile could be heard.
func (l *Look) over(from time.Time, after int64, now time.Time) bool {
	return now.Sub(from) >= seconds(after) && now.Sub(l.Since) >= seconds(min(after, l.Strategy.Silent))
}

func (t *tally) weigh(sample int64) { t.old, t.new = weigh(t.olds, sample), weigh(t.news, sample) }

func (t *tally) add(r *store.Reached, state store.GatewayState, note string) {
	t.size++
	switch state {
	case store.GatewayUnhealthy:
		t.unhealthy++
		if t.note == "" {
			t.note = r.Name + ": " + note
		}
	case store.GatewayLive:
		t.live++
		if r.Changed.After(t.since) {
			t.since = r.Changed
		}
	default:
		if r.Seen.After(r.At) {
			t.busy++
		} else {
			t.away++
		}
	}
	t.fresh = t.fresh || state == store.GatewayLive && r.Note != fleet.HadIt
	t.olds, t.news = append(t.olds, r.Old), append(t.news, r.New)
}

// broken says why a deployment is to be rolled back; empty is that it is not.
func (l *Look) broken(now time.Time) string {
	if l.Deployment.Wave == 0 || fault.On(fault.GateIgnored) {
		return ""
	}
	wave, all, faults := l.tallies(now)
	g := l.Strategy.Gate
	for _, t := range []struct {
		tally
		of string
	}{{wave, fmt.Sprintf("wave %d", l.Deployment.Wave)}, {all, "all waves"}} {
		if part(float64(t.unhealthy), float64(t.size)) > g.Unhealthy {
			return fmt.Sprintf("%s: %d of %d gateways are unhealthy, %g %% may be (%s)", t.of, t.unhealthy, t.size, g.Unhealthy, t.note)
		}
		if reason := l.worse(t.tally); reason != "" {
			return t.of + ": " + reason
		}
	}
	for w := 1; w <= l.Deployment.Wave; w++ {
		if n := faults[w]; n > uint64(g.Faults) {
			return fmt.Sprintf("wave %d: %d faults of actuators since it began, %d may be", w, n, g.Faults)
		}
	}
	late := l.over(l.Deployment.WaveBegan, l.Strategy.Deadline, now)
	if few := wave.new.invocations < float64(g.Sample); few && late && wave.new.failures > 0 {
		return fmt.Sprintf("wave %d: %.0f of %.0f events failed until its deadline, and %d would be needed to say that so few matter",
			l.Deployment.Wave, wave.new.failures, wave.new.invocations, g.Sample)
	}
	return ""
}

// worse compares the new version with the one before, once there are events
// enough.
func (l *Look) worse(t tally) string {
	g := l.Strategy.Gate
	before, sample := t.old, float64(g.Sample)
	if !before.speaks(t.new, g.Sample) {
		before = weigh(slices.Concat(t.olds, l.Elsewhere), g.Sample)
	}
	if t.new.invocations == 0 || t.new.invocations < sample {
		return ""
	}
	for _, c := range []struct {
		what             string
		old, new, points float64
	}{{"events failed", before.failures, t.new.failures, g.Errors}, {"events crashed", before.crashes, t.new.crashes, g.Crashes}} {
		was, is := part(c.old, before.invocations), part(c.new, t.new.invocations)
		if is-was > c.points {
			return fmt.Sprintf("%.0f of %.0f %s (%.1f %%), before it were %.1f %%, and it may be %g points more", c.new, t.new.invocations, c.what, is, was, c.points)
		}
	}
	if before.invocations == 0 || before.invocations < sample {
		return ""
	}
	was, is := before.mean(), t.new.mean()
	if is-was > noticeable && float64(is) > g.Slower*float64(was) {
		return fmt.Sprintf("an event takes %v, before it took %v, and it may take %g times as long", is.Round(time.Microsecond), was.Round(time.Microsecond), g.Slower)
	}
	return ""
}

// complete reports whether the present wave is over, and if not what it waits
// for.
func (l *Look) complete(now time.Time) (waits string, complete bool) {
	d, s := l.Deployment, l.Strategy
	t, _, _ := l.tallies(now)
	if l.over(d.WaveBegan, s.Deadline+s.Soak, now) {
		return "", true
	}
	if quota := Quota(s, d.Wave, l.Chosen); len(l.Reached) < quota {
		return fmt.Sprintf("wave %d is reaching its gateways", d.Wave), false
	}
	if t.busy > 0 {
		return fmt.Sprintf("gateways of wave %d are at it", d.Wave), false
	}
	// Those that are away and those that are unhealthy may be so many together as
	// may be unhealthy.
	if t.away > 0 && part(float64(t.away+t.unhealthy), float64(t.size)) > s.Gate.Unhealthy {
		return fmt.Sprintf("gateways of wave %d have not spoken since it began", d.Wave), false
	}
	began := d.WaveBegan
	for _, t := range []time.Time{t.since, l.Since} {
		if t.After(began) {
			began = t
		}
	}
	if left := seconds(s.Soak) - now.Sub(began); left > 0 {
		return fmt.Sprintf("wave %d is watched until %s", d.Wave, began.Add(seconds(s.Soak)).UTC().Format(time.RFC3339)), false
	}
	counts := d.Function != fleet.System && len(d.Targets) > 0 && t.fresh
	if few := t.new.invocations < float64(s.Gate.Sample); few && counts && !l.over(d.WaveBegan, s.Deadline, now) {
		return fmt.Sprintf("wave %d has not had %d events yet", d.Wave, s.Gate.Sample), false
	}
	return "", true
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
