package periphio

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// SHT3x is a sensor of air humidity and temperature: Sensirion SHT30, SHT31,
// SHT35 (data sheet SHT3x-DIS, version 7). SHT4x are their successors (data sheet
// SHT4x, version 6.6), which speak otherwise. Values come with a checksum each.
type SHT3x struct {
	SHT `yaml:",inline"`
}

// SHT4x is an SHT40, SHT41, SHT43 or SHT45.
type SHT4x struct {
	SHT `yaml:",inline"`
}

// SHT are the options of both.
type SHT struct {
	Place I2CPlace `yaml:",inline"`
	// Measure is temperature or humidity.
	Measure string `yaml:"measure"`
}

// What chips can measure.
const (
	measureTemperature = "temperature"
	measureHumidity    = "humidity"
	measurePressure    = "pressure"
)

func (s *SHT) validate(add func(string, ...any), allowed ...Address) {
	s.Place.validate(add, allowed...)
	validateMeasure(add, s.Measure, measureTemperature, measureHumidity)
}

// Validate implements sample.Driver.
func (s *SHT3x) Validate(add func(string, ...any)) { s.validate(add, 0x44, 0x45) }

// Validate implements sample.Driver.
func (s *SHT4x) Validate(add func(string, ...any)) { s.validate(add, 0x44, 0x45, 0x46) }

// Describe implements sample.Driver.
func (s *SHT) Describe() sample.Description { return describeAir(&s.Place, s.Measure) }

// shtKind is how a family is asked and understood.
type shtKind struct {
	// command measures with high repeatability, which takes so long at most.
	command []byte
	takes   time.Duration
	// humidity is offset and span of the relative humidity.
	humidityOffset, humiditySpan float64
}

// The single shot without clock stretching (SHT3x, table 9) takes 15.5 ms at
// most (table 4); a measurement with high precision (SHT4x, tables 7 and 5)
// 8.3 ms.
var (
	sht3x = shtKind{[]byte{0x24, 0x00}, 16 * time.Millisecond, 0, 100}
	sht4x = shtKind{[]byte{0xfd}, 9 * time.Millisecond, -6, 125}
)

// Opener implements Driver.
func (s *SHT3x) Opener(h *Host) sample.Opener { return s.opener(h, sht3x) }

// Opener implements Driver.
func (s *SHT4x) Opener(h *Host) sample.Opener { return s.opener(h, sht4x) }

func (s *SHT) opener(h *Host, kind shtKind) sample.Opener {
	return func(context.Context, func()) (sample.Source, error) {
		bus, dev, err := s.Place.open(h, s.Place.at(0x44))
		if err != nil {
			return nil, err
		}
		return &sht{bus, dev, kind, s.Measure}, nil
	}
}

type sht struct {
	bus     i2c.BusCloser
	dev     *i2c.Dev
	kind    shtKind
	measure string
}

func (s *sht) Close() error { return s.bus.Close() }

// Read measures both and returns the one that is asked for.
func (s *sht) Read(ctx context.Context) (sample.Sample, error) {
	if err := s.dev.Tx(s.kind.command, nil); err != nil {
		return sample.Sample{}, i2cFault(s.dev, "start a measurement", err)
	}
	if err := pause(ctx, s.kind.takes); err != nil {
		return sample.Sample{}, err
	}
	var r [6]byte
	if err := s.dev.Tx(nil, r[:]); err != nil {
		return sample.Sample{}, i2cFault(s.dev, "read a measurement", err)
	}
	temperature, humidity, err := s.kind.convert(r)
	if err != nil {
		return sample.Sample{}, fmt.Errorf("the chip at 0x%02x: %w", s.dev.Addr, err)
	}
	if s.measure == measureHumidity {
		return sample.Sample{Quantity: humidity}, nil
	}
	return sample.Sample{Quantity: temperature}, nil
}

// convert checks and converts what was read: two words, each with its checksum
// (SHT3x, section 4.13; SHT4x, sections 4.4 and 4.6).
func (k shtKind) convert(r [6]byte) (temperature, humidity sensors.Quantity, err error) {
	for i := 0; i < len(r); i += 3 {
		if got := crc8(r[i:i+2], 0x31, 0xff); got != r[i+2] {
			return temperature, humidity, fmt.Errorf("a checksum is wrong (0x%02x is 0x%02x): the cable is too long, or disturbed", got, r[i+2])
		}
	}
	part := func(b []byte) float64 { return float64(binary.BigEndian.Uint16(b)) / 0xffff }
	temperature = sensors.Quantity{Value: -45 + 175*part(r[0:]), Unit: sensors.Celsius}
	rh := k.humidityOffset + k.humiditySpan*part(r[3:])
	humidity = sensors.Quantity{Value: min(100, max(0, rh)), Unit: sensors.Percent}
	return temperature, humidity, nil
}

// I2C is where the chip is.
func (s *SHT) I2C() (bus string, address Address) { return s.Place.busName(), s.Place.at(0x44) }
