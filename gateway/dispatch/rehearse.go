package dispatch

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Outlook is what would become of an event of a function now.
type Outlook struct {
	// Version is the one that would run; 0 where none does.
	Version int
	Breaker Breaker
	// Queued is how many events could run before it, Running how many run.
	Queued, Running int
	// RateSpent is true where the function's rate has no start left.
	RateSpent bool
	// KeyBusy is true while another event of its key runs or waits for its next
	// attempt, KeyBlocked how many dead letters the key waits for.
	KeyBusy    bool
	KeyBlocked int
}

// Outlook says what would become of an event.
func (d *Dispatcher) Outlook(ev *event.Event, m *trigger.Match) Outlook {
	f := d.lookup(m.Function)
	if f == nil {
		return Outlook{Breaker: Breaker{State: BreakerClosed}}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	o := Outlook{Breaker: f.breakerLocked(), Queued: f.keyed.n + f.free.n, Running: f.running}
	if f.live == nil {
		return o
	}
	if v := f.pickLocked(&task{fn: f, ev: ev, key: m.Key}); v != nil {
		o.Version = v.Version
	}
	if rate := float64(f.live.Limits.Rate); rate > 0 && !f.refill.IsZero() {
		o.RateSpent = f.tokens+rate*time.Since(f.refill).Seconds() < 1
	}
	if l := f.lanes[m.Key]; l != nil && m.Key != "" {
		o.KeyBusy, o.KeyBlocked = l.active != nil, l.blocks
	}
	return o
}

// Rehearsal is what a function would do about an event.
type Rehearsal struct {
	Record Record
	Output []byte
	Logs   []function.LogLine
	// Effects are what it asks for; Starts are the functions that these would
	// start.
	Effects function.Effects
	Starts  []string
	// Refused is why the effects of a function that ended well could not be
	// settled.
	Refused string
}

// muted answers the HTTP requests of a rehearsal.
type muted struct{}

var _ host.Fetcher = muted{}

// Fetch sends nothing.
func (muted) Fetch(context.Context, *host.Fetch) (host.FetchResult, error) {
	return host.FetchResult{}, &host.FetchError{Errno: abi.Unavailable, Reason: "a rehearsal sends no request"}
}

// Rehearse runs a function on an event against the present state and throws
// away what it asks for: nothing is written, sent, counted or recorded. It
// reads what is sealed, whether or not that has committed.
func (d *Dispatcher) Rehearse(ctx context.Context, ev *event.Event, m *trigger.Match) (*Rehearsal, error) {
	f := d.lookup(m.Function)
	if f == nil || d.stopping.Load() {
		return nil, fmt.Errorf("rehearse %s: %w", m.Function, ErrNotDeployed)
	}
	t := &task{fn: f, kind: reply, ev: ev, params: m.Params, key: m.Key}
	f.mu.Lock()
	if f.live != nil {
		t.version = f.pickLocked(t)
	}
	v := t.version
	if v == nil {
		f.mu.Unlock()
		return nil, fmt.Errorf("rehearse %s: %w", m.Function, ErrNotDeployed)
	}
	v.refs++
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.dropVersionLocked(v)
		f.mu.Unlock()
	}()
	c := &call{view: d.cfg.Store.View(), task: t, muted: true}
	defer t.unstage() // what it puts is not kept
	defer c.view.Release()
	t.call = c
	c.Reset(v.Grant.WithFetcher(muted{}), host.Invocation{Input: ev.Data, Meta: t, State: c.state(), Blobs: c.blobs(), Actuators: c.actuators(), Now: d.cfg.Now})
	t.out = &outcome{result: v.Pool.Invoke(ctx, &c.Calls), at: d.cfg.Now(), trust: d.cfg.Trust()}
	r := &Rehearsal{Output: slices.Clone(c.Output()), Effects: *c.Effects()}
	if t.out.result.Outcome == function.OK {
		if err := f.route(t, c.Effects()); err != nil {
			r.Refused = err.Error()
		}
	}
	r.Record = t.record()
	r.Logs = slices.Clone(c.Logs())
	for _, child := range append(t.out.started, t.out.volatile...) {
		r.Starts = append(r.Starts, child.fn.name)
	}
	return r, nil
}
