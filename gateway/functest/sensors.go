package functest

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sensors"
)

// Sensor is what a test says of a sensor: a value, a value with its unit, or
// more of its reading.
type Sensor struct {
	// Value is the value, with its unit where that is one of sensors.
	Value sensors.Quantity `yaml:"value"`
	// Quality is good by default; a sensor that is not has no value, and Value
	// is its last.
	Quality *sensors.Quality `yaml:"quality"`
	// Age is how old the value is.
	Age string `yaml:"age"`
	// Fault is why it is not good.
	Fault string `yaml:"fault"`
}

// UnmarshalYAML takes a value alone for a Sensor.
func (s *Sensor) UnmarshalYAML(unmarshal func(any) error) error {
	var q sensors.Quantity
	if unmarshal(&q) == nil {
		*s = Sensor{Value: q}
		return nil
	}
	var text string
	if unmarshal(&text) == nil {
		return fmt.Errorf("%q is no reading: write a value with its unit, such as 12 %%, or {value: 12 %%, quality: bad}", text)
	}
	type plain Sensor
	return unmarshal((*plain)(s))
}

// reading is what a function is told.
func (s *Sensor) reading(name string) (sensors.Reading, error) {
	r := sensors.Reading{
		Sensor: name, Value: s.Value.Value, Unit: s.Value.Unit, Valid: true, Quality: sensors.Good, Fault: s.Fault, Sequence: 1,
	}
	if s.Quality != nil {
		r.Quality = *s.Quality
	}
	r.Valid = r.Quality != sensors.Unread
	if s.Age != "" {
		var err error
		if r.Age, err = time.ParseDuration(s.Age); err != nil || r.Age < 0 {
			return r, fmt.Errorf("age %q is not a duration: write it as 20m or 1h30m", s.Age)
		}
	}
	r.At = time.Now().Add(-r.Age)
	return r, nil
}

func (f *File) checkSensors(i int) error {
	c := &f.Tests[i]
	for _, name := range slices.Sorted(maps.Keys(c.Sensors)) {
		s := c.Sensors[name]
		if s == nil {
			return f.fault("is empty: give it a value, or {quality: bad}", "tests", i, "sensors", name)
		}
		if _, err := s.reading(name); err != nil {
			return f.fault(err.Error(), "tests", i, "sensors", name)
		}
	}
	return nil
}

// testSensors are the readings that a test gives.
type testSensors map[string]*Sensor

var _ host.Sensors = testSensors(nil)

// Sensor implements host.Sensors.
func (t testSensors) Sensor(name string) ([]byte, bool, error) {
	s := t[name]
	if s == nil {
		return nil, false, nil
	}
	r, err := s.reading(name)
	if err != nil {
		return nil, false, err
	}
	b, err := json.Marshal(r)
	return b, true, err
}
