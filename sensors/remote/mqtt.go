package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// Messages is where messages come from.
type Messages interface {
	// Watch calls f with every message whose topic matches filter, the stored
	// retained ones first, until stop. f must not block.
	Watch(filter string, f func(Message)) (stop func(), err error)
}

// Message is one MQTT message. Its payload is read only during the call.
type Message struct {
	Topic   string
	Payload []byte
	// Retained is true for one that was stored before the watch.
	Retained bool
}

// MQTT is a device that sends its values. Its age counts from their arrival.
type MQTT struct {
	// Topic is a topic, or a filter with + and #: the newest message counts.
	Topic     string `yaml:"topic"`
	Selection `yaml:",inline"`
	// Availability is where the device, or its bridge, says whether it is there.
	Availability Availability `yaml:"availability"`
}

// Availability tells whether a device is there.
type Availability struct {
	// Topic holds one of two words, or JSON with one of them as its state.
	Topic string `yaml:"topic"`
	// Offline is the word for a device that is not there (offline, in any case).
	Offline string `yaml:"offline"`
}

var _ sample.Driver = (*MQTT)(nil)

// Validate implements sample.Driver. Filters are checked by who watches.
func (m *MQTT) Validate(add func(string, ...any)) {
	if m.Topic == "" {
		add("is missing: name the topic that the device publishes to", "topic")
	}
	m.validate(add)
	if m.Availability.Offline != "" && m.Availability.Topic == "" {
		add("says nothing without availability.topic", "availability", "offline")
	}
}

// Describe implements sample.Driver.
func (m *MQTT) Describe() sample.Description { return sample.Description{} }

// Opener returns what follows the device by from.
func (m *MQTT) Opener(from Messages) sample.Opener {
	return func(_ context.Context, notify func()) (sample.Source, error) {
		path, err := parsePath(m.Field)
		if err != nil {
			return nil, err
		}
		d := &device{MQTT: m, path: path, notify: notify}
		stop, err := from.Watch(m.Topic, d.message)
		if err != nil {
			return nil, fmt.Errorf("watch %s: %w", m.Topic, err)
		}
		d.stops = append(d.stops, stop)
		if m.Availability.Topic != "" {
			if stop, err = from.Watch(m.Availability.Topic, d.available); err != nil {
				_ = d.Close()
				return nil, fmt.Errorf("watch %s: %w", m.Availability.Topic, err)
			}
			d.stops = append(d.stops, stop)
		}
		return d, nil
	}
}

// device is what is known of a device.
type device struct {
	*MQTT
	path   []step
	notify func()
	stops  []func()

	mu       sync.Mutex // guards what follows
	have     bool
	value    float64
	err      error
	retained bool
	arrived  time.Time
	offline  bool
}

func (d *device) Close() error {
	for _, stop := range d.stops {
		stop()
	}
	return nil
}

func (d *device) message(m Message) {
	v, err := d.MQTT.value(d.path, m.Payload)
	d.mu.Lock()
	if m.Retained && len(m.Payload) == 0 {
		d.mu.Unlock()
		return
	}
	d.have, d.value, d.err, d.retained, d.arrived = true, v, err, m.Retained, time.Now()
	if !m.Retained {
		d.offline = false // who speaks is there
	}
	d.mu.Unlock()
	d.notify()
}

// available takes the word of availability.
func (d *device) available(m Message) {
	offline := d.Availability.Offline
	if offline == "" {
		offline = "offline"
	}
	is := strings.EqualFold(strings.TrimSpace(string(m.Payload)), offline)
	if !is {
		// Zigbee2MQTT wraps it: {"state":"offline"}.
		var state Selection
		state.Values = map[string]float64{offline: 1, strings.ToLower(offline): 1}
		v, err := state.value([]step{{name: "state"}}, m.Payload)
		is = err == nil && v == 1
	}
	d.mu.Lock()
	changed := d.offline != is
	d.offline = is
	d.mu.Unlock()
	if changed {
		d.notify()
	}
}

var errOffline = errors.New("the device is offline, says its availability topic")

// Read returns what came last.
func (d *device) Read(context.Context) (sample.Sample, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.offline:
		return sample.Sample{}, errOffline
	case !d.have:
		return sample.Sample{}, sample.ErrNothing
	case d.err != nil:
		return sample.Sample{}, d.err
	}
	return sample.Sample{
		Quantity: sensors.Quantity{Value: d.value}, Age: time.Since(d.arrived), Retained: d.retained,
	}, nil
}
