package periphio

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// DS18B20 is a thermometer on a 1-Wire bus (Maxim Integrated, 19-7487), which
// the kernel reads: its driver w1_therm has what the chip said in
// /sys/bus/w1/devices. periph's driver needs a bus master of its own, which a
// Raspberry Pi has not.
type DS18B20 struct {
	// ID is the chip's, as the kernel writes it: 28-0316a2795bff.
	ID string `yaml:"id"`
}

var validOneWire = regexp.MustCompile(`^28-[0-9a-f]{12}$`)

// Validate implements sample.Driver.
func (d *DS18B20) Validate(add func(string, ...any)) {
	if !validOneWire.MatchString(d.ID) {
		add(fmt.Sprintf("%q is not the id of a DS18B20: it is 28- and 12 hexadecimal digits, as headgate sensor scan shows", d.ID), "id")
	}
}

// Describe implements sample.Driver. All devices share a bus, and a measurement
// takes most of a second.
func (d *DS18B20) Describe() sample.Description {
	return sample.Description{Bus: "1-wire", Unit: sensors.Celsius, Measures: measureTemperature, Interval: 30 * time.Second}
}

// Opener implements Driver.
func (d *DS18B20) Opener(h *Host) sample.Opener {
	return func(context.Context, func()) (sample.Source, error) {
		return &ds18b20{filepath.Join(h.opt.Sys, "bus", "w1", "devices", d.ID, "w1_slave"), d.ID}, nil
	}
}

type ds18b20 struct{ path, id string }

func (d *ds18b20) Close() error { return nil }

// Read has the kernel measure: reading the file takes 750 ms, at 12 bits.
func (d *ds18b20) Read(context.Context) (sample.Sample, error) {
	text, err := os.ReadFile(d.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return sample.Sample{}, fmt.Errorf("no thermometer %s on the 1-Wire bus: is it connected? headgate sensor scan shows who answers; the bus needs dtoverlay=w1-gpio in config.txt", d.id)
	case err != nil:
		return sample.Sample{}, fmt.Errorf("read thermometer %s: %w", d.id, err)
	}
	scratchpad, err := parseW1Slave(string(text))
	if err != nil {
		return sample.Sample{}, fmt.Errorf("thermometer %s: %w", d.id, err)
	}
	c, err := ds18b20Celsius(scratchpad)
	if err != nil {
		return sample.Sample{}, fmt.Errorf("thermometer %s: %w", d.id, err)
	}
	return sample.Sample{Quantity: sensors.Quantity{Value: c, Unit: sensors.Celsius}}, nil
}

// parseW1Slave reads the nine bytes that begin the kernel's text:
//
//	91 01 4b 46 7f ff 0c 10 25 : crc=25 YES
func parseW1Slave(text string) (s [9]byte, err error) {
	line, _, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(line), " ", ""))
	if err != nil || len(b) != len(s) {
		return s, fmt.Errorf("the kernel has %q, not the nine bytes of its memory", strings.TrimSpace(line))
	}
	return [9]byte(b), nil
}

// ds18b20Celsius checks and converts the chip's memory (19-7487, figures 4, 8
// and 11).
func ds18b20Celsius(s [9]byte) (float64, error) {
	switch {
	// A line that is shorted gives zeros, whose checksum is right.
	case s[4]&0x9f != 0x1f:
		return 0, fmt.Errorf("it answers with nonsense (% x): the line is shorted, or another chip's", s)
	case crc8Reflected(s[:8], 0x8c) != s[8]:
		return 0, fmt.Errorf("a checksum is wrong (% x): the cable is too long, or the pull-up of 4.7 kΩ missing", s)
	}
	raw := int16(binary.LittleEndian.Uint16(s[:]))
	// 85 °C is what it says when it has not measured (figure 4). A measurement
	// changes the reserved byte 6, too.
	if raw == 0x0550 && s[6] == 0x0c {
		return 0, errors.New("it has lost its power and not measured since (85 °C): look at its supply")
	}
	// Below 12 bits the lowest are undefined (table 1).
	bits := uint(s[4]>>5&3) + 9
	raw &= -1 << (12 - bits)
	return float64(raw) / 16, nil
}
