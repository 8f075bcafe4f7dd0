package fleet

import (
	"bytes"
	"encoding/hex"
	"strings"
	"time"
	"unicode"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

// The stages of an update on a gateway that end it well or badly; between is
// everything else (package gateway/update has them all).
const (
	stageLive       = "live"
	stageWatched    = "live, watched"
	stageRefused    = "refused"
	stageRolledBack = "rolled back"
)

// HadIt is the note of a gateway that ran the same already, and has nothing to
// show for it.
const HadIt = "it had it already"

// Of is what a report says of a function, nil where that is nothing.
func Of(r *wire.Reported, function string) *wire.ReportedFunction {
	for i := range r.Functions {
		if r.Functions[i].Name == function {
			return &r.Functions[i]
		}
	}
	return nil
}

// Present are the events of the version that a gateway runs.
func Present(f *wire.ReportedFunction) wire.Counts {
	switch f.Stage {
	case "", stageLive, stageWatched:
		return bound(f.New)
	}
	return bound(f.Old)
}

// maxNote bounds what is kept of a gateway's words.
const maxNote = 300

// Observe says how a deployment stands on a gateway, by what the gateway says.
func Observe(d store.Deployment, arch string, r *wire.Reported) (state store.GatewayState, note string, old, now wire.Counts) {
	if d.Function == System {
		state, note = observeSystem(d, arch, &r.System)
		return state, note, old, now
	}
	f := Of(r, d.Function)
	t, wanted := TargetFor(d, arch)
	switch {
	case !wanted && f == nil:
		return store.GatewayLive, "", old, now
	case !wanted:
		return store.GatewayPending, "it is there still", old, now
	case f == nil:
		return store.GatewayPending, short(r.Error), old, now
	}
	state, note = observeFunction(d.ID, t, f)
	if state == store.GatewayPending && note == "" {
		note = short(r.Error)
	}
	if f.Attempt == d.ID {
		old, now = f.Old, f.New
	}
	return state, note, old, now
}

func observeFunction(attempt string, t store.Target, f *wire.ReportedFunction) (store.GatewayState, string) {
	ended := f.Stage == "" || f.Stage == stageLive || f.Stage == stageWatched
	if f.Attempt != attempt || f.Target != t.Name {
		// It may have had the same already, by another way.
		if ended && t.Digest != "" && hex.EncodeToString(f.Digest) == t.Digest {
			return store.GatewayLive, HadIt
		}
		return store.GatewayPending, ""
	}
	switch f.Stage {
	case stageRefused, stageRolledBack:
		return store.GatewayUnhealthy, strings.TrimSuffix(f.Stage+": "+short(f.Note), ": ")
	case stageLive, stageWatched:
		return store.GatewayLive, short(f.Note)
	}
	return store.GatewayPending, strings.TrimSuffix(short(f.Stage)+": "+short(f.Note), ": ")
}

func observeSystem(d store.Deployment, arch string, s *wire.ReportedSystem) (store.GatewayState, string) {
	if s.Fixed != "" {
		return store.GatewayUnhealthy, "it takes no binary any more: " + short(s.Fixed.Sentence())
	}
	t, ok := TargetFor(d, arch)
	if !ok {
		return store.GatewayPending, "there is no binary for its architecture " + short(arch)
	}
	sum, err := hex.DecodeString(t.SHA256)
	switch {
	case err != nil || len(sum) == 0:
		return store.GatewayPending, "the target has no digest"
	case bytes.Equal(s.Failed, sum) && s.FailedAttempt != "" && s.FailedAttempt != d.ID:
		return store.GatewayPending, "taken back before, and tried again: " + short(s.Note)
	case bytes.Equal(s.Failed, sum):
		return store.GatewayUnhealthy, strings.TrimSuffix("taken back: "+short(s.Note), ": ")
	case !bytes.Equal(s.SHA256, sum):
		return store.GatewayPending, short(s.Note)
	case s.Trial:
		return store.GatewayPending, "on trial"
	}
	return store.GatewayLive, ""
}

// Update brings what is known of a gateway in a deployment up to what it says
// now; false is that nothing of it has changed.
func Update(x *store.Reached, d store.Deployment, arch string, r *wire.Reported, now time.Time) bool {
	if Exempt(d, r.System.Fixed.Sentence()) && x.Run == 0 {
		return false // it never took one: it will not count
	}
	before := *x
	state, note, old, next := Observe(d, arch, r)
	if state != x.State {
		x.State, x.Changed = state, now
	}
	x.Note, x.Old, x.New = note, bound(old), bound(next)
	faults := min(r.Faults, maxNumber)
	if x.Run == r.Start && x.Run != 0 {
		if faults > x.RunFaults {
			x.Faults += faults - x.RunFaults
		}
	} else if x.Run != 0 { // its process began anew, and counts from 0
		x.Faults += faults
	}
	x.Run, x.RunFaults, x.Faults = r.Start, faults, min(x.Faults, maxNumber)
	return *x != before
}

// maxNumber bounds numbers that a gateway may speak of.
const maxNumber = 1 << 53

func bound(c wire.Counts) wire.Counts {
	return wire.Counts{
		Invocations: min(c.Invocations, maxNumber), Failures: min(c.Failures, maxNumber), Crashes: min(c.Crashes, maxNumber), Busy: min(c.Busy, maxNumber),
	}
}

// short bounds what a gateway says, to what a database takes and a terminal
// shows.
func short(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text[:min(len(text), maxNote)], ""))
}
