package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/sample"
)

// sensorAdmin is sensors as the admin API shows them.
type sensorAdmin struct{ s *sensing }

var _ admin.Sensors = sensorAdmin{}

// Sensors implements admin.Sensors.
func (a sensorAdmin) Sensors() []api.Sensor {
	readings := a.s.board.All()
	out := make([]api.Sensor, 0, len(readings))
	for i := range readings {
		out = append(out, a.sensor(&readings[i]))
	}
	return out
}

// freshWithin bounds the wait for a reading that is asked for.
const freshWithin = 15 * time.Second

// Sensor implements admin.Sensors.
func (a sensorAdmin) Sensor(ctx context.Context, name string, fresh bool) (api.Sensor, error) {
	r, ok := a.s.board.Latest(name)
	if !ok {
		return api.Sensor{}, fmt.Errorf("sensor %s: %w; 'headgate sensor list' shows which there are", name, store.ErrNotFound)
	}
	if fresh {
		ctx, cancel := context.WithTimeout(ctx, freshWithin)
		defer cancel()
		now, err := a.s.sampler.ReadNow(ctx, name)
		switch {
		case err == nil:
			r = now
		case errors.Is(err, context.DeadlineExceeded):
			return api.Sensor{}, admin.Refusal(fmt.Errorf("sensor %s gave nothing for %v: a device that sends by itself is read when it does, and a bus may hang; 'headgate doctor' says more", name, freshWithin))
		case !errors.Is(err, sample.ErrUnknown):
			return api.Sensor{}, err
		}
	}
	return a.sensor(&r), nil
}

func (a sensorAdmin) sensor(r *sensors.Reading) api.Sensor {
	info, _ := a.s.board.Info(r.Sensor)
	out := api.Sensor{
		Name: r.Sensor, Driver: info.Driver, Measures: info.Measures, Topic: info.Topic,
		Interval: info.Interval.Seconds(), StaleAfter: info.StaleAfter.Seconds(),
		Unit: string(r.Unit), Quality: r.Quality.String(), Fault: r.Fault, Age: r.Age.Milliseconds(), Retained: r.Retained, Sequence: r.Sequence,
	}
	if !r.Valid {
		return out
	}
	out.At = r.At
	if v := r.Value; r.Quality == sensors.Good {
		out.Value = &v
	} else {
		out.Last = &v
	}
	return out
}

// Hardware implements admin.Sensors.
func (a sensorAdmin) Hardware(ctx context.Context) (api.Hardware, error) {
	return hardware(a.s.host.Scan(ctx, a.taken)), nil
}

// taken is which sensor an address on a bus is of.
func (a sensorAdmin) taken(bus string, address periphio.Address) string {
	for name, c := range a.s.g.cfg.Sensors {
		_, d := c.Driver()
		if p, ok := d.(interface {
			I2C() (string, periphio.Address)
		}); ok {
			if b, at := p.I2C(); b == bus && at == address {
				return "sensor " + name
			}
		}
	}
	return ""
}

// ScanHardware looks who is connected to this machine, without a gateway.
func ScanHardware(ctx context.Context) (api.Hardware, error) {
	h, err := periphio.Open(periphio.Options{})
	if err != nil {
		return api.Hardware{}, err
	}
	out := hardware(h.Scan(ctx, func(string, periphio.Address) string { return "" }))
	return out, h.Close()
}

func hardware(f periphio.Found) api.Hardware {
	out := api.Hardware{Chips: []api.GPIOChip{}, Buses: []api.I2CBus{}, OneWire: devices(f.OneWire), Faults: append([]string{}, f.Faults...)}
	for _, c := range f.Chips {
		chip := api.GPIOChip{Name: c.Name, Label: c.Label, Lines: []api.GPIOLine{}}
		for _, l := range f.Lines {
			if l.Chip == c.Name {
				chip.Lines = append(chip.Lines, api.GPIOLine{
					Line: fmt.Sprintf("%s/%d", l.Chip, l.Offset), Name: l.Name, Used: l.Used, Consumer: l.Consumer, Output: l.Output,
				})
			}
		}
		out.Chips = append(out.Chips, chip)
	}
	for _, b := range f.Buses {
		out.Buses = append(out.Buses, api.I2CBus{Name: b.Name, Adapter: b.Adapter, Devices: devices(b.Devices), Fault: b.Fault})
	}
	return out
}

func devices(all []periphio.FoundDevice) []api.HardwareDevice {
	out := make([]api.HardwareDevice, 0, len(all))
	for _, d := range all {
		out = append(out, api.HardwareDevice{Address: d.Address, Driver: d.Driver, Options: d.Options, Note: d.Note})
	}
	return out
}

// supposedReading is a reading as explain is asked about it: data is a value
// alone, a whole reading, or nothing for the latest.
func (o operator) supposedReading(q *api.Explain, m trigger.Message) ([]trigger.Message, []string, error) {
	s := o.g.sensing
	r, known := s.board.Latest(q.Subject)
	var notes []string
	if !known {
		notes = append(notes, "there is no sensor "+q.Subject+": 'headgate sensor list' shows which there are")
		r = sensors.Reading{Sensor: q.Subject, At: o.g.now()}
	}
	if v, err := strconv.ParseFloat(string(q.Data), 64); err == nil {
		r.Value, r.Valid, r.Quality, r.Fault, r.Age, r.At = v, true, sensors.Good, "", 0, o.g.now()
	} else if len(q.Data) > 0 {
		if err := json.Unmarshal(q.Data, &r); err != nil {
			return nil, nil, admin.Refusal(fmt.Errorf("%q is neither a value nor a reading: write 23.5", q.Data))
		}
		r.Sensor = q.Subject
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, nil, err
	}
	m.Reading, m.Payload, m.Event.Data, m.Event.Type, m.Event.Source = &r, data, data, event.TypeSensor, sensorSource+q.Subject
	m.Event.DataContentType = "application/json"
	if c := o.g.cfg.Sensors[q.Subject]; c != nil {
		m.QoS = byte(c.QoS)
	}
	return []trigger.Message{m}, notes, nil
}
