package gateway

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/clock"
)

// notBefore is a time that no gateway of this version was built before, for
// binaries that do not say when they were.
var notBefore = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// built is when this program's source was committed.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return notBefore
	}
	for _, s := range info.Settings {
		if s.Key != "vcs.time" {
			continue
		}
		if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(notBefore) {
			return t
		}
	}
	return notBefore
}

func (g *Gateway) openClock(ctx context.Context) error {
	c, err := clock.New(ctx, clock.Config{Memory: g.store, Logger: g.log, Built: built()})
	if err == nil {
		g.clock.Store(c)
	}
	return err
}

// now, trust, steady and wall are the clock's, once it is there: the store is
// opened before, for the clock's memory is in it.
func (g *Gateway) now() time.Time {
	if c := g.clock.Load(); c != nil {
		return c.Now()
	}
	return time.Now()
}

func (g *Gateway) trust() event.Trust {
	if c := g.clock.Load(); c != nil {
		return c.Trust()
	}
	return event.TimeUnknown
}

func (g *Gateway) steady() time.Time {
	if c := g.clock.Load(); c != nil {
		return c.Steady()
	}
	return time.Now()
}

func (g *Gateway) wall(steady time.Time) time.Time {
	if c := g.clock.Load(); c != nil {
		return c.Wall(steady)
	}
	return steady
}

// clockAdmin is the clock as the admin API shows it.
type clockAdmin struct{ g *Gateway }

var _ admin.Clock = clockAdmin{}

// Show says what time it is and how far that can be relied on.
func (a clockAdmin) Show() api.Clock {
	c := a.g.clock.Load()
	s := c.Stats()
	return api.Clock{
		Time: c.Now().UTC(), Trust: c.Trust().String(), Correction: s.Correction,
		JumpsForward: s.JumpsForward, JumpsBack: s.JumpsBack, LastJump: s.LastJump,
	}
}

// Set takes a person's word for the time. Timers act on it at once.
func (a clockAdmin) Set(ctx context.Context, now time.Time) error {
	defer a.g.timers.Look()
	return a.g.clock.Load().Confirm(ctx, now)
}
