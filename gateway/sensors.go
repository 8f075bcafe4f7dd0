package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/remote"
	"github.com/headgate-io/headgate/sensors/sample"
)

// sensing reads the sensors of the configuration, and takes their readings to
// topics and functions.
type sensing struct {
	g       *Gateway
	board   *sensors.Board
	host    *periphio.Host
	sampler *sample.Sampler
	tap     tap
	stats   struct{ events, refused atomic.Uint64 }
}

// closeSensorsWithin bounds the wait for a bus that hangs.
const closeSensorsWithin = 3 * time.Second

// newSensing opens the board's pins and makes the sensors, which start later.
// A board without pins is fine until a sensor wants one.
func newSensing(g *Gateway) (*sensing, error) {
	s := &sensing{g: g, board: sensors.NewBoard(g.steady), tap: tap{g: g, tree: topic.NewTree[*listener]()}}
	options := g.hardware
	options.Memory, options.Logger = metaMemory{g.store}, g.log
	var err error
	if s.host, err = periphio.Open(options); err != nil {
		return nil, err
	}
	var all []sample.Sensor
	for _, name := range slices.Sorted(maps.Keys(g.cfg.Sensors)) {
		c := g.cfg.Sensors[name]
		one := c.Sample(name)
		one.Open = s.opener(c)
		all = append(all, one)
	}
	s.sampler = sample.New(sample.Config{Board: s.board, Now: g.now, Tell: s.tell, Changed: s.changed, Logger: g.log}, all)
	return s, nil
}

// opener is how the sensor's driver is opened here.
func (s *sensing) opener(c *config.Sensor) sample.Opener {
	switch _, d := c.Driver(); d := d.(type) {
	case periphio.Driver:
		return d.Opener(s.host)
	case *remote.MQTT:
		return d.Opener(&s.tap)
	case interface {
		Opener(now func() time.Time) sample.Opener
	}:
		return d.Opener(s.g.steady)
	case interface{ Opener() sample.Opener }:
		return d.Opener()
	default:
		return func(context.Context, func()) (sample.Source, error) {
			return nil, fmt.Errorf("driver %T cannot be opened", d)
		}
	}
}

var _ host.Sensors = (*sensing)(nil)

// Sensor implements host.Sensors.
func (s *sensing) Sensor(name string) ([]byte, bool, error) {
	r, ok := s.board.Latest(name)
	if !ok {
		return nil, false, nil
	}
	b, err := json.Marshal(r)
	return b, true, err
}

// close ends reading, and gives the pins back.
func (s *sensing) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, closeSensorsWithin)
	defer cancel()
	return errors.Join(s.sampler.Close(ctx), s.host.Close())
}

// sensorEvents are counters since the start.
type sensorEvents struct {
	// Started counts readings that functions had asked for, Refused those that
	// the gateway was too full to keep.
	Started, Refused uint64
}

func (s *sensing) snapshot() sensorEvents {
	return sensorEvents{s.stats.events.Load(), s.stats.refused.Load()}
}

// changed takes another quality of a sensor.
func (s *sensing) changed(r sensors.Reading, before sensors.Quality) {
	switch {
	case r.Quality == sensors.Good && (before == sensors.Bad || before == sensors.Stale):
		s.g.life.happened(function.LifecycleSensorRecovered, r.Sensor, r)
	case r.Quality != sensors.Good && before != sensors.Bad && before != r.Quality:
		s.g.life.happened(function.LifecycleSensorFailed, r.Sensor, r)
	}
}

// tell takes a reading that is news to the functions that ask for it, to its
// topic, and so to the functions that ask for that.
func (s *sensing) tell(r sensors.Reading) {
	info, _ := s.board.Info(r.Sensor)
	c := s.g.cfg.Sensors[r.Sensor]
	data, err := json.Marshal(r)
	if err != nil {
		s.g.log.Error("reading is not told of", "sensor", r.Sensor, "error", err)
		return
	}
	s.start(&r, data, byte(c.QoS))
	s.g.emit(&broker.Message{Topic: info.Topic, Payload: data, QoS: byte(c.QoS), Retain: c.Retain}, sensorSource+r.Sensor)
}

// sensorSource precedes a sensor's name in the source of its events.
const sensorSource = "/sensors/"

// start starts the functions with a trigger for the sensor.
func (s *sensing) start(r *sensors.Reading, data []byte, qos byte) {
	g := s.g
	if !g.triggers.Any(trigger.Sensor, r.Sensor) {
		return
	}
	g.triggers.Observe(r)
	ev := &event.Event{
		ID: g.events.next(), Source: sensorSource + r.Sensor, Type: event.TypeSensor, Subject: r.Sensor, Time: g.now(), Trust: g.trust(),
		DataContentType: "application/json", Data: data, Retained: r.Retained,
	}
	matches := g.triggers.Match(&trigger.Message{Kind: trigger.Sensor, Topic: r.Sensor, Payload: data, QoS: qos, Event: ev, Reading: r}, nil)
	if len(matches) == 0 {
		return
	}
	s.stats.events.Add(1)
	g.tails.Events.Add(eventLine(ev, int(qos), matches))
	g.dispatcher.Submit(dispatch.Arrival{Event: ev, Matches: matches, Release: refusals{&s.stats.refused}})
}

// refusals counts what the dispatcher does not take.
type refusals struct{ count *atomic.Uint64 }

// Release implements dispatch.Releaser.
func (r refusals) Release(code broker.ReasonCode) {
	if code != broker.Success {
		r.count.Add(1)
	}
}

// emit publishes a message of the gateway's own: it starts functions and goes
// to subscribers as a device's does. It does not wait, but tells when that is
// done; what cannot be taken is given up.
func (g *Gateway) emit(m *broker.Message, source string) <-chan broker.ReasonCode {
	released := make(chan broker.ReasonCode, 1)
	plan := g.broker.Plan(m, false)
	g.submit(m, sender{client: source[1:]}, nil, plan, &operatorMessage{g, m, plan, released})
	return released
}

// metaMemory is the store as the memory of counts: what is not there is none.
type metaMemory struct{ s *store.Store }

var _ periphio.Memory = metaMemory{}

// Meta implements periphio.Memory.
func (m metaMemory) Meta(ctx context.Context, key string) ([]byte, error) {
	v, err := m.s.Meta(ctx, key)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	return v, err
}

// SetMeta implements periphio.Memory.
func (m metaMemory) SetMeta(ctx context.Context, key string, value []byte) error {
	return m.s.SetMeta(ctx, key, value)
}

// tap shows the sensors that are MQTT devices what passes. With none of them a
// message passes at the cost of one load.
type tap struct {
	g    *Gateway
	tree *topic.Tree[*listener]
}

type listener struct{ f func(remote.Message) }

var _ remote.Messages = (*tap)(nil)

// Watch implements remote.Messages.
func (t *tap) Watch(filter string, f func(remote.Message)) (stop func(), err error) {
	if err := topic.DefaultLimits.CheckFilter(filter); err != nil {
		return nil, err
	}
	l := &listener{f}
	t.tree.Add(filter, l)
	t.g.broker.Retained(filter, func(m *broker.Message) bool {
		f(remote.Message{Topic: m.Topic, Payload: m.Payload, Retained: true})
		return true
	})
	return func() { t.tree.Remove(filter, func(x *listener) bool { return x == l }) }, nil
}

// seen shows a message to the sensors that follow its topic.
func (t *tap) seen(m *broker.Message) {
	if t.tree.Len() == 0 {
		return
	}
	for _, l := range t.tree.Match(m.Topic, nil) {
		l.f(remote.Message{Topic: m.Topic, Payload: m.Payload})
	}
}
