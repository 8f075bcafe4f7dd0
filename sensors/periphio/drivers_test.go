package periphio

// The drivers against what the data sheets say. Bus transcripts are checked
// byte by byte, so that a wrong register, gain or command fails; values are the
// sheets' own examples. What was tried, one at a time, and made a test fail:
//
//   - ADS1x15: the PGA bits of another gain; MUX without the single-ended bit;
//     channels in reverse; little-endian words; comparator left on; another
//     rate; the conversion as an unsigned number; full scale over 0x7fff; no
//     check of the end of the range; no wait for the end of a conversion.
//   - BMx280: humidity not sampled; sleep mode; calibration from 0x89; T3, P2
//     unsigned; H4 and H5 exchanged; 19 bits; P9 taken for P8; another data
//     register; Pa as hPa; fine/5000; no wait for the end of a measurement.
//   - SHT: clock stretching; checksum from 0, or not looked at; 2^16 for 2^16-1;
//     SHT4x's humidity by the SHT3x's formula; words exchanged.
//   - DS18B20: sign lost; 1/8 °C; checksum not looked at; 85 °C taken for a
//     value; a measured 85 °C refused; a shorted line taken for 0 °C.
//   - Contact, meter: active low taken for high; lost edges not counted.

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/i2c/i2ctest"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// read opens the driver on a bus that plays ops, reads once, and fails where
// the transcript was another.
func read(t *testing.T, d Driver, ops ...i2ctest.IO) (sample.Sample, error) {
	t.Helper()
	d.Validate(func(message string, path ...any) { t.Errorf("%v: %s", path, message) })
	bus := &i2ctest.Playback{Ops: ops, DontPanic: true}
	h, err := Open(Options{Dev: t.TempDir(), OpenI2C: func(n int) (i2c.BusCloser, error) {
		if n != 1 {
			t.Errorf("bus %d", n)
		}
		return bus, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	src, err := d.Opener(h)(t.Context(), func() {})
	if err != nil {
		return sample.Sample{}, err
	}
	got, err := src.Read(t.Context())
	// Playback's own Close reports what was not played.
	if closeErr := src.Close(); err == nil && closeErr != nil {
		t.Error(closeErr)
	}
	return got, err
}

func near(got, want, within float64) bool { return math.Abs(got-want) <= within }

// TestADCWords compares the config register with the sheet's: SBAS444, section
// 8.1.3. Its reset value, 0x8583, is inputs 0 and 1, ±2.048 V, single shot, 128
// a second, no comparator.
func TestADCWords(t *testing.T) {
	channel := func(n int) *int { return &n }
	volts := func(v float64) sensors.Quantity { return sensors.Quantity{Value: v, Unit: sensors.Volt} }
	for _, c := range []struct {
		adc  ADC
		want uint16
	}{
		{ADC{Differential: []int{0, 1}}, 0x8583},
		{ADC{Differential: []int{0, 3}}, 0x9583},
		{ADC{Differential: []int{1, 3}}, 0xa583},
		{ADC{Differential: []int{2, 3}}, 0xb583},
		{ADC{Channel: channel(0)}, 0xc583},
		{ADC{Channel: channel(3)}, 0xf583},
		{ADC{Channel: channel(1), Gain: volts(6.144)}, 0xd183},
		{ADC{Channel: channel(1), Gain: volts(4.096)}, 0xd383},
		{ADC{Channel: channel(1), Gain: volts(1.024)}, 0xd783},
		{ADC{Channel: channel(1), Gain: volts(0.512)}, 0xd983},
		{ADC{Channel: channel(1), Gain: sensors.Quantity{Value: 256, Unit: sensors.Millivolt}}, 0xdb83},
	} {
		if got, err := c.adc.word(); err != nil || got != c.want {
			t.Errorf("%+v: 0x%04x, %v; want 0x%04x", c.adc, got, err, c.want)
		}
	}
}

// TestADCVolts is SBAS444, table 7-3 (input signal and output code).
func TestADCVolts(t *testing.T) {
	for _, c := range []struct {
		raw  int16
		want float64
	}{
		{0x0001, 2.048 / 32768},
		{0x0000, 0},
		{-1, -2.048 / 32768},
		{0x4000, 1.024},
		{-0x4000, -1.024},
	} {
		if got, err := adcVolts(c.raw, 2.048); err != nil || got != c.want {
			t.Errorf("%d: %v, %v; want %v", c.raw, got, err, c.want)
		}
	}
	for _, raw := range []int16{0x7fff, 0x7ff0, -0x8000} {
		if v, err := adcVolts(raw, 2.048); err == nil || !strings.Contains(err.Error(), "end of its range") {
			t.Errorf("%d: %v, %v", raw, v, err)
		}
	}
}

func TestADS1115(t *testing.T) {
	one := 1
	d := &ADS1115{ADC{Place: I2CPlace{Bus: "I2C1", Address: 0x49}, Channel: &one, Gain: sensors.Quantity{Value: 4.096, Unit: sensors.Volt}}}
	start := i2ctest.IO{Addr: 0x49, W: []byte{0x01, 0xd3, 0x83}}
	got, err := read(t, d,
		start,
		i2ctest.IO{Addr: 0x49, W: []byte{0x01}, R: []byte{0x53, 0x83}}, // not done
		i2ctest.IO{Addr: 0x49, W: []byte{0x01}, R: []byte{0xd3, 0x83}},
		i2ctest.IO{Addr: 0x49, W: []byte{0x00}, R: []byte{0x40, 0x00}},
	)
	if err != nil || got.Quantity != (sensors.Quantity{Value: 2.048, Unit: sensors.Volt}) {
		t.Errorf("%v, %v", got, err)
	}
	_, err = read(t, d, start, i2ctest.IO{Addr: 0x49, W: []byte{0x01}, R: []byte{0xff, 0xff}})
	if err == nil || !strings.Contains(err.Error(), "0x49 does not keep its settings") {
		t.Errorf("nobody there: %v", err)
	}
	_, err = read(t, d)
	if err == nil || !strings.Contains(err.Error(), "headgate sensor scan") {
		t.Errorf("no answer: %v", err)
	}
}

func TestADS1015(t *testing.T) {
	zero := 0
	d := &ADS1015{ADC{Place: I2CPlace{Bus: "/dev/i2c-1"}, Channel: &zero}}
	got, err := read(t, d,
		i2ctest.IO{Addr: 0x48, W: []byte{0x01, 0xc5, 0x83}},
		i2ctest.IO{Addr: 0x48, W: []byte{0x01}, R: []byte{0xc5, 0x83}},
		// Code 0x001 of 12 bits is 1 mV at ±2.048 V (SBAS473, table 1).
		i2ctest.IO{Addr: 0x48, W: []byte{0x00}, R: []byte{0x00, 0x10}},
	)
	if err != nil || !near(got.Value, 0.001, 1e-12) {
		t.Errorf("%v, %v", got, err)
	}
}

// bmp280Example is BST-BMP280-DS001, section 3.12, figure 12: calibration, what
// was measured, and what that is.
var bmp280Example = bmxCal{
	t1: 27504, t2: 26435, t3: -1000,
	p1: 36477, p2: -10685, p3: 3024, p4: 2855, p5: 140, p6: -7, p7: 15500, p8: -14600, p9: 6000,
}

func TestBMP280Compensation(t *testing.T) {
	fine := bmp280Example.fine(519888)
	if !near(fine, 128422, 1) || !near(fine/5120, 25.08, 0.005) {
		t.Errorf("fine %v", fine)
	}
	if p, err := bmp280Example.pressure(415148, fine); err != nil || !near(p, 100653.27, 0.05) {
		t.Errorf("pressure %v, %v; want 100653.27 Pa", p, err)
	}
}

// bmp280Registers are the example's as the chip has them.
var (
	bmp280Cal = []byte{
		0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc,
		0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c, 0x00, 0xf9, 0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17,
		0x00, 0x4b,
	}
	bmp280Raw = []byte{0x65, 0x5a, 0xc0, 0x7e, 0xed, 0x00} // 415148, 519888
)

func TestBMP280(t *testing.T) {
	if got := parseBMxCal([26]byte(bmp280Cal), [7]byte{}); got.h1 != 75 || got.p2 != -10685 || got.p9 != 6000 {
		t.Fatalf("%+v", got)
	}
	for measure, want := range map[string]sensors.Quantity{
		"temperature": {Value: 25.08, Unit: sensors.Celsius}, "pressure": {Value: 1006.5327, Unit: sensors.Hectopascal},
	} {
		got, err := read(t, &BMP280{BMx{Place: I2CPlace{Bus: "I2C1"}, Measure: measure}},
			i2ctest.IO{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x58}},
			i2ctest.IO{Addr: 0x76, W: []byte{0x88}, R: bmp280Cal},
			i2ctest.IO{Addr: 0x76, W: []byte{0xf5, 0x00}},
			i2ctest.IO{Addr: 0x76, W: []byte{0xf4, 0x25}},
			i2ctest.IO{Addr: 0x76, W: []byte{0xf3}, R: []byte{0x08}}, // measuring
			i2ctest.IO{Addr: 0x76, W: []byte{0xf3}, R: []byte{0x00}},
			i2ctest.IO{Addr: 0x76, W: []byte{0xf7}, R: bmp280Raw},
		)
		if err != nil || got.Unit != want.Unit || !near(got.Value, want.Value, 0.005) {
			t.Errorf("%s: %v, %v; want %v", measure, got, err, want)
		}
	}
	_, err := read(t, &BME280{BMx{Place: I2CPlace{Bus: "I2C1"}, Measure: "humidity"}},
		i2ctest.IO{Addr: 0x76, W: []byte{0xd0}, R: []byte{0x58}})
	if err == nil || !strings.Contains(err.Error(), "is a BMP280, which has no humidity: configure it as bmp280") {
		t.Error(err)
	}
}

// TestBME280Humidity compares the compensation in floating point with the one
// in whole numbers that the sheet has beside it (BST-BME280-DS001, section
// 4.2.3): there is no worked example of humidity.
func TestBME280Humidity(t *testing.T) {
	c := bmxCal{h1: 75, h2: 370, h3: 0, h4: 313, h5: 50, h6: 30}
	whole := func(adc, fine int32) float64 {
		v := fine - 76800
		v = (((adc << 14) - (int32(c.h4) << 20) - (int32(c.h5) * v)) + 16384) >> 15 *
			(((((((v*int32(c.h6))>>10)*(((v*int32(c.h3))>>11)+32768))>>10)+2097152)*int32(c.h2) + 8192) >> 14)
		v -= (((v >> 15) * (v >> 15)) >> 7) * int32(c.h1) >> 4
		return float64(min(max(v, 0), 419430400)>>12) / 1024
	}
	for adc := int32(20000); adc < 45000; adc += 1234 {
		for _, fine := range []int32{20000, 128422, 200000} {
			if got, want := c.humidity(adc, float64(fine)), whole(adc, fine); !near(got, want, 0.05) {
				t.Errorf("adc %d, fine %d: %v %%, in whole numbers %v %%", adc, fine, got, want)
			}
		}
	}
}

func TestBME280(t *testing.T) {
	hum := []byte{0x72, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1e} // h2 370, h4 0x139, h5 0x032, h6 30
	if c := parseBMxCal([26]byte(bmp280Cal), [7]byte(hum)); c.h2 != 370 || c.h4 != 313 || c.h5 != 50 || c.h6 != 30 {
		t.Fatalf("%+v", c)
	}
	got, err := read(t, &BME280{BMx{Place: I2CPlace{Bus: "I2C1", Address: 0x77}, Measure: "humidity"}},
		i2ctest.IO{Addr: 0x77, W: []byte{0xd0}, R: []byte{0x60}},
		i2ctest.IO{Addr: 0x77, W: []byte{0x88}, R: bmp280Cal},
		i2ctest.IO{Addr: 0x77, W: []byte{0xe1}, R: hum},
		i2ctest.IO{Addr: 0x77, W: []byte{0xf5, 0x00}},
		i2ctest.IO{Addr: 0x77, W: []byte{0xf2, 0x01}},
		i2ctest.IO{Addr: 0x77, W: []byte{0xf4, 0x25}},
		i2ctest.IO{Addr: 0x77, W: []byte{0xf3}, R: []byte{0x00}},
		i2ctest.IO{Addr: 0x77, W: []byte{0xf7}, R: append(append([]byte{}, bmp280Raw...), 0x75, 0x30)},
	)
	c := bmxCal{h1: 75, h2: 370, h4: 313, h5: 50, h6: 30}
	if want := c.humidity(30000, bmp280Example.fine(519888)); err != nil || !near(got.Value, want, 1e-9) || got.Unit != sensors.Percent {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if _, err := (&bmp280Example).convert([]byte{0x80, 0, 0, 0x80, 0, 0}, "temperature"); err == nil {
		t.Error("a value that was not measured is one")
	}
}

// TestSHTChecksum is the sheets' own example (SHT3x-DIS, section 4.12, table
// 20; SHT4x, section 4.4): 0xbeef has 0x92.
func TestSHTChecksum(t *testing.T) {
	if got := crc8([]byte{0xbe, 0xef}, 0x31, 0xff); got != 0x92 {
		t.Errorf("0x%02x", got)
	}
}

func TestSHT(t *testing.T) {
	word := func(hi, lo byte) []byte { return []byte{hi, lo, crc8([]byte{hi, lo}, 0x31, 0xff)} }
	// 0xbeef is -45 + 175·48879/65535 = 85.523 °C; 0x8000 is half, and a bit.
	raw := append(word(0xbe, 0xef), word(0x80, 0x00)...)
	half := 32768.0 / 65535
	for _, c := range []struct {
		d       Driver
		command []byte
		want    float64
	}{
		{&SHT3x{SHT{I2CPlace{Bus: "i2c-1"}, "temperature"}}, []byte{0x24, 0x00}, -45 + 175*48879.0/65535},
		{&SHT3x{SHT{I2CPlace{Bus: "i2c-1"}, "humidity"}}, []byte{0x24, 0x00}, 100 * half},
		{&SHT4x{SHT{I2CPlace{Bus: "i2c-1"}, "temperature"}}, []byte{0xfd}, -45 + 175*48879.0/65535},
		{&SHT4x{SHT{I2CPlace{Bus: "i2c-1"}, "humidity"}}, []byte{0xfd}, -6 + 125*half},
	} {
		got, err := read(t, c.d, i2ctest.IO{Addr: 0x44, W: c.command}, i2ctest.IO{Addr: 0x44, R: raw})
		if err != nil || !near(got.Value, c.want, 1e-9) {
			t.Errorf("%T: %v, %v; want %v", c.d, got, err, c.want)
		}
	}
	raw[5] ^= 1
	_, err := read(t, &SHT3x{SHT{I2CPlace{Bus: "I2C1"}, "temperature"}}, i2ctest.IO{Addr: 0x44, W: []byte{0x24, 0x00}}, i2ctest.IO{Addr: 0x44, R: raw})
	if err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("a wrong checksum: %v", err)
	}
	// Outside of what there is, by the noise of the chip (SHT4x, section 4.6).
	if _, h, err := sht4x.convert([6]byte(append(word(0, 0), word(0, 0)...))); err != nil || h.Value != 0 {
		t.Errorf("%v, %v", h, err)
	}
}

// TestDS18B20Table is the sheet's table of temperatures (19-7487, table 1).
func TestDS18B20Table(t *testing.T) {
	for _, c := range []struct {
		raw  uint16
		want float64
	}{
		{0x07d0, 125},
		{0x0550, 85},
		{0x0191, 25.0625},
		{0x00a2, 10.125},
		{0x0008, 0.5},
		{0x0000, 0},
		{0xfff8, -0.5},
		{0xff5e, -10.125},
		{0xfe6f, -25.0625},
		{0xfc90, -55},
	} {
		s := [9]byte{byte(c.raw), byte(c.raw >> 8), 0x4b, 0x46, 0x7f, 0xff, 0x10, 0x10}
		s[8] = crc8Reflected(s[:8], 0x8c)
		if got, err := ds18b20Celsius(s); err != nil || got != c.want {
			t.Errorf("0x%04x: %v, %v; want %v", c.raw, got, err, c.want)
		}
	}
}

// TestDS18B20 reads what the kernel gives (Documentation/w1/slaves/w1_therm.rst).
func TestDS18B20(t *testing.T) {
	sys := t.TempDir()
	h, err := Open(Options{Dev: t.TempDir(), Sys: sys})
	if err != nil {
		t.Fatal(err)
	}
	d := &DS18B20{ID: "28-0316a2795bff"}
	src, err := d.Opener(h)(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := src.Read(t.Context()); err == nil || !strings.Contains(err.Error(), "no thermometer 28-0316a2795bff on the 1-Wire bus") {
		t.Errorf("not there: %v", err)
	}
	file := filepath.Join(sys, "bus", "w1", "devices", d.ID, "w1_slave")
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text, fault string
		want        float64
	}{
		{text: "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n", want: 23.125},
		{text: "50 05 4b 46 7f ff 0c 10 1c : crc=1c YES\n50 05 4b 46 7f ff 0c 10 1c t=85000\n", fault: "lost its power"},
		{text: "72 01 4b 46 7f ff 0e 10 58 : crc=57 NO\n72 01 4b 46 7f ff 0e 10 58 t=23125\n", fault: "checksum"},
		{text: "00 00 00 00 00 00 00 00 00 : crc=00 YES\n00 00 00 00 00 00 00 00 00 t=0\n", fault: "nonsense"},
		{text: "ff ff ff ff ff ff ff ff ff : crc=c9 NO\n", fault: "nonsense"},
		{text: "", fault: "not the nine bytes"},
	} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := src.Read(context.Background())
		switch {
		case c.fault == "" && (err != nil || got.Value != c.want):
			t.Errorf("%q: %v, %v", c.text, got, err)
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%q: %v, %v; want %s", c.text, got, err, c.fault)
		}
	}
}

func TestDriverFaults(t *testing.T) {
	five := 5
	for _, c := range []struct {
		d    sample.Driver
		want string
	}{
		{&ADS1115{}, `I²C bus "": want I2C1`},
		{&ADS1115{ADC{Place: I2CPlace{Bus: "I2C1", Address: 0x76}, Differential: []int{0, 1}}}, "0x76 is none of this chip's addresses: 0x48, 0x49, 0x4a, 0x4b"},
		{&ADS1115{ADC{Place: I2CPlace{Bus: "I2C1"}, Channel: &five}}, "5 is none of the inputs"},
		{&ADS1115{ADC{Place: I2CPlace{Bus: "I2C1"}, Differential: []int{1, 2}}}, "[1 2]: the chip can compare"},
		{&ADS1115{ADC{Place: I2CPlace{Bus: "I2C1"}, Channel: &five, Gain: sensors.Quantity{Value: 5, Unit: sensors.Volt}}}, "5 V is none of the chip's ranges"},
		{&BMP280{BMx{Place: I2CPlace{Bus: "I2C1"}, Measure: "humidity"}}, `"humidity": the chip can measure temperature, pressure`},
		{&DS18B20{ID: "10-000802b8a4f4"}, "is not the id of a DS18B20"},
		{&Digital{}, "is missing: name the line"},
		{&Digital{GPIO: "GPIO4", Active: "up", Pull: "strong"}, `"up" must be high or low`},
		{&Pulse{GPIO: "GPIO4", PerLitre: -1}, "must be positive"},
		{&Pulse{GPIO: "GPIO4", Measure: "sum"}, `"sum" must be rate or total`},
	} {
		var faults []error
		c.d.Validate(func(message string, _ ...any) { faults = append(faults, errors.New(message)) })
		if err := errors.Join(faults...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v; want %s", c.d, err, c.want)
		}
	}
}
