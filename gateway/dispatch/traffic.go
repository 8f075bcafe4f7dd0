package dispatch

import (
	"errors"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// AllTraffic is the weight of everything.
const AllTraffic = 10_000

// Traffic says which versions of a function run, and which of them takes what.
type Traffic struct {
	// Live takes what the split leaves. Its limits bound the function.
	Live Function
	// Split is the version, one of Others, that takes Weight of AllTraffic: by
	// the ordering key, so that one key stays with one version, or by the event
	// where it has none. 0 is no split.
	Split  int
	Weight uint32
	// Others can be invoked by their number.
	Others []Function
}

func (t *Traffic) check() error {
	split := t.Split == 0
	for _, v := range append([]Function{t.Live}, t.Others...) {
		if v.Name == "" || v.Pool == nil || v.Grant == nil {
			return errors.New("set function: name, pool and grant are needed")
		}
		split = split || v.Version == t.Split
	}
	if !split || t.Weight > AllTraffic || (t.Split == 0) != (t.Weight == 0) {
		return fmt.Errorf("set function %s: %d of %d to version %d, which is not there", t.Live.Name, t.Weight, AllTraffic, t.Split)
	}
	return nil
}

// SetFunction makes v the only version that runs from now on.
func (d *Dispatcher) SetFunction(v Function) error { return d.SetTraffic(Traffic{Live: v}) }

// SetTraffic makes these the versions that run from now on: invocations under
// way end on the one they began with, everything that waits runs on the one
// that its share falls to. A version that stays, with its grant, goes on.
func (d *Dispatcher) SetTraffic(t Traffic) error {
	if err := t.check(); err != nil {
		return err
	}
	name := t.Live.Name
	if d.stopping.Load() {
		return fmt.Errorf("set function %s: %w", name, ErrClosed)
	}
	f := d.function(name)
	f.mu.Lock()
	defer f.mu.Unlock()
	next := make(map[int]*version, 1+len(t.Others))
	for _, v := range append(t.Others[:len(t.Others):len(t.Others)], t.Live) {
		v.Limits, v.Retry = v.Limits.WithDefaults(), v.Retry.WithDefaults()
		if old := f.versions[v.Version]; old != nil && old.Grant == v.Grant {
			next[v.Version] = old
		} else {
			next[v.Version] = &version{Function: v}
		}
	}
	live := next[t.Live.Version]
	d.cfg.Store.SetStateQuota(name, int64(live.Limits.State))
	f.replaceLocked(next, live)
	f.split, f.weight = next[t.Split], t.Weight
	f.breaker = breaker{}
	f.watchAgeLocked()
	f.kickLocked()
	return nil
}

// replaceLocked changes the versions that there are, and lets go of the others.
func (f *fn) replaceLocked(next map[int]*version, live *version) {
	old := f.versions
	f.versions, f.live, f.split, f.weight = next, live, nil, 0
	for _, v := range old {
		f.retireLocked(v)
	}
}

// pickLocked is the version that a task runs on now; nil when it asks for one
// that is not there any more.
func (f *fn) pickLocked(t *task) *version {
	switch {
	case t.wanted != 0:
		return f.versions[t.wanted]
	case f.split != nil && t.share() < f.weight:
		return f.split
	}
	return f.live
}

// share is where a task falls between 0 and AllTraffic. It hangs on what is the
// same in every attempt, and grows no key out of a split that only grows.
func (t *task) share() uint32 {
	if t.shareOf == 0 {
		var text strings.Builder
		text.WriteString(t.fn.name)
		switch {
		case t.key != "":
			fmt.Fprintf(&text, "\x00key\x00%s", t.key)
		case t.ev != nil:
			fmt.Fprintf(&text, "\x00event\x00%s\x00%s", t.ev.Source, t.ev.ID)
		default: // it is on disk alone
			fmt.Fprintf(&text, "\x00row\x00%d", t.row.ID)
		}
		t.shareOf = 1 + uint32(xxhash.Sum64String(text.String())%AllTraffic)
	}
	return t.shareOf - 1
}
