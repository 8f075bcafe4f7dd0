// Package simulate is a fleet that is not there: gateways that enrol with a
// controller and report what they would have metered, each with a key, a
// certificate and a connection of its own, through the uplink that real ones
// have. What it reports it also counts, so that the controller's sums can be
// held to it.
package simulate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/controller/client"
	"github.com/headgate-io/headgate/sync/uplink"
)

// Config is the fleet to simulate. Zero fields take the defaults named beside
// them.
type Config struct {
	// Controller is its address, https://host:port, Token an enrolment token with
	// enough uses.
	Controller, Token string
	// Gateways is how many there are, Functions how many of each are at work.
	Gateways, Functions int
	// Deployed is how many functions of each there are (Functions).
	Deployed int
	// Interval is how often they report (15 min), Jitter how far apart the first
	// and the last of them are then (1 min).
	Interval, Jitter time.Duration
	// Minutes is how many minutes of usage are in a report: those of Interval, or
	// any number, to have a day in seconds.
	Minutes int
	// Metered is a link whose bytes cost: a long keep alive. KeepAlive is another.
	Metered   bool
	KeepAlive time.Duration
	// RepeatReport is how long a report of functions that says nothing new may be
	// left out (uplink.Config's).
	RepeatReport time.Duration
	// Enrolling is how many enrol at once (8), Retry how soon one that lost its
	// connection connects again at the earliest (1 s).
	// AnswerWithin is how long one waits for an answer before it asks again (1 min).
	Enrolling           int
	Retry, AnswerWithin time.Duration
	Logger              *slog.Logger
}

// Stats are sums over the fleet.
type Stats struct {
	Enrolled, Connected int
	// Connections counts those that were made, Failures those that were not, or
	// that ended.
	Connections, Failures uint64
	// Sealed counts batches that were made, Sent them as often as they were sent,
	// Waiting those that the controller has not acknowledged.
	Sealed, Sent uint64
	Waiting      int
	// Refused counts batches that the controller did not take.
	Refused uint64
	// LinkBytes is what went over all links, in IP bytes, estimated.
	LinkBytes uint64
	// Metered is what the gateways have metered in all.
	Metered Metered
}

// Metered are sums of usage.
type Metered struct{ Requests, Fuel uint64 }

// Fleet is what is simulated.
type Fleet struct {
	cfg      Config
	gateways []*gateway
	resting  chan struct{}
	enrolled atomic.Int64
	sealed   atomic.Uint64
	requests atomic.Uint64
	fuel     atomic.Uint64
}

// New makes a fleet; Run lets it live.
func New(cfg Config) (*Fleet, error) {
	cfg.Deployed = max(cfg.Deployed, cfg.Functions)
	cfg.Interval = cmp.Or(cfg.Interval, 15*time.Minute)
	cfg.Jitter = cmp.Or(cfg.Jitter, time.Minute)
	cfg.Enrolling = cmp.Or(cfg.Enrolling, 8)
	cfg.Retry = cmp.Or(cfg.Retry, time.Second)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Gateways < 1 || cfg.Functions < 0 || cfg.Minutes < 0 || cfg.Interval <= 0 || cfg.Jitter < 0 || cfg.Jitter > cfg.Interval {
		return nil, errors.New("simulate: it takes a gateway at least, an interval, and a jitter no longer than that")
	}
	if _, err := client.New(cfg.Controller, cfg.Token); err != nil {
		return nil, err
	}
	f := &Fleet{cfg: cfg, gateways: make([]*gateway, cfg.Gateways), resting: make(chan struct{})}
	for i := range f.gateways {
		f.gateways[i] = &gateway{fleet: f, number: i}
	}
	return f, nil
}

// grain is how many minutes share a row, as on real gateways.
func (f *Fleet) grain() int64 {
	if f.cfg.Metered {
		return 5
	}
	return 1
}

// Enrol enrols all gateways, with the first error that one meets.
func (f *Fleet) Enrol(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	next := make(chan *gateway)
	var workers sync.WaitGroup
	for range min(f.cfg.Enrolling, len(f.gateways)) {
		workers.Go(func() {
			for g := range next {
				if err := g.enrol(ctx); err != nil {
					stop(fmt.Errorf("gateway %d: %w", g.number, err))
					return
				}
				f.enrolled.Add(1)
			}
		})
	}
	for _, g := range f.gateways {
		select {
		case next <- g:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return context.Cause(ctx)
}

// Run connects the gateways, spread over the jitter, and has them report every
// interval until ctx ends.
func (f *Fleet) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, g := range f.gateways {
		all.Go(func() { g.run(ctx) })
	}
	all.Wait()
}

// Report has all that are connected report now, at once.
func (f *Fleet) Report() {
	for _, g := range f.gateways {
		if g.ready.Load() {
			g.uplink.Send()
		}
	}
}

// Rest ends the reporting: what waits is still sent. It may be called once.
func (f *Fleet) Rest() { close(f.resting) }

// sleep reports whether the time passed; the fleet rested or ended otherwise.
func (f *Fleet) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-f.resting:
		return false
	case <-ctx.Done():
		return false
	}
}

// Stats sums what the gateways count.
func (f *Fleet) Stats() Stats {
	s := Stats{
		Enrolled: int(f.enrolled.Load()), Sealed: f.sealed.Load(), Metered: Metered{f.requests.Load(), f.fuel.Load()},
	}
	for _, g := range f.gateways {
		if !g.ready.Load() {
			continue
		}
		u := g.uplink.Stats()
		s.add(&u)
		s.Waiting += g.outbox.waiting()
	}
	return s
}

func (s *Stats) add(u *uplink.Stats) {
	s.Connected += u.Connected
	s.Connections += u.Connections
	s.Failures += u.Failures
	s.Sent += u.BatchesSent
	s.Refused += u.Refused
	s.LinkBytes += u.LinkBytes
}
