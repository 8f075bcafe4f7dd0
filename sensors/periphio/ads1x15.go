package periphio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// ADS1115 is one input of an analog to digital converter with 16 bits (Texas
// Instruments, SBAS444), ADS1015 of the same with 12 (SBAS473). Soil probes,
// pressure and tank sensors hang on them.
//
// periph's driver for them chooses gain and rate by itself and gives a value
// that is at the end of its range like any other; here a gain is what the
// wiring asks for, and a value at the end is a fault.
type ADS1115 struct {
	ADC `yaml:",inline"`
}

// ADS1015 is the ADS1115 with 12 bits.
type ADS1015 struct {
	ADC `yaml:",inline"`
}

// ADC are the options of both.
type ADC struct {
	Place I2CPlace `yaml:",inline"`
	// Channel is the input, 0 to 3, against ground.
	Channel *int `yaml:"channel"`
	// Differential are two inputs whose difference is measured: [0, 1], [0, 3],
	// [1, 3] or [2, 3].
	Differential []int `yaml:"differential"`
	// Gain is the largest voltage that can be told, ±: 6.144 V, 4.096 V, 2.048 V
	// (the default), 1.024 V, 0.512 V or 0.256 V. No input may be above the
	// supply, whatever the gain.
	Gain sensors.Quantity `yaml:"gain"`
}

var adcAddresses = []Address{0x48, 0x49, 0x4a, 0x4b}

// The config register (SBAS444, section 8.1.3; SBAS473 has the same).
const (
	adcConversion = 0x00
	adcConfig     = 0x01

	adcStart      = 1 << 15 // OS: begin one conversion; reads 1 when it is done
	adcMuxShift   = 12
	adcSingle     = 0b100 // MUX: input against ground, with its number
	adcPGAShift   = 9
	adcSingleShot = 1 << 8 // MODE
	adcRate       = 0b100 << 5
	adcNoAlert    = 0b11 // COMP_QUE
)

// adcGains are the ranges by their PGA bits.
var adcGains = []float64{6.144, 4.096, 2.048, 1.024, 0.512, 0.256}

// adcPairs are the differential inputs by their MUX bits.
var adcPairs = [][2]int{{0, 1}, {0, 3}, {1, 3}, {2, 3}}

// Validate implements sample.Driver.
func (a *ADC) Validate(add func(string, ...any)) {
	a.Place.validate(add, adcAddresses...)
	switch {
	case (a.Channel == nil) == (len(a.Differential) == 0):
		add("needs channel: 0 to 3, or differential: [0, 1]", "channel")
	case a.Channel != nil && (*a.Channel < 0 || *a.Channel > 3):
		add(fmt.Sprintf("%d is none of the inputs 0 to 3", *a.Channel), "channel")
	case a.Channel == nil && a.pair() < 0:
		add(fmt.Sprintf("%v: the chip can compare [0, 1], [0, 3], [1, 3] and [2, 3]", a.Differential), "differential")
	}
	if _, err := a.pga(); err != nil {
		add(err.Error(), "gain")
	}
}

func (a *ADC) pair() int {
	if len(a.Differential) != 2 {
		return -1
	}
	return slices.Index(adcPairs, [2]int(a.Differential))
}

func (a *ADC) pga() (int, error) {
	if a.Gain == (sensors.Quantity{}) {
		return slices.Index(adcGains, 2.048), nil
	}
	v, err := a.Gain.In(sensors.Volt)
	if err != nil {
		return 0, err
	}
	if i := slices.Index(adcGains, v.Value); i >= 0 {
		return i, nil
	}
	return 0, fmt.Errorf("%s is none of the chip's ranges: 6.144 V, 4.096 V, 2.048 V, 1.024 V, 0.512 V, 0.256 V", a.Gain)
}

// Describe implements sample.Driver.
func (a *ADC) Describe() sample.Description {
	return sample.Description{Bus: a.Place.busName(), Unit: sensors.Volt, Measures: "voltage", Interval: 30 * time.Second}
}

// word is what the config register is set to.
func (a *ADC) word() (uint16, error) {
	pga, err := a.pga()
	if err != nil {
		return 0, err
	}
	mux := a.pair()
	if a.Channel != nil {
		mux = adcSingle | *a.Channel
	}
	if mux < 0 || mux > 7 {
		return 0, errors.New("no such input")
	}
	return uint16(adcStart | mux<<adcMuxShift | pga<<adcPGAShift | adcSingleShot | adcRate | adcNoAlert), nil
}

// Opener implements Driver. A conversion takes 7.8 ms at the rate of 128 a
// second.
func (a *ADS1115) Opener(h *Host) sample.Opener { return a.opener(h, 8*time.Millisecond) }

// Opener implements Driver. A conversion takes 0.63 ms at the rate of 1600 a
// second.
func (a *ADS1015) Opener(h *Host) sample.Opener { return a.opener(h, time.Millisecond) }

func (a *ADC) opener(h *Host, takes time.Duration) sample.Opener {
	return func(context.Context, func()) (sample.Source, error) {
		word, err := a.word()
		if err != nil {
			return nil, err
		}
		pga, _ := a.pga()
		bus, dev, err := a.Place.open(h, a.Place.at(0x48))
		if err != nil {
			return nil, err
		}
		return &adc{bus: bus, dev: dev, word: word, full: adcGains[pga], takes: takes}, nil
	}
}

// adc is an open input.
type adc struct {
	bus   i2c.BusCloser
	dev   *i2c.Dev
	word  uint16
	full  float64
	takes time.Duration
}

func (a *adc) Close() error { return a.bus.Close() }

// adcPolls bounds how often is asked whether a conversion is done: the chip's
// clock is within 10 % (SBAS444, section 6.5).
const adcPolls = 10

// Read makes one conversion.
func (a *adc) Read(ctx context.Context) (sample.Sample, error) {
	if err := a.dev.Tx(binary.BigEndian.AppendUint16([]byte{adcConfig}, a.word), nil); err != nil {
		return sample.Sample{}, i2cFault(a.dev, "start a conversion", err)
	}
	var r [2]byte
	for try := 0; ; try++ {
		if err := pause(ctx, a.takes); err != nil {
			return sample.Sample{}, err
		}
		if err := a.dev.Tx([]byte{adcConfig}, r[:]); err != nil {
			return sample.Sample{}, i2cFault(a.dev, "wait for a conversion", err)
		}
		state := binary.BigEndian.Uint16(r[:])
		if state&^adcStart != a.word&^adcStart {
			return sample.Sample{}, fmt.Errorf("the chip at 0x%02x does not keep its settings (0x%04x is 0x%04x): is it an ADS1115 or ADS1015?", a.dev.Addr, a.word, state)
		}
		if state&adcStart != 0 {
			break
		}
		if try == adcPolls {
			return sample.Sample{}, fmt.Errorf("the chip at 0x%02x does not end its conversion", a.dev.Addr)
		}
	}
	if err := a.dev.Tx([]byte{adcConversion}, r[:]); err != nil {
		return sample.Sample{}, i2cFault(a.dev, "read a conversion", err)
	}
	raw := int16(binary.BigEndian.Uint16(r[:]))
	v, err := adcVolts(raw, a.full)
	return sample.Sample{Quantity: sensors.Quantity{Value: v, Unit: sensors.Volt}}, err
}

// adcVolts is what a code means (SBAS444, section 7.5.4). The ADS1015's 12 bits
// are the upper ones (SBAS473, section 8.6.2), its last four are 0.
func adcVolts(raw int16, full float64) (float64, error) {
	if raw >= 0x7ff0 || raw == -0x8000 {
		return 0, fmt.Errorf("the input is at the end of its range of ±%v V: choose a larger gain, or look for a loose wire", full)
	}
	return float64(raw) * full / 0x8000, nil
}

// I2C is where the chip is.
func (a *ADC) I2C() (bus string, address Address) { return a.Place.busName(), a.Place.at(0x48) }
