package periphio

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// BME280 is a sensor of air temperature, humidity and pressure (Bosch
// Sensortec, BST-BME280-DS001-24), BMP280 the same without humidity
// (BST-BMP280-DS001-26).
//
// periph's driver waits for the chip without end, which would take the whole
// bus with it when a chip hangs, and does not say that a "BME280" is a BMP280,
// which many are.
type BME280 struct {
	BMx `yaml:",inline"`
}

// BMP280 is a BME280 without humidity.
type BMP280 struct {
	BMx `yaml:",inline"`
}

// BMx are the options of both.
type BMx struct {
	Place I2CPlace `yaml:",inline"`
	// Measure is temperature, pressure or, of a BME280, humidity.
	Measure string `yaml:"measure"`
}

func validateMeasure(add func(string, ...any), measure string, allowed ...string) {
	if !slices.Contains(allowed, measure) {
		add(fmt.Sprintf("%q: the chip can measure %s; make a sensor of each that you want", measure, strings.Join(allowed, ", ")), "measure")
	}
}

// describeAir describes a chip that measures air.
func describeAir(p *I2CPlace, measure string) sample.Description {
	unit := map[string]sensors.Unit{measureTemperature: sensors.Celsius, measureHumidity: sensors.Percent, measurePressure: sensors.Hectopascal}[measure]
	return sample.Description{Bus: p.busName(), Unit: unit, Measures: measure, Interval: 30 * time.Second}
}

// Validate implements sample.Driver.
func (b *BME280) Validate(add func(string, ...any)) {
	b.Place.validate(add, 0x76, 0x77)
	validateMeasure(add, b.Measure, measureTemperature, measureHumidity, measurePressure)
}

// Validate implements sample.Driver.
func (b *BMP280) Validate(add func(string, ...any)) {
	b.Place.validate(add, 0x76, 0x77)
	validateMeasure(add, b.Measure, measureTemperature, measurePressure)
}

// Describe implements sample.Driver.
func (b *BMx) Describe() sample.Description { return describeAir(&b.Place, b.Measure) }

// Registers (BME280, section 5.3).
const (
	bmxCalibration = 0x88 // T1 to P9, and at 0xa1 H1
	bmxID          = 0xd0
	bmxHumidityCal = 0xe1 // H2 to H6
	bmxCtrlHum     = 0xf2
	bmxStatus      = 0xf3
	bmxCtrlMeas    = 0xf4
	bmxConfig      = 0xf5
	bmxData        = 0xf7

	// Forced mode with an oversampling of 1 for all three, and no filter: what
	// section 3.5.1 suggests for weather. It takes 9.3 ms at most (section 9.1).
	bmxOversample1 = 0b001
	bmxForced      = bmxOversample1<<5 | bmxOversample1<<2 | 0b01
	bmxTakes       = 10 * time.Millisecond
	bmxMeasuring   = 1 << 3
)

// Chip ids (BME280, section 5.4.1; BMP280, section 4.3.1, where 0x56 and 0x57
// are samples).
const (
	idBME280 = 0x60
	idBMP280 = 0x58
)

// Opener implements Driver.
func (b *BME280) Opener(h *Host) sample.Opener { return b.opener(h, true) }

// Opener implements Driver. A BME280 will do, too.
func (b *BMP280) Opener(h *Host) sample.Opener { return b.opener(h, false) }

func (b *BMx) opener(h *Host, humid bool) sample.Opener {
	return func(context.Context, func()) (_ sample.Source, err error) {
		bus, dev, err := b.Place.open(h, b.Place.at(0x76))
		if err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				_ = bus.Close()
			}
		}()
		s := &bmx{bus: bus, dev: dev, measure: b.Measure}
		return s, s.setUp(humid)
	}
}

type bmx struct {
	bus     i2c.BusCloser
	dev     *i2c.Dev
	measure string
	humid   bool // the chip is a BME280
	cal     bmxCal
}

func (b *bmx) Close() error { return b.bus.Close() }

// setUp tells which chip it is and reads what its maker has measured of it.
func (b *bmx) setUp(wantHumid bool) error {
	var id [1]byte
	if err := b.dev.Tx([]byte{bmxID}, id[:]); err != nil {
		return i2cFault(b.dev, "read the id", err)
	}
	switch id[0] {
	case idBME280:
		b.humid = true
	case idBMP280, 0x56, 0x57:
		if wantHumid {
			return fmt.Errorf("the chip at 0x%02x is a BMP280, which has no humidity: configure it as bmp280", b.dev.Addr)
		}
	default:
		return fmt.Errorf("the chip at 0x%02x is neither BME280 nor BMP280: its id is 0x%02x", b.dev.Addr, id[0])
	}
	var cal [26]byte
	if err := b.dev.Tx([]byte{bmxCalibration}, cal[:]); err != nil {
		return i2cFault(b.dev, "read the calibration", err)
	}
	var hum [7]byte
	if b.humid {
		if err := b.dev.Tx([]byte{bmxHumidityCal}, hum[:]); err != nil {
			return i2cFault(b.dev, "read the calibration of humidity", err)
		}
	}
	b.cal = parseBMxCal(cal, hum)
	if b.cal.p1 == 0 || b.cal.t1 == 0 {
		return fmt.Errorf("the chip at 0x%02x has no calibration: it is broken, or the bus is disturbed", b.dev.Addr)
	}
	if err := b.dev.Tx([]byte{bmxConfig, 0}, nil); err != nil {
		return i2cFault(b.dev, "configure", err)
	}
	return nil
}

// bmxPolls bounds how often is asked whether a measurement is done.
const bmxPolls = 10

// Read measures all and returns what is asked for.
func (b *bmx) Read(ctx context.Context) (sample.Sample, error) {
	if b.humid {
		// It takes effect with the write to ctrl_meas (section 5.4.3).
		if err := b.dev.Tx([]byte{bmxCtrlHum, bmxOversample1}, nil); err != nil {
			return sample.Sample{}, i2cFault(b.dev, "start a measurement", err)
		}
	}
	if err := b.dev.Tx([]byte{bmxCtrlMeas, bmxForced}, nil); err != nil {
		return sample.Sample{}, i2cFault(b.dev, "start a measurement", err)
	}
	var status [1]byte
	for try := 0; ; try++ {
		if err := pause(ctx, bmxTakes); err != nil {
			return sample.Sample{}, err
		}
		if err := b.dev.Tx([]byte{bmxStatus}, status[:]); err != nil {
			return sample.Sample{}, i2cFault(b.dev, "wait for a measurement", err)
		}
		if status[0]&bmxMeasuring == 0 {
			break
		}
		if try == bmxPolls {
			return sample.Sample{}, fmt.Errorf("the chip at 0x%02x does not end its measurement", b.dev.Addr)
		}
	}
	raw := make([]byte, 6, 8)
	if b.humid {
		raw = raw[:8]
	}
	if err := b.dev.Tx([]byte{bmxData}, raw); err != nil {
		return sample.Sample{}, i2cFault(b.dev, "read a measurement", err)
	}
	q, err := b.cal.convert(raw, b.measure)
	if err != nil {
		return sample.Sample{}, fmt.Errorf("the chip at 0x%02x: %w", b.dev.Addr, err)
	}
	return sample.Sample{Quantity: q}, nil
}

// bmxCal is what a chip's maker has measured of it (BME280, section 4.2.2,
// table 16).
type bmxCal struct {
	t1                             uint16
	t2, t3                         int16
	p1                             uint16
	p2, p3, p4, p5, p6, p7, p8, p9 int16
	h1                             uint8
	h2                             int16
	h3                             uint8
	h4, h5                         int16
	h6                             int8
}

func parseBMxCal(c [26]byte, h [7]byte) bmxCal {
	le := binary.LittleEndian
	s := func(i int) int16 { return int16(le.Uint16(c[i:])) }
	return bmxCal{
		t1: le.Uint16(c[0:]), t2: s(2), t3: s(4),
		p1: le.Uint16(c[6:]), p2: s(8), p3: s(10), p4: s(12), p5: s(14), p6: s(16), p7: s(18), p8: s(20), p9: s(22),
		h1: c[25], h2: int16(le.Uint16(h[0:])), h3: h[2],
		// H4 and H5 share the byte at 0xe5.
		h4: int16(int8(h[3]))<<4 | int16(h[4]&0x0f), h5: int16(int8(h[5]))<<4 | int16(h[4]>>4), h6: int8(h[6]),
	}
}

// convert makes a value of the bytes from 0xf7 on: pressure and temperature of
// 20 bits, humidity of 16.
func (c *bmxCal) convert(raw []byte, measure string) (sensors.Quantity, error) {
	twenty := func(b []byte) int32 { return int32(b[0])<<12 | int32(b[1])<<4 | int32(b[2])>>4 }
	p, t := twenty(raw[0:]), twenty(raw[3:])
	// What was not measured has its value after power-on (section 5.4.7).
	const skipped20, skipped16 = 0x80000, 0x8000
	if t == skipped20 || measure == measurePressure && p == skipped20 {
		return sensors.Quantity{}, fmt.Errorf("it has not measured")
	}
	fine := c.fine(t)
	switch measure {
	case measurePressure:
		pa, err := c.pressure(p, fine)
		return sensors.Quantity{Value: pa / 100, Unit: sensors.Hectopascal}, err
	case measureHumidity:
		h := int32(binary.BigEndian.Uint16(raw[6:]))
		if h == skipped16 {
			return sensors.Quantity{}, fmt.Errorf("it has not measured")
		}
		return sensors.Quantity{Value: c.humidity(h, fine), Unit: sensors.Percent}, nil
	default:
		return sensors.Quantity{Value: fine / 5120, Unit: sensors.Celsius}, nil
	}
}

// The compensation in floating point (BME280, section 8.1; BMP280, section 8.1;
// the names are those of the data sheets).

// fine is the temperature in 1/5120 °C.
func (c *bmxCal) fine(adc int32) float64 {
	t := float64(adc)
	var1 := (t/16384 - float64(c.t1)/1024) * float64(c.t2)
	var2 := t/131072 - float64(c.t1)/8192
	return var1 + var2*var2*float64(c.t3)
}

// pressure is in Pa.
func (c *bmxCal) pressure(adc int32, fine float64) (float64, error) {
	var1 := fine/2 - 64000
	var2 := var1 * var1 * float64(c.p6) / 32768
	var2 += var1 * float64(c.p5) * 2
	var2 = var2/4 + float64(c.p4)*65536
	var1 = (float64(c.p3)*var1*var1/524288 + float64(c.p2)*var1) / 524288
	var1 = (1 + var1/32768) * float64(c.p1)
	if var1 == 0 {
		return 0, fmt.Errorf("its calibration makes no sense")
	}
	p := 1048576 - float64(adc)
	p = (p - var2/4096) * 6250 / var1
	var1 = float64(c.p9) * p * p / 2147483648
	var2 = p * float64(c.p8) / 32768
	return p + (var1+var2+float64(c.p7))/16, nil
}

// humidity is in %, as a hygrometer would show.
func (c *bmxCal) humidity(adc int32, fine float64) float64 {
	h := fine - 76800
	h = (float64(adc) - (float64(c.h4)*64 + float64(c.h5)/16384*h)) *
		(float64(c.h2) / 65536 * (1 + float64(c.h6)/67108864*h*(1+float64(c.h3)/67108864*h)))
	h *= 1 - float64(c.h1)*h/524288
	return min(100, max(0, h))
}

// I2C is where the chip is.
func (b *BMx) I2C() (bus string, address Address) { return b.Place.busName(), b.Place.at(0x76) }
