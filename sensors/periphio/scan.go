package periphio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"
)

// Found is what is connected to the board, as far as it can be told.
type Found struct {
	Chips   []ChipInfo
	Lines   []LineInfo
	Buses   []FoundBus
	OneWire []FoundDevice
	// Faults are what kept the board from being looked at.
	Faults []string
}

// FoundBus is an I²C bus and who answers on it.
type FoundBus struct {
	// Name is what a configuration calls it (I2C1), Adapter what the kernel does.
	Name, Adapter string
	Devices       []FoundDevice
	Fault         string
}

// FoundDevice is something that answers.
type FoundDevice struct {
	// Address is that on I²C (0x48), or the id on 1-Wire.
	Address string
	// Driver is the word for it in a configuration, where it is known, and Note
	// what more can be said.
	Driver, Note string
	// Options are those of a driver, in YAML.
	Options string
}

// Bounds of a scan: a bus that is held answers nothing, a second each time.
const (
	scanBusWithin = 8 * time.Second
	maxTimeouts   = 3
)

// Scan looks who is there. Addresses of which taken says something are not
// asked: they are in use. Every other is asked for a byte, which the devices of
// this world survive; those that may be known are asked who they are.
func (h *Host) Scan(ctx context.Context, taken func(bus string, a Address) string) Found {
	f := Found{Chips: h.Chips()}
	var err error
	if f.Lines, err = h.Lines(); err != nil {
		f.Faults = append(f.Faults, err.Error())
	}
	h.mu.Lock()
	for _, fault := range h.faults {
		f.Faults = append(f.Faults, fault.Error())
	}
	h.mu.Unlock()
	paths, _ := filepath.Glob(filepath.Join(h.opt.Dev, "i2c-*"))
	slices.SortFunc(paths, byNumber)
	for _, p := range paths {
		n, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(p), "i2c-"))
		if err != nil {
			continue
		}
		f.Buses = append(f.Buses, h.scanBus(ctx, n, taken))
	}
	f.OneWire, err = h.scanOneWire()
	if err != nil {
		f.Faults = append(f.Faults, err.Error())
	}
	return f
}

func (h *Host) scanBus(ctx context.Context, n int, taken func(string, Address) string) FoundBus {
	ctx, cancel := context.WithTimeout(ctx, scanBusWithin)
	defer cancel()
	f := FoundBus{Name: "I2C" + strconv.Itoa(n), Adapter: h.describes("class", "i2c-dev", "i2c-"+strconv.Itoa(n), "name")}
	bus, err := h.I2C(f.Name)
	if err != nil {
		f.Fault = err.Error()
		return f
	}
	defer func() { _ = bus.Close() }()
	timeouts := 0
	for a := Address(0x08); a <= 0x77; a++ {
		if ctx.Err() != nil || timeouts >= maxTimeouts {
			f.Fault = "the bus does not answer in time: is SDA or SCL held low, or without a pull-up?"
			return f
		}
		if use := taken(f.Name, a); use != "" {
			f.Devices = append(f.Devices, FoundDevice{Address: a.String(), Note: use})
			continue
		}
		if k := h.describes("bus", "i2c", "devices", fmt.Sprintf("%d-%04x", n, uint16(a)), "name"); k != "" {
			f.Devices = append(f.Devices, FoundDevice{Address: a.String(), Note: "the kernel's " + k})
			continue
		}
		before := time.Now()
		d, there := identify(ctx, &i2c.Dev{Bus: bus, Addr: uint16(a)})
		if !there {
			if time.Since(before) > 500*time.Millisecond {
				timeouts++
			}
			continue
		}
		d.Address = a.String()
		if d.Driver != "" {
			d.Options = fmt.Sprintf("{bus: %s, address: %s%s}", f.Name, d.Address, d.Options)
		}
		f.Devices = append(f.Devices, d)
	}
	return f
}

// identify asks a device who it is; false where none answers.
func identify(ctx context.Context, d *i2c.Dev) (FoundDevice, bool) {
	switch a := Address(d.Addr); {
	case a >= 0x44 && a <= 0x46:
		if found, ok := identifySHT(ctx, d); ok {
			return found, true
		}
	case a == 0x76 || a == 0x77:
		if found, ok := identifyBMx(d); ok {
			return found, true
		}
	case a >= 0x48 && a <= 0x4b:
		if found, ok := identifyADS(d); ok {
			return found, true
		}
	}
	var b [1]byte
	if d.Tx(nil, b[:]) != nil {
		return FoundDevice{}, false
	}
	return FoundDevice{Note: "unknown"}, true
}

// identifySHT asks for the serial number: SHT4x by one byte (table 8), SHT3x for
// its status by two (section 4.11). Each refuses the other's command.
func identifySHT(ctx context.Context, d *i2c.Dev) (FoundDevice, bool) {
	var b [6]byte
	fine := func(b []byte) bool { return crc8(b[:2], 0x31, 0xff) == b[2] }
	if d.Tx([]byte{0x89}, nil) == nil && pause(ctx, 2*time.Millisecond) == nil && d.Tx(nil, b[:]) == nil && fine(b[:3]) && fine(b[3:]) {
		return FoundDevice{Driver: "sht4x", Options: ", measure: humidity", Note: "temperature and humidity"}, true
	}
	if d.Tx([]byte{0xf3, 0x2d}, b[:3]) == nil && fine(b[:3]) {
		return FoundDevice{Driver: "sht3x", Options: ", measure: humidity", Note: "temperature and humidity"}, true
	}
	return FoundDevice{}, false
}

func identifyBMx(d *i2c.Dev) (FoundDevice, bool) {
	var id [1]byte
	if d.Tx([]byte{bmxID}, id[:]) != nil {
		return FoundDevice{}, false
	}
	switch id[0] {
	case idBME280:
		return FoundDevice{Driver: "bme280", Options: ", measure: temperature", Note: "temperature, humidity and pressure"}, true
	case idBMP280, 0x56, 0x57:
		return FoundDevice{Driver: "bmp280", Options: ", measure: temperature", Note: "temperature and pressure"}, true
	case 0x55:
		return FoundDevice{Note: "BMP180 or BMP085, for which there is no driver"}, true
	case 0x61:
		return FoundDevice{Note: "BME680, for which there is no driver"}, true
	}
	return FoundDevice{}, false
}

// identifyADS looks at the config register: the comparator's bits stay as they
// are after power-on, which other chips at these addresses do not have there.
func identifyADS(d *i2c.Dev) (FoundDevice, bool) {
	var b [2]byte
	if d.Tx([]byte{adcConfig}, b[:]) != nil || b[1]&0x1f != adcNoAlert || b[0]&0x80 == 0 {
		return FoundDevice{}, false
	}
	return FoundDevice{Driver: "ads1115", Options: ", channel: 0, gain: 4.096 V", Note: "ADS1115, or ADS1015: they look the same"}, true
}

// scanOneWire lists what the kernel has found.
func (h *Host) scanOneWire() ([]FoundDevice, error) {
	entries, err := os.ReadDir(filepath.Join(h.opt.Sys, "bus", "w1", "devices"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look at the 1-Wire bus: %w", err)
	}
	var out []FoundDevice
	for _, e := range entries {
		id := e.Name()
		switch {
		case validOneWire.MatchString(id):
			out = append(out, FoundDevice{Address: id, Driver: "ds18b20", Options: "{id: " + id + "}"})
		case strings.HasPrefix(id, "w1_bus_master"):
		default:
			out = append(out, FoundDevice{Address: id, Note: "unknown"})
		}
	}
	return out, nil
}

// describes reads a line of the kernel's description; empty where there is none.
func (h *Host) describes(path ...string) string {
	b, err := os.ReadFile(filepath.Join(append([]string{h.opt.Sys}, path...)...))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
