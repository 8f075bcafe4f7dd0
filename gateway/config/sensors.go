package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/remote"
	"github.com/headgate-io/headgate/sensors/sample"
	"github.com/headgate-io/headgate/sensors/sim"
)

// Sensor is one sensor: exactly one driver, and what is made of its values.
type Sensor struct {
	ADS1115 *periphio.ADS1115 `yaml:"ads1115"`
	ADS1015 *periphio.ADS1015 `yaml:"ads1015"`
	BME280  *periphio.BME280  `yaml:"bme280"`
	BMP280  *periphio.BMP280  `yaml:"bmp280"`
	SHT3x   *periphio.SHT3x   `yaml:"sht3x"`
	SHT4x   *periphio.SHT4x   `yaml:"sht4x"`
	DS18B20 *periphio.DS18B20 `yaml:"ds18b20"`
	Digital *periphio.Digital `yaml:"digital"`
	Pulse   *periphio.Pulse   `yaml:"pulse"`
	MQTT    *remote.MQTT      `yaml:"mqtt"`
	HTTP    *remote.HTTP      `yaml:"http"`
	Sim     *sim.Wave         `yaml:"sim"`
	File    *sim.File         `yaml:"file"`

	// Template is a kind of device whose topics are known, zigbee2mqtt or
	// tasmota; Device is its name there, Field what counts of what it sends, and
	// Base the first level of Zigbee2MQTT's topics (zigbee2mqtt).
	Template string `yaml:"template"`
	Device   string `yaml:"device"`
	Field    string `yaml:"field"`
	Base     string `yaml:"base"`

	// Unit is what values are given in; left out it is the driver's.
	Unit *sensors.Unit `yaml:"unit"`
	// Interval is how often it is read; left out it is the driver's. Devices
	// that send by themselves are heard that often at most (100ms).
	Interval function.Duration `yaml:"interval"`
	// StaleAfter is the age at which a value is stale (3 intervals and 10s; of
	// devices that send by themselves 1h).
	StaleAfter function.Duration `yaml:"stale_after"`
	Filter     SensorFilter      `yaml:"filter"`
	Calibrate  *Calibrate        `yaml:"calibrate"`
	// Min and Max bound what is plausible, in Unit: what is outside is a fault.
	Min *float64 `yaml:"min"`
	Max *float64 `yaml:"max"`
	// Change is by how much the value must move, in Unit, to be published;
	// Heartbeat is after what time it is published anyway (15m).
	Change    float64           `yaml:"change"`
	Heartbeat function.Duration `yaml:"heartbeat"`
	// Topic is where it is published (sensors/ and its name), Retain whether the
	// broker keeps the newest, which is a write to disk each time.
	Topic  string `yaml:"topic"`
	Retain bool   `yaml:"retain"`
	// QoS 1 makes its events durable; 0, the default, leaves the disk alone.
	QoS int `yaml:"qos"`
}

// SensorFilter smooths by the newest values, at most one of both.
type SensorFilter struct {
	Median  int `yaml:"median"`
	Average int `yaml:"average"`
}

// Calibrate maps what is read to what that means, in straight lines between
// points: from: [1.2 V, 2.8 V] to: [100, 0].
type Calibrate struct {
	From []sensors.Quantity `yaml:"from"`
	To   []float64          `yaml:"to"`
	// Clamp keeps results between the smallest and the largest of To.
	Clamp bool `yaml:"clamp"`
}

// Times of sensors.
const (
	defaultSpacing   = 100 * time.Millisecond
	defaultStale     = time.Hour
	defaultHeartbeat = 15 * time.Minute
	minInterval      = 50 * time.Millisecond
	maxInterval      = 24 * time.Hour
	maxSensors       = 256
)

// namedDriver is a driver and its word in the configuration.
type namedDriver struct {
	name   string
	driver sample.Driver
}

// drivers are those that are set.
func (s *Sensor) drivers() []namedDriver {
	var out []namedDriver
	add := func(set bool, name string, d sample.Driver) {
		if set {
			out = append(out, namedDriver{name, d})
		}
	}
	add(s.ADS1115 != nil, "ads1115", s.ADS1115)
	add(s.ADS1015 != nil, "ads1015", s.ADS1015)
	add(s.BME280 != nil, "bme280", s.BME280)
	add(s.BMP280 != nil, "bmp280", s.BMP280)
	add(s.SHT3x != nil, "sht3x", s.SHT3x)
	add(s.SHT4x != nil, "sht4x", s.SHT4x)
	add(s.DS18B20 != nil, "ds18b20", s.DS18B20)
	add(s.Digital != nil, "digital", s.Digital)
	add(s.Pulse != nil, "pulse", s.Pulse)
	add(s.MQTT != nil, "mqtt", s.MQTT)
	add(s.Template != "", "template", s.templated())
	add(s.HTTP != nil, "http", s.HTTP)
	add(s.Sim != nil, "sim", s.Sim)
	add(s.File != nil, "file", s.File)
	return out
}

// sensorDrivers are the words for drivers, for an error.
const sensorDrivers = "ads1115, ads1015, bme280, bmp280, sht3x, sht4x, ds18b20, digital, pulse, mqtt, http, sim, file; or a template"

// Driver is the one that is set, and its name.
func (s *Sensor) Driver() (name string, d sample.Driver) {
	if all := s.drivers(); len(all) > 0 {
		return all[0].name, all[0].driver
	}
	return "", nil
}

// Sample is what the sampler has to know of the sensor called name, all but how
// it is opened. The sensor is valid.
func (s *Sensor) Sample(name string) sample.Sensor {
	driver, d := s.Driver()
	about := d.Describe()
	out := sample.Sensor{
		Info: sensors.Info{
			Name: name, Unit: s.unit(), Driver: driver, Measures: about.Measures, Topic: s.TopicOf(name),
			Interval: s.Interval.Std(), StaleAfter: s.StaleAfter.Std(),
		},
		Bus: about.Bus, Passive: about.Interval == 0, Min: s.Min, Max: s.Max, Change: s.Change, Heartbeat: s.Heartbeat.Std(),
		Filter: sample.Filter{Median: s.Filter.Median, Average: s.Filter.Average},
	}
	if out.Bus == "" {
		out.Bus = driver + ":" + name
	}
	if out.Heartbeat == 0 {
		out.Heartbeat = defaultHeartbeat
	}
	switch {
	case out.Interval != 0:
	case out.Passive:
		out.Interval = defaultSpacing
	default:
		out.Interval = about.Interval
	}
	switch {
	case out.StaleAfter != 0:
	case out.Passive:
		out.StaleAfter = defaultStale
	default:
		out.StaleAfter = 3*out.Interval + 10*time.Second
	}
	if s.Calibrate != nil {
		out.Calibration = s.Calibrate.calibration()
		if out.Measures == "voltage" {
			out.Measures = ""
		}
	}
	return out
}

func (c *Calibrate) calibration() *sample.Calibration {
	out := &sample.Calibration{To: c.To, Clamp: c.Clamp}
	for _, q := range c.From {
		if out.Unit == sensors.One {
			out.Unit = q.Unit
		}
		v, _ := q.In(out.Unit)
		out.From = append(out.From, v.Value)
	}
	return out
}

// unit is what values are in.
func (s *Sensor) unit() sensors.Unit {
	_, d := s.Driver()
	switch {
	case s.Unit != nil:
		return *s.Unit
	case s.Calibrate != nil || d == nil:
		return sensors.One
	case s.Template != "":
		t, _ := s.device().Sensor()
		return t.Unit
	default:
		return d.Describe().Unit
	}
}

// TopicOf is where the sensor called name is published.
func (s *Sensor) TopicOf(name string) string {
	if s.Topic != "" {
		return s.Topic
	}
	return "sensors/" + name
}

func validateSensors(all map[string]*Sensor, add func(string, ...any)) {
	if len(all) > maxSensors {
		add(fmt.Sprintf("%d sensors, more than the %d there may be", len(all), maxSensors), "sensors")
	}
	topics := make(map[string]string)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		s := all[name]
		at := func(message string, path ...any) { add(message, append([]any{"sensors", name}, path...)...) }
		if !function.ValidName(name) {
			at(fmt.Sprintf("%q: a sensor's name starts with a letter and has only a-z, 0-9 and -, 63 at most", name))
		}
		if s == nil {
			at("is empty: give it a driver, one of " + sensorDrivers)
			continue
		}
		s.validate(at)
		t := s.TopicOf(name)
		if other, taken := topics[t]; taken {
			at(fmt.Sprintf("%s is that of the sensor %s", t, other), "topic")
		}
		topics[t] = name
	}
}

func (s *Sensor) validate(at func(string, ...any)) {
	all := s.drivers()
	switch len(all) {
	case 0:
		at("has no driver: give it one of " + sensorDrivers)
		return
	case 1:
	default:
		at(fmt.Sprintf("has both %s and %s: a sensor has one driver, make two of it", all[0].name, all[1].name), all[1].name)
		return
	}
	name, d := all[0].name, all[0].driver
	if !s.validateTemplate(at) {
		return
	}
	fine := true
	d.Validate(func(message string, path ...any) {
		fine = false
		at(message, append([]any{name}, path...)...)
	})
	if s.MQTT != nil {
		for field, filter := range map[string]string{"topic": s.MQTT.Topic, "availability": s.MQTT.Availability.Topic} {
			if filter == "" {
				continue
			}
			if err := topic.DefaultLimits.CheckFilter(filter); err != nil {
				at(err.Error(), name, field)
			}
		}
	}
	s.validateTimes(at)
	if s.validateValue(at); fine {
		s.validateUnit(name, d, at)
	}
	if s.Topic != "" {
		if err := topic.DefaultLimits.CheckName(s.Topic); err != nil {
			at(err.Error(), "topic")
		} else if strings.HasPrefix(s.Topic, "$") {
			at("topics that start with $ are the broker's own", "topic")
		}
	}
	if s.QoS != 0 && s.QoS != 1 {
		at(fmt.Sprintf("%d must be 0 (volatile) or 1 (durable)", s.QoS), "qos")
	}
}

func (s *Sensor) validateTimes(at func(string, ...any)) {
	if i := s.Interval.Std(); i != 0 && (i < minInterval || i > maxInterval) {
		at(fmt.Sprintf("%v is outside %v to %v", i, minInterval, maxInterval), "interval")
	}
	if st := s.StaleAfter.Std(); st != 0 && st <= s.Interval.Std() {
		at(fmt.Sprintf("%v is no longer than the interval, %v: every value would be stale before the next", st, s.Interval.Std()), "stale_after")
	}
}

func (s *Sensor) validateValue(at func(string, ...any)) {
	f := s.Filter
	switch {
	case f.Median != 0 && f.Average != 0:
		at("has both median and average: choose one", "filter")
	case f.Median < 0 || f.Median > sample.MaxWindow:
		at(fmt.Sprintf("%d is outside 1 to %d values", f.Median, sample.MaxWindow), "filter", "median")
	case f.Average < 0 || f.Average > sample.MaxWindow:
		at(fmt.Sprintf("%d is outside 1 to %d values", f.Average, sample.MaxWindow), "filter", "average")
	}
	if s.Min != nil && s.Max != nil && *s.Min >= *s.Max {
		at(fmt.Sprintf("%v is not above min, %v", *s.Max, *s.Min), "max")
	}
	if s.Change < 0 {
		at("must not be negative: it is how far the value moves, in either direction", "change")
	}
}

// validateUnit refuses a unit that the driver's values cannot be given in.
func (s *Sensor) validateUnit(name string, d sample.Driver, at func(string, ...any)) {
	own := d.Describe().Unit
	if s.Calibrate == nil {
		if _, err := own.Convert(0, s.unit()); err != nil && own != sensors.One {
			at(fmt.Sprintf("%s gives %s: %v; calibrate: {from: [1.2 V, 2.8 V], to: [100, 0]} says what that means", name, own, err), "unit")
		}
		return
	}
	for i, q := range s.Calibrate.From {
		if q.Unit == sensors.One || own == sensors.One {
			continue
		}
		if _, err := own.Convert(0, q.Unit); err != nil {
			at(fmt.Sprintf("%s gives %s: %v", name, own, err), "calibrate", "from", i)
			return
		}
	}
	for i, q := range s.Calibrate.From {
		if _, err := q.Unit.Convert(0, s.Calibrate.From[0].Unit); err != nil {
			at(fmt.Sprintf("%v is of another unit than the first point, %v", q, s.Calibrate.From[0]), "calibrate", "from", i)
			return
		}
	}
	if err := s.Calibrate.calibration().Validate(); err != nil {
		at(err.Error(), "calibrate")
	}
}
