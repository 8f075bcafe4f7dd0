package sensors

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"periph.io/x/conn/v3/physic"
)

// Quantity is a value with its unit.
type Quantity struct {
	Value float64
	Unit  Unit
}

// ParseQuantity reads a number and a unit, such as "2 l/min", "4.096V", "35 %"
// or "1013 hPa". A number alone is in One.
func ParseQuantity(s string) (Quantity, error) {
	s = strings.TrimSpace(s)
	number, symbol := s, ""
	for i := range s {
		if strings.IndexByte("0123456789.+-_eE", s[i]) < 0 || (s[i]|0x20 == 'e' && !exponentAt(s, i)) {
			number, symbol = strings.TrimSpace(s[:i]), s[i:]
			break
		}
	}
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
		return Quantity{}, fmt.Errorf("quantity %q: want a number and a unit, such as 2 l/min", s)
	}
	u, err := ParseUnit(symbol)
	if err != nil {
		return Quantity{}, fmt.Errorf("quantity %q: %w", s, err)
	}
	return Quantity{v, u}, nil
}

// exponentAt reports whether the e at i of s begins an exponent.
func exponentAt(s string, i int) bool {
	if i+1 < len(s) && (s[i+1] == '+' || s[i+1] == '-') {
		i++
	}
	return i+1 < len(s) && s[i+1] >= '0' && s[i+1] <= '9'
}

// In returns q in another unit of its dimension.
func (q Quantity) In(u Unit) (Quantity, error) {
	v, err := q.Unit.Convert(q.Value, u)
	return Quantity{v, u}, err
}

// String writes the value in as few digits as say it, and the unit.
func (q Quantity) String() string {
	s := strconv.FormatFloat(q.Value, 'g', -1, 64)
	if q.Unit == One {
		return s
	}
	return s + " " + string(q.Unit)
}

// MarshalText implements encoding.TextMarshaler.
func (q Quantity) MarshalText() ([]byte, error) { return []byte(q.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler by ParseQuantity.
func (q *Quantity) UnmarshalText(b []byte) error {
	parsed, err := ParseQuantity(string(b))
	if err == nil {
		*q = parsed
	}
	return err
}

// Temperature returns t as a Quantity, in °C.
func Temperature(t physic.Temperature) Quantity {
	return Quantity{float64(t-physic.ZeroCelsius) / float64(physic.Celsius), Celsius}
}

// Humidity returns h as a Quantity, in %.
func Humidity(h physic.RelativeHumidity) Quantity {
	return Quantity{float64(h) / float64(physic.PercentRH), Percent}
}

// Pressure returns p as a Quantity, in hPa.
func Pressure(p physic.Pressure) Quantity {
	return Quantity{float64(p) / float64(100*physic.Pascal), Hectopascal}
}

// Potential returns v as a Quantity, in V.
func Potential(v physic.ElectricPotential) Quantity {
	return Quantity{float64(v) / float64(physic.Volt), Volt}
}

// Frequency returns f as a Quantity, in Hz.
func Frequency(f physic.Frequency) Quantity {
	return Quantity{float64(f) / float64(physic.Hertz), Hertz}
}

// ErrDimension is the error of a quantity that measures something else.
var ErrDimension = errors.New("wrong dimension")

// Potential returns q, which must be a voltage, in periph's type.
func (q Quantity) Potential() (physic.ElectricPotential, error) {
	v, err := q.In(Volt)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDimension, err)
	}
	return physic.ElectricPotential(math.Round(v.Value * float64(physic.Volt))), nil
}

// Frequency returns q, which must be a frequency, in periph's type.
func (q Quantity) Frequency() (physic.Frequency, error) {
	v, err := q.In(Hertz)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrDimension, err)
	}
	return physic.Frequency(math.Round(v.Value * float64(physic.Hertz))), nil
}
