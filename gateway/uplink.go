package gateway

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/gateway/enrol"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/wire"
)

var _ uplink.Outbox = (*store.Store)(nil)

// enrolmentClock is the gateway's clock as enrolment needs it.
type enrolmentClock struct{ g *Gateway }

func (c enrolmentClock) Now() time.Time     { return c.g.now() }
func (c enrolmentClock) Trust() event.Trust { return c.g.trust() }

// Estimate takes the controller's time. Timers act on it at once.
func (c enrolmentClock) Estimate(ctx context.Context, now time.Time) error {
	defer func() {
		if c.g.timers != nil {
			c.g.timers.Look()
		}
	}()
	return c.g.clock.Load().Estimate(ctx, now)
}

// enrolledAs is the gateway's id at its controller, for the store, which opens
// before anything else. Where that cannot be read the store goes on as it was,
// and openEnrolment says what is wrong.
func (g *Gateway) enrolledAs() string {
	s, err := enrol.Load(g.cfg.StateDir)
	if err != nil || s == nil {
		return ""
	}
	return s.Gateway
}

// arch is the gateway's, in Go's word.
const arch = runtime.GOARCH

// openEnrolment reads the membership, and makes the uplink that it would use.
func (g *Gateway) openEnrolment(ctx context.Context) (err error) {
	g.enrolment = enrol.New(enrol.Config{
		StateDir: g.cfg.StateDir, Hardware: g.store.Identity().ID, Version: Version(), Arch: arch,
		Clock: enrolmentClock{g}, Enrolled: g.store.MeterFor, Logger: g.log,
	})
	if err := g.openDesired(ctx); err != nil {
		return err
	}
	c := &g.cfg.Uplink
	start := 1 + rand.Uint64N(math.MaxInt64)
	g.openTelemetry(start)
	g.uplink, err = uplink.New(uplink.Config{
		Outbox: g.store, Credentials: g.credentials, Version: Version(), Arch: arch,
		Interval: c.Interval.Std(), Metered: c.Metered, KeepAlive: c.KeepAlive.Std(), BytesPerDay: uint64(c.BytesPerDay),
		Flush: g.dispatcher.CloseUsage, Health: g.uplinkHealth, Time: g.controllerTime,
		Revision: g.desired.Revision, Desired: g.desired.Take, Reported: g.reported, Answer: g.answerAsk, Start: start,
		Telemetry: g.telemetry, TelemetryInterval: c.Telemetry.Interval.Std(), Memory: g.store,
		Now: g.now, Trust: func() int { return int(g.trust()) }, Logger: g.log,
	})
	return err
}

var errNotEnrolled = errors.New("the gateway is not enrolled")

func (g *Gateway) credentials() (uplink.Credentials, error) {
	s := g.enrolment.State()
	if s == nil {
		return uplink.Credentials{}, errNotEnrolled
	}
	return uplink.Credentials{Gateway: s.Gateway, Addresses: s.MQTT, TLS: s.TLS(enrolmentClock{g}), Key: s.SigningKey()}, nil
}

// controllerTime takes the controller's time where nothing better is known.
func (g *Gateway) controllerTime(now time.Time) {
	if g.trust() == event.TimeSynchronised {
		return
	}
	if err := (enrolmentClock{g}).Estimate(context.Background(), now); err != nil {
		g.log.Warn("the controller's time cannot be kept", "error", err)
	}
}

// runUplink keeps the membership and its uplink until ctx ends. After another
// enrolment the connection begins anew.
func (g *Gateway) runUplink(ctx context.Context) {
	g.background.Go(func() { g.enrolment.Run(ctx) })
	g.background.Go(func() { g.desired.Run(ctx) })
	g.background.Go(func() {
		watch := sync.OnceFunc(g.watchTelemetry)
		for ctx.Err() == nil {
			if g.enrolment.State() != nil {
				watch()
			}
			within, stop := context.WithCancel(ctx)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				if g.enrolment.State() != nil {
					g.uplink.Run(within)
				}
			}()
			select {
			case <-g.enrolment.Changed():
				g.enrolledUpdates(ctx)
			case <-ctx.Done():
			}
			stop()
			<-ended
		}
	})
}

func (g *Gateway) uplinkHealth() wire.Health {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	s := g.store.Stats()
	return wire.Health{
		Time: g.now().UnixMicro(), Uptime: int64(time.Since(g.started) / time.Second), MemoryBytes: m.Sys, DiskFree: g.store.Space().Free,
		QueueRows: s.QueueRows, DeadLetters: s.DeadLetters, Waiting: s.UsageBatches, WaitingBytes: s.UsageBatchBytes,
		Functions: len(g.dispatcher.Stats().Functions),
	}
}

// enrolmentAdmin is the membership as the admin API shows it.
type enrolmentAdmin struct{ g *Gateway }

var _ admin.Enrolment = enrolmentAdmin{}

// Enrol makes the gateway a member.
func (a enrolmentAdmin) Enrol(ctx context.Context, in api.Enrol) (api.Enrolment, error) {
	_, err := a.g.enrolment.Enrol(ctx, enrol.Request{
		URL: in.URL, Token: in.Token, Name: in.Name, Replace: in.Replace, Again: in.Again, Retry: in.Retry,
	})
	if err != nil {
		return api.Enrolment{}, admin.Refusal(err)
	}
	return a.Enrolment(), nil
}

// Send sends what was metered.
func (a enrolmentAdmin) Send() { a.g.uplink.Send() }

// Enrolment shows the membership and the uplink.
func (a enrolmentAdmin) Enrolment() api.Enrolment {
	s, u := a.g.store.Stats(), a.g.uplink.Status()
	out := api.Enrolment{Uplink: api.Uplink{
		Connected: u.Connected, Address: u.Address, Since: u.Since, LastError: u.LastError, LastErrorAt: u.LastErrorAt,
		LastAcknowledged: u.LastAcknowledged, Batches: s.UsageBatches, Bytes: s.UsageBatchBytes, GrainMinutes: s.UsageGrainMinutes,
		BytesToday: u.BytesToday, OverBudget: u.OverBudget,
	}}
	if m := a.g.enrolment.State(); m != nil {
		out.Enrolled, out.URL, out.Gateway, out.Name, out.Tenant, out.Expires = true, m.URL, m.Gateway, m.Name, m.Tenant, m.Expires()
	}
	var err error
	if out.Waiting, err = a.g.enrolment.Waiting(); err != nil {
		out.Error = err.Error()
	}
	return out
}

// examinedUplink is the membership as doctor looks at it.
func (g *Gateway) examinedUplink() doctor.Membership {
	e := enrolmentAdmin{g}.Enrolment()
	out := doctor.Membership{
		Enrolled: e.Enrolled, Controller: e.URL, Waiting: e.Waiting, Error: e.Error, Connected: e.Uplink.Connected, LinkError: e.Uplink.LastError,
		Batches: e.Uplink.Batches, GrainMinutes: e.Uplink.GrainMinutes, OverBudget: e.Uplink.OverBudget,
	}
	if e.Enrolled {
		out.Remaining = e.Expires.Sub(g.now())
		out.Name = fmt.Sprintf("%s (%s)", e.Name, e.Gateway)
	}
	return out
}
