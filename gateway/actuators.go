package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/clock"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/template"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sensors/actuate"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// actuators connects the controller of leases with what it moves and with those
// who ask it: the guard process, remote devices, functions and operators.
type actuators struct {
	g          *Gateway
	log        *slog.Logger
	controller *actuate.Controller
	ledger     *actuate.Ledger
	guard      *guard.Client // nil where no actuator hangs on this board
	// remote are the devices by actuator, states the actuators by the topic on
	// which their devices tell their state.
	remote map[string]*config.MQTTActuator
	states map[string][]string
	posts  *actuatorPosts
	looped atomic.Uint64
	// astray bounds what is logged of commands for actuators that nobody has.
	astray *rate.Limiter

	mu sync.Mutex
	// early are events from before functions and devices could hear of them;
	// open is true once they can.
	early []actuate.Event
	open  bool
}

// Names of files below the state folder.
const (
	ledgerFile = "safety.ledger"
	// GuardLock is that of the guard process's lock.
	GuardLock = "guard.lock"
)

// maxEarlyEvents bounds the events from before anybody could hear of them.
const maxEarlyEvents = 1024

// wholeSecond is what may miss to a whole second of a lease that is told in
// seconds: the time between its grant and the command.
const wholeSecond = 100 * time.Millisecond

// commandExpiry is how long a command to switch on may wait for its device:
// one that comes back later must not open a valve then.
const commandExpiry = 10 * time.Second

func (g *Gateway) newActuators() (*actuators, error) {
	a := &actuators{
		g: g, log: g.log, remote: map[string]*config.MQTTActuator{}, states: map[string][]string{},
		ledger: actuate.NewLedger(filepath.Join(g.cfg.StateDir, ledgerFile)), posts: newActuatorPosts(),
		astray: rate.NewLimiter(rate.Every(time.Minute), 10),
	}
	var specs []actuate.Spec
	var units []guard.Unit
	for _, name := range slices.Sorted(maps.Keys(g.cfg.Actuators)) {
		c := g.cfg.Actuators[name].WithDefaults()
		s, err := a.spec(name, &c)
		if err != nil {
			return nil, fmt.Errorf("actuators.%s: %w", name, err)
		}
		specs = append(specs, s)
		if s.Unit != nil {
			units = append(units, *s.Unit)
		}
	}
	var orders actuate.Guard = noGuard{}
	if len(units) > 0 {
		a.guard = guard.NewClient(guard.ClientConfig{
			// This very program, also where an upgrade has put another file in its place.
			Command: append([]string{"/proc/self/exe"}, guard.Arguments(filepath.Join(g.cfg.StateDir, GuardLock))...), Units: units, Logger: g.log,
			Report: a.reported, Down: func(err error) { a.controller.GuardDown(err) },
		})
		orders = a.guard
	}
	a.controller = actuate.New(actuate.Config{
		Actuators: specs, Ledger: a.ledger, Guard: orders, Device: a, Feedback: a.feedback,
		Now: guard.SinceBoot, Boot: clock.System().BootID(), Steady: g.steady, Wall: g.now, Trust: g.trust, Tell: a.happened, Logger: g.log,
	})
	return a, nil
}

// reported hears what the guard says. Once it is ready, what nobody knew is
// known.
func (a *actuators) reported(r guard.Report) {
	a.controller.Reported(r)
	a.mu.Lock()
	open := a.open
	a.mu.Unlock()
	if r.Ready && open {
		a.tellStates()
	}
}

// noGuard stands where no actuator hangs on this board.
type noGuard struct{}

func (noGuard) Send(*guard.Order) error { return nil }

// spec is what the controller has to know of an actuator.
func (a *actuators) spec(name string, c *config.Actuator) (actuate.Spec, error) {
	s := actuate.Spec{
		Name: name, MaxOn: c.MaxOn.Std(), DefaultLease: c.DefaultLease.Std(), MinOff: c.MinOff.Std(), MaxPerDay: c.MaxPerDay.Std(),
		Requires: c.Requires, Exclusive: c.Exclusive, StaleAfter: c.StaleAfter.Std(), Dimmable: c.PWM != "",
	}
	if c.Expect != nil {
		e, err := a.expect(c.Expect)
		if err != nil {
			return s, fmt.Errorf("expect: %w", err)
		}
		s.Expect = e
	}
	if m := c.MQTT; m != nil {
		s.Remote = &actuate.Remote{ConfirmWithin: m.ConfirmWithin.Std()}
		a.remote[name] = m
		if m.State != "" {
			a.states[m.State] = append(a.states[m.State], name)
		}
		return s, nil
	}
	u, err := guardUnit(&a.g.cfg, name, c)
	s.Unit = u
	return s, err
}

// guardUnit is what the guard has to know of an actuator on this board.
func guardUnit(cfg *config.Config, name string, c *config.Actuator) (*guard.Unit, error) {
	u := &guard.Unit{Name: name, MaxOn: c.MaxOn.Std(), Group: c.Exclusive, Pulse: c.Pulse.Std()}
	u.Outlet = guard.Outlet{GPIO: c.GPIO, Close: c.Close, PWM: c.PWM, ActiveLow: c.Active == config.ActiveLow}
	if c.Simulated != "" {
		u.Outlet.Close, u.Outlet.File = "", cfg.SimulatedPath(c.Simulated)
		if c.Close != "" {
			u.Outlet.FileClose = cfg.SimulatedPath(c.Close)
		}
	}
	if c.Frequency != nil {
		f, err := c.Frequency.In("Hz")
		if err != nil {
			return nil, fmt.Errorf("frequency: %w", err)
		}
		u.Outlet.Frequency = f.Value
	}
	return u, nil
}

// GuardUnits are the actuators that hang on this board.
func GuardUnits(cfg *config.Config) (units []guard.Unit, err error) {
	for _, name := range slices.Sorted(maps.Keys(cfg.Actuators)) {
		c := cfg.Actuators[name].WithDefaults()
		if c.MQTT != nil {
			continue
		}
		u, err := guardUnit(cfg, name, &c)
		if err != nil {
			return nil, fmt.Errorf("actuators.%s: %w", name, err)
		}
		units = append(units, *u)
	}
	return units, nil
}

// run works until ctx ends; then everything is off.
func (a *actuators) run(ctx context.Context) error {
	group, inner := errgroup.WithContext(ctx)
	published, stop := context.WithCancel(context.WithoutCancel(ctx))
	var publishing errgroup.Group
	publishing.Go(func() error { a.publish(published); return nil })
	// The guard goes last: it has to hear that everything is to be off.
	guarding, release := context.WithCancel(context.WithoutCancel(ctx))
	var watching errgroup.Group
	if a.guard != nil {
		watching.Go(func() error { return a.guard.Run(guarding) })
	}
	group.Go(func() error { return a.controller.Run(inner) })
	err := group.Wait()
	release()
	err = errors.Join(err, watching.Wait())
	stop()
	return errors.Join(err, publishing.Wait())
}

// Move implements actuate.Device.
func (a *actuators) Move(name string, value float64, lease time.Duration) error {
	d := a.remote[name]
	m := &broker.Message{Topic: d.Set, Payload: []byte(d.Off), QoS: 1}
	if value > 0 {
		// Never past its end, but for what the way there takes.
		seconds := max(1, (lease+wholeSecond)/time.Second)
		m.Payload = []byte(strings.NewReplacer(
			"{{lease_s}}", strconv.FormatInt(int64(seconds), 10), "{{lease_ms}}", strconv.FormatInt(lease.Milliseconds(), 10),
			template.PulseTime, strconv.Itoa(template.Pulse(lease)),
		).Replace(d.On))
		m.Expires = time.Now().Add(min(lease, commandExpiry))
	}
	a.posts.command(name, m)
	return nil
}

// heard takes what devices say of themselves.
func (a *actuators) heard(m *broker.Message) {
	for _, name := range a.states[m.Topic] {
		d := a.remote[name]
		text := strings.TrimSpace(string(m.Payload))
		if strings.HasPrefix(text, "{") {
			var object map[string]any
			if err := json.Unmarshal(m.Payload, &object); err != nil {
				continue
			}
			v, ok := object[d.Field]
			if !ok {
				continue // it speaks of something else
			}
			text = fmt.Sprint(v)
		}
		a.controller.Heard(name, strings.EqualFold(text, d.StateOn))
	}
}

// happened tells the broker's clients and functions of what happened.
func (a *actuators) happened(e actuate.Event) {
	level := slog.LevelInfo
	if e.Kind == actuate.Faulted || e.Kind == actuate.Interrupted {
		level = slog.LevelWarn
	}
	a.log.Log(context.Background(), level, "actuator", "actuator", e.Actuator, "happens", string(e.Kind), "who", e.Who, "reason", e.Reason)
	a.mu.Lock()
	if !a.open {
		if len(a.early) < maxEarlyEvents {
			a.early = append(a.early, e)
		}
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	a.tell(&e)
}

// tell tells clients and functions.
func (a *actuators) tell(e *actuate.Event) {
	data := actuatorData{
		Actuator: e.Actuator, Happens: string(e.Kind), Value: e.Value, Who: e.Who, EventID: e.EventID, Reason: e.Reason, LeaseMs: e.Lease.Milliseconds(),
	}
	if e.Until > 0 {
		data.Until = a.g.now().Add(e.Until - guard.SinceBoot()).UTC()
	}
	raw, err := json.Marshal(&data)
	if err != nil {
		a.log.Error("event is not told of", "actuator", e.Actuator, "error", err)
		return
	}
	a.posts.event(&broker.Message{Topic: actuatorTopic(e.Actuator) + "/event", Payload: raw})
	a.posts.state(e.Actuator)
	subject := trigger.ActuatorSubject(e.Actuator, string(e.Kind))
	if !a.g.triggers.Any(trigger.Actuator, subject) {
		return
	}
	ev := &event.Event{
		ID: a.g.events.next(), Source: "/actuators", Type: event.TypeActuator + string(e.Kind), Subject: e.Actuator, Time: a.g.now(), Trust: a.g.trust(),
		DataContentType: "application/json", Data: raw,
		// What may not move anything may not do so by way of being refused.
		Hops: e.Hops, Retained: e.Retained, Extensions: dispatch.WithOrigin(nil, e.Age, a.g.steady()),
	}
	if ev.Hops > event.MaxHops {
		a.looped.Add(1)
		a.log.Error("functions and actuators start each other in a loop: the event starts nothing", "actuator", e.Actuator, "happens", string(e.Kind), "who", e.Who)
		return
	}
	m := trigger.Message{Kind: trigger.Actuator, Topic: subject, Payload: raw, QoS: 1, Event: ev}
	if matches := a.g.triggers.Match(&m, nil); len(matches) > 0 {
		a.g.tails.Events.Add(eventLine(ev, 0, matches))
		a.g.dispatcher.Submit(dispatch.Arrival{Event: ev, Matches: matches})
	}
}

// actuatorData is the data of the events of actuators.
type actuatorData struct {
	Actuator string    `json:"actuator"`
	Happens  string    `json:"happens"`
	Value    float64   `json:"value"`
	Who      string    `json:"who,omitempty"`
	EventID  string    `json:"event_id,omitempty"`
	Reason   string    `json:"reason,omitempty"`
	LeaseMs  int64     `json:"lease_ms,omitempty"`
	Until    time.Time `json:"until,omitzero"`
}

func actuatorTopic(name string) string { return actuatorPrefix + name }

// actuatorState is what the retained message of an actuator holds.
type actuatorState struct {
	State  string    `json:"state"`
	Value  float64   `json:"value"`
	Until  time.Time `json:"until,omitzero"`
	LeftMs int64     `json:"left_ms,omitempty"`
	Who    string    `json:"who,omitempty"`
	Fault  string    `json:"fault,omitempty"`
}

// listen has clients and functions, which are there by now, told of what is
// and of what happened before.
func (a *actuators) listen() {
	a.mu.Lock()
	early := a.early
	a.early, a.open = nil, true
	a.mu.Unlock()
	a.tellStates()
	for i := range early {
		a.tell(&early[i])
	}
}

func (a *actuators) tellStates() {
	for _, name := range a.controller.Names() {
		a.posts.state(name)
	}
}

// actuatorMessages count what is told of actuators.
type actuatorMessages struct {
	// Waiting are events that wait for the broker now, Dropped those that it was
	// too slow for. Looped started nothing: their chain was too long.
	Waiting int
	Dropped uint64
	Looped  uint64
}

func (a *actuators) messages() actuatorMessages {
	return actuatorMessages{len(a.posts.events), a.posts.dropped.Load(), a.looped.Load()}
}

func (a *actuators) guardStats() guard.Stats {
	if a.guard == nil {
		return guard.Stats{}
	}
	return a.guard.Stats()
}
