package gateway

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// lifecycle makes events of what happens to devices and to the gateway itself.
// They are volatile, and cost nothing where no function asks for them.
type lifecycle struct {
	g *Gateway
	// comings bounds devices' connections, refusals what guessers cause: neither
	// may become a storm, nor crowd out the other or what is rare.
	comings, refusals *rate.Limiter
	stats             struct{ events, dropped atomic.Uint64 }
}

// What of devices becomes an event, a second; and how many at once.
const (
	lifecycleRate  = 50
	lifecycleBurst = 200
)

// stoppingWithin bounds what functions do because the gateway stops.
const stoppingWithin = 3 * time.Second

func newLifecycle(g *Gateway) *lifecycle {
	return &lifecycle{
		g: g, comings: rate.NewLimiter(lifecycleRate, lifecycleBurst), refusals: rate.NewLimiter(lifecycleRate/10, lifecycleBurst/10),
	}
}

// lifecycleStats are counters since the start.
type lifecycleStats struct {
	// Events counts events that functions had asked for, Dropped those of them
	// that came faster than they may.
	Events, Dropped uint64
}

func (l *lifecycle) snapshot() lifecycleStats {
	return lifecycleStats{Events: l.stats.events.Load(), Dropped: l.stats.dropped.Load()}
}

// deviceData is the data of the events of devices.
type deviceData struct {
	Client   string `json:"client"`
	User     string `json:"user"`
	Address  string `json:"address"`
	Listener string `json:"listener"`
	Version  string `json:"mqtt"`
	// Clean and Reason say how a connection ended; Reason why one was refused.
	Clean  *bool  `json:"clean,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func newDeviceData(c *broker.Connection) deviceData {
	version := "3.1.1"
	if c.Version == 5 {
		version = "5.0"
	}
	return deviceData{Client: c.Client, User: c.User, Address: c.Remote, Listener: c.Listener, Version: version}
}

var _ broker.Watcher = (*lifecycle)(nil)

// Connected implements broker.Watcher.
func (l *lifecycle) Connected(c broker.Connection) {
	l.device(function.LifecycleConnected, l.comings, &c, func() any { return newDeviceData(&c) })
}

// Disconnected implements broker.Watcher.
func (l *lifecycle) Disconnected(c broker.Connection, clean bool, reason string) {
	l.device(function.LifecycleDisconnected, l.comings, &c, func() any {
		d := newDeviceData(&c)
		d.Clean, d.Reason = &clean, reason
		return d
	})
}

// Refused implements broker.Watcher.
func (l *lifecycle) Refused(c broker.Connection, reason string) {
	l.device(function.LifecycleRefused, l.refusals, &c, func() any {
		d := newDeviceData(&c)
		d.Reason = reason
		return d
	})
}

func (l *lifecycle) device(name string, bound *rate.Limiter, c *broker.Connection, data func() any) {
	switch {
	case !l.g.triggers.Any(trigger.Lifecycle, name):
	case bound.Allow():
		l.happened(name, c.Client, data())
	default:
		l.stats.events.Add(1)
		l.stats.dropped.Add(1)
	}
}

// gatewayData is the data of gateway.started and gateway.stopping.
type gatewayData struct {
	Version string    `json:"version"`
	Started time.Time `json:"started"`
}

// storageData is the data of storage.low and storage.recovered.
type storageData struct {
	FreeBytes  int64 `json:"free_bytes"`
	TotalBytes int64 `json:"total_bytes"`
	// Stopped are the kinds of writing that have stopped, as doctor names them.
	Stopped []string `json:"stopped"`
}

// space follows a change of what may be written.
func (l *lifecycle) space(sp store.Space) {
	name := function.LifecycleStorageRecovered
	stopped := make([]string, 0, len(sp.Stopped))
	for _, c := range sp.Stopped {
		name = function.LifecycleStorageLow
		stopped = append(stopped, c.String())
	}
	l.happened(name, "", storageData{FreeBytes: sp.Free, TotalBytes: sp.Total, Stopped: stopped})
}

// watch tells of the start and of what is so by then, and goes on to tell of
// the clock until ctx ends.
func (l *lifecycle) watch(ctx context.Context) error {
	l.happened(function.LifecycleStarted, "", gatewayData{Version: Version(), Started: l.g.started})
	c := l.g.clock.Load()
	select {
	case <-c.Synchronised(): // the present is told of below
	default:
	}
	if c.Trust() == event.TimeSynchronised {
		l.synchronised()
	}
	l.g.store.OnSpace(l.space)
	if sp := l.g.store.Space(); len(sp.Stopped) > 0 {
		l.space(sp)
	}
	for {
		select {
		case <-c.Synchronised():
			l.synchronised()
		case <-ctx.Done():
			return nil
		}
	}
}

// clockData is the data of clock.synchronised.
type clockData struct {
	Time time.Time `json:"time"`
}

func (l *lifecycle) synchronised() {
	l.happened(function.LifecycleSynchronised, "", clockData{Time: l.g.now().UTC()})
}

// happened starts the functions that ask for an event.
func (l *lifecycle) happened(name, subject string, data any) {
	ev, matches := l.event(name, subject, data)
	if len(matches) == 0 {
		return
	}
	l.g.tails.Events.Add(eventLine(ev, 0, matches))
	l.g.dispatcher.Submit(dispatch.Arrival{Event: ev, Matches: matches})
}

// event is an event and what it starts; nil where nobody asks for it.
func (l *lifecycle) event(name, subject string, data any) (*event.Event, []trigger.Match) {
	g := l.g
	if !g.triggers.Any(trigger.Lifecycle, name) {
		return nil, nil
	}
	raw, err := json.Marshal(data)
	if err != nil {
		g.log.Error("event is not told of", "event", name, "error", err)
		return nil, nil
	}
	l.stats.events.Add(1)
	source := "/gateway"
	if strings.HasPrefix(name, "device.") {
		source = "/mqtt/" + subject
	}
	ev := &event.Event{
		ID: g.events.next(), Source: source, Type: event.TypeLifecycle + name, Subject: subject, Time: g.now(), Trust: g.trust(),
		DataContentType: "application/json", Data: raw,
	}
	m := trigger.Message{Kind: trigger.Lifecycle, Topic: name, Payload: raw, Event: ev}
	return ev, g.triggers.Match(&m, nil)
}

// stopping lets functions do what they have to before the gateway ends, while
// everything still works, for a bounded time.
func (l *lifecycle) stopping(ctx context.Context) {
	ev, matches := l.event(function.LifecycleStopping, "", gatewayData{Version: Version(), Started: l.g.started})
	if len(matches) == 0 {
		return
	}
	l.g.tails.Events.Add(eventLine(ev, 0, matches))
	ctx, cancel := context.WithTimeout(ctx, stoppingWithin)
	defer cancel()
	var all sync.WaitGroup
	for i := range matches {
		m := &matches[i]
		all.Go(func() {
			r, err := l.g.dispatcher.Invoke(ctx, m.Function, ev, m.Params)
			if err == nil && r.Result.Outcome == function.OK {
				return
			}
			l.g.log.Warn("function did not do what it does when the gateway stops", "function", m.Function, "outcome", r.Result.Outcome.String(), "error", err)
		})
	}
	all.Wait()
}
