package periphio

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"periph.io/x/conn/v3/i2c"

	"github.com/headgate-io/headgate/sensors/sample"
)

// Driver is a sensor on a pin or a bus of the board.
type Driver interface {
	sample.Driver
	// Opener returns what sets the sensor up on h.
	Opener(h *Host) sample.Opener
}

var (
	_ Driver = (*ADS1115)(nil)
	_ Driver = (*ADS1015)(nil)
	_ Driver = (*BME280)(nil)
	_ Driver = (*BMP280)(nil)
	_ Driver = (*SHT3x)(nil)
	_ Driver = (*SHT4x)(nil)
	_ Driver = (*DS18B20)(nil)
	_ Driver = (*Digital)(nil)
	_ Driver = (*Pulse)(nil)
)

// Address is the 7-bit address of an I²C device, written 0x48.
type Address uint16

// UnmarshalText parses an address.
func (a *Address) UnmarshalText(b []byte) error {
	n, err := strconv.ParseUint(string(b), 0, 16)
	if err != nil || n < 0x08 || n > 0x77 {
		// The others are reserved (I²C specification UM10204, section 3.1.12).
		return fmt.Errorf("%q is not the address of an I²C device: write it as 0x48, between 0x08 and 0x77", b)
	}
	*a = Address(n)
	return nil
}

// MarshalText writes the address as people do.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// String writes the address as people do.
func (a Address) String() string { return fmt.Sprintf("0x%02x", uint16(a)) }

// I2CPlace is where an I²C device is.
type I2CPlace struct {
	// Bus is the bus: I2C1 is /dev/i2c-1.
	Bus string `yaml:"bus"`
	// Address is the device's; left out it is the driver's usual one.
	Address Address `yaml:"address"`
}

func (p *I2CPlace) validate(add func(string, ...any), allowed ...Address) {
	if _, err := BusNumber(p.Bus); err != nil {
		add(err.Error(), "bus")
	}
	if p.Address != 0 && !slices.Contains(allowed, p.Address) {
		var names []string
		for _, a := range allowed {
			names = append(names, a.String())
		}
		add(fmt.Sprintf("%s is none of this chip's addresses: %s", p.Address, strings.Join(names, ", ")), "address")
	}
}

// busName is one name of the bus, however it was written.
func (p *I2CPlace) busName() string {
	n, err := BusNumber(p.Bus)
	if err != nil {
		return p.Bus
	}
	return "I2C" + strconv.Itoa(n)
}

// at is the address, or the usual one.
func (p *I2CPlace) at(usual Address) Address {
	if p.Address != 0 {
		return p.Address
	}
	return usual
}

// open opens the bus and returns the device on it.
func (p *I2CPlace) open(h *Host, address Address) (i2c.BusCloser, *i2c.Dev, error) {
	bus, err := h.I2C(p.Bus)
	if err != nil {
		return nil, nil, err
	}
	return bus, &i2c.Dev{Bus: bus, Addr: uint16(address)}, nil
}

// i2cFault says where a transfer failed, and what that usually means.
func i2cFault(d *i2c.Dev, what string, err error) error {
	return fmt.Errorf("%s of the chip at 0x%02x on %v: %w; is it connected and powered? headgate sensor scan shows who answers", what, d.Addr, d.Bus, err)
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
