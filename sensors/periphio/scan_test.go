package periphio_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/conn/v3/physic"

	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/periphio/pintest"
)

// wires is a bus with devices that answer to what they know.
type wires map[uint16]map[string]string

func (w wires) Tx(addr uint16, out, in []byte) error {
	answers, ok := w[addr]
	if !ok {
		return errors.New("no such device or address")
	}
	a, ok := answers[string(out)]
	if !ok || len(a) < len(in) {
		return errors.New("remote I/O error")
	}
	copy(in, a)
	return nil
}

func (wires) SetSpeed(physic.Frequency) error { return nil }
func (wires) Close() error                    { return nil }
func (wires) String() string                  { return "wires" }

func TestScan(t *testing.T) {
	dev, sys := t.TempDir(), t.TempDir()
	write := func(text string, path ...string) {
		file := filepath.Join(path...)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k := pintest.NewKernel()
	chip, err := k.AddChip(dev, "gpiochip0", "pinctrl-bcm2835", "GPIO2", "GPIO3")
	if err != nil {
		t.Fatal(err)
	}
	chip.Pin(1).TakenBy("w1-gpio")
	write("", dev, "i2c-1")
	write("", dev, "i2c-10")
	write("bcm2835 (i2c@7e804000)\n", sys, "class", "i2c-dev", "i2c-1", "name")
	write("ds3231\n", sys, "bus", "i2c", "devices", "1-0068", "name")
	write("", sys, "bus", "w1", "devices", "28-0316a2795bff", "w1_slave")
	write("", sys, "bus", "w1", "devices", "w1_bus_master1", "w1_master_slaves")
	bus := wires{
		0x20: {"": "\x00"},                                 // an expander, say
		0x44: {"\xf3\x2d": "\xbe\xef\x92"},                 // SHT3x
		0x45: {"\x89": "", "": "\xbe\xef\x92\xbe\xef\x92"}, // SHT4x
		0x48: {"\x01": "\x85\x83", "": "\x00"},             // ADS1115 after power-on
		0x49: {"\x01": "\x60\xa0", "": "\x00"},             // TMP102
		0x4a: {"": "\x00"},                                 // in use
		0x76: {"\xd0": "\x60", "": "\x00"},                 // BME280
		0x77: {"\xd0": "\x58", "": "\x00"},                 // BMP280
	}
	h, err := periphio.Open(periphio.Options{Dev: dev, Sys: sys, Kernel: k, OpenI2C: func(n int) (i2c.BusCloser, error) {
		if n == 1 {
			return bus, nil
		}
		return nil, os.ErrPermission
	}})
	if err != nil {
		t.Fatal(err)
	}
	got := h.Scan(t.Context(), func(bus string, a periphio.Address) string {
		if bus == "I2C1" && a == 0x4a {
			return "sensor tank"
		}
		return ""
	})
	want := []periphio.FoundDevice{
		{Address: "0x20", Note: "unknown"},
		{Address: "0x44", Driver: "sht3x", Options: "{bus: I2C1, address: 0x44, measure: humidity}", Note: "temperature and humidity"},
		{Address: "0x45", Driver: "sht4x", Options: "{bus: I2C1, address: 0x45, measure: humidity}", Note: "temperature and humidity"},
		{Address: "0x48", Driver: "ads1115", Options: "{bus: I2C1, address: 0x48, channel: 0, gain: 4.096 V}", Note: "ADS1115, or ADS1015: they look the same"},
		{Address: "0x49", Note: "unknown"},
		{Address: "0x4a", Note: "sensor tank"},
		{Address: "0x68", Note: "the kernel's ds3231"},
		{Address: "0x76", Driver: "bme280", Options: "{bus: I2C1, address: 0x76, measure: temperature}", Note: "temperature, humidity and pressure"},
		{Address: "0x77", Driver: "bmp280", Options: "{bus: I2C1, address: 0x77, measure: temperature}", Note: "temperature and pressure"},
	}
	if len(got.Buses) != 2 || got.Buses[0].Adapter != "bcm2835 (i2c@7e804000)" || !reflect.DeepEqual(got.Buses[0].Devices, want) || got.Buses[1].Fault == "" {
		t.Errorf("buses %+v", got.Buses)
	}
	if len(got.OneWire) != 1 || got.OneWire[0].Options != "{id: 28-0316a2795bff}" {
		t.Errorf("1-Wire %+v", got.OneWire)
	}
	if len(got.Lines) != 2 || got.Lines[1].Consumer != "w1-gpio" || got.Lines[0].Used {
		t.Errorf("lines %+v", got.Lines)
	}
}
