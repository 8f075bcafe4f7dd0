package sensors

import (
	"fmt"
	"slices"
	"strings"
)

// Unit is a unit of measurement by its symbol, in the one spelling of it that
// ParseUnit answers. The zero Unit is that of plain numbers, such as a pH.
type Unit string

// Units that the drivers and their users name.
const (
	One               Unit = ""
	Percent           Unit = "%"
	Celsius           Unit = "°C"
	Volt              Unit = "V"
	Millivolt         Unit = "mV"
	Hectopascal       Unit = "hPa"
	Hertz             Unit = "Hz"
	Liter             Unit = "l"
	LiterPerMinute    Unit = "l/min"
	Count             Unit = "count"
	Switch            Unit = "on/off"
	MillimeterPerHour Unit = "mm/h"
)

// Dimension is what a unit measures. Units convert inside their dimension.
type Dimension string

// unit is one row of the table: value*scale + offset is the value in the
// dimension's base.
type unit struct {
	symbol        Unit
	dimension     Dimension
	scale, offset float64
	// aliases are other spellings, in lower case.
	aliases []string
}

// Dimensions of the units that drivers give.
const (
	Dimensionless        Dimension = "number"
	DimensionRatio       Dimension = "ratio"
	DimensionTemperature Dimension = "temperature"
	DimensionVoltage     Dimension = "voltage"
	DimensionPressure    Dimension = "pressure"
	DimensionFrequency   Dimension = "frequency"
	DimensionVolume      Dimension = "volume"
	DimensionFlow        Dimension = "volume flow rate"
	DimensionCount       Dimension = "count"
	DimensionSwitch      Dimension = "switch"
)

// units is sorted by dimension; the first of each is its base. Factors are
// exact by definition (SI brochure; NIST SP 811 appendix B for the others).
var units = [...]unit{
	{One, Dimensionless, 1, 0, []string{"1", "number", "ph"}},
	{Percent, DimensionRatio, 1, 0, []string{"percent", "%rh", "%vwc"}},
	{"‰", DimensionRatio, 0.1, 0, []string{"permille"}},
	{"ppm", DimensionRatio, 1e-4, 0, nil},
	{"ppb", DimensionRatio, 1e-7, 0, nil},
	{Celsius, DimensionTemperature, 1, 0, []string{"c", "degc", "celsius"}},
	{"K", DimensionTemperature, 1, -273.15, []string{"kelvin"}},
	{"°F", DimensionTemperature, 5.0 / 9, -160.0 / 9, []string{"f", "degf", "fahrenheit"}},
	{Volt, DimensionVoltage, 1, 0, []string{"volt", "volts"}},
	{Millivolt, DimensionVoltage, 1e-3, 0, nil},
	{"µV", DimensionVoltage, 1e-6, 0, []string{"uv", "μv"}},
	{"A", "current", 1, 0, []string{"ampere"}},
	{"mA", "current", 1e-3, 0, nil},
	{"µA", "current", 1e-6, 0, []string{"ua", "μa"}},
	{"Ω", "resistance", 1, 0, []string{"ohm", "ω"}},
	{"kΩ", "resistance", 1e3, 0, []string{"kohm", "kω"}},
	{"W", "power", 1, 0, []string{"watt"}},
	{"kW", "power", 1e3, 0, nil},
	{"Wh", "energy", 1, 0, nil},
	{"kWh", "energy", 1e3, 0, nil},
	{"J", "energy", 1.0 / 3600, 0, nil},
	{Hectopascal, DimensionPressure, 1, 0, []string{"mbar"}},
	{"Pa", DimensionPressure, 1e-2, 0, nil},
	{"kPa", DimensionPressure, 10, 0, nil},
	{"bar", DimensionPressure, 1e3, 0, nil},
	{"psi", DimensionPressure, 68.94757293168361, 0, nil},
	{"cbar", DimensionPressure, 10, 0, []string{"cb"}},
	{Hertz, DimensionFrequency, 1, 0, nil},
	{"kHz", DimensionFrequency, 1e3, 0, nil},
	{"rpm", DimensionFrequency, 1.0 / 60, 0, nil},
	{Liter, DimensionVolume, 1, 0, []string{"liter", "litre", "liters", "litres"}},
	{"ml", DimensionVolume, 1e-3, 0, nil},
	{"m³", DimensionVolume, 1e3, 0, []string{"m3"}},
	{"gal", DimensionVolume, 3.785411784, 0, []string{"gallon", "gallons"}},
	{LiterPerMinute, DimensionFlow, 1, 0, []string{"lpm", "liter/min", "litre/min"}},
	{"l/h", DimensionFlow, 1.0 / 60, 0, []string{"lph"}},
	{"l/s", DimensionFlow, 60, 0, nil},
	{"m³/h", DimensionFlow, 1e3 / 60.0, 0, []string{"m3/h"}},
	{"gal/min", DimensionFlow, 3.785411784, 0, []string{"gpm"}},
	{"m", "length", 1, 0, []string{"meter", "metre"}},
	{"cm", "length", 1e-2, 0, nil},
	{"mm", "length", 1e-3, 0, nil},
	{"in", "length", 0.0254, 0, []string{"inch"}},
	{"ft", "length", 0.3048, 0, nil},
	{"m/s", "speed", 1, 0, nil},
	{"km/h", "speed", 1 / 3.6, 0, []string{"kmh"}},
	{"mph", "speed", 0.44704, 0, nil},
	{MillimeterPerHour, "rain rate", 1, 0, nil},
	{"mm/d", "rain rate", 1.0 / 24, 0, []string{"mm/day"}},
	{"°", "angle", 1, 0, []string{"deg", "degree", "degrees"}},
	{"rad", "angle", 57.29577951308232, 0, nil},
	{"lx", "illuminance", 1, 0, []string{"lux"}},
	{"W/m²", "irradiance", 1, 0, []string{"w/m2"}},
	{"µmol/m²/s", "photon flux density", 1, 0, []string{"umol/m2/s", "par", "ppfd"}},
	{"µS/cm", "conductivity", 1, 0, []string{"us/cm", "μs/cm"}},
	{"mS/cm", "conductivity", 1e3, 0, []string{"ds/m"}},
	{"g", "mass", 1, 0, nil},
	{"kg", "mass", 1e3, 0, nil},
	{"µg/m³", "mass concentration", 1, 0, []string{"ug/m3", "μg/m³"}},
	{"mg/l", "mass concentration", 1e6, 0, nil},
	{"dBm", "signal strength", 1, 0, nil},
	{"s", "time", 1, 0, []string{"sec"}},
	{"ms", "time", 1e-3, 0, nil},
	{"min", "time", 60, 0, nil},
	{"h", "time", 3600, 0, nil},
	{Count, DimensionCount, 1, 0, []string{"pulses", "counts"}},
	{Switch, DimensionSwitch, 1, 0, []string{"switch", "bool"}},
}

func (u Unit) find() *unit {
	for i := range units {
		if units[i].symbol == u {
			return &units[i]
		}
	}
	return nil
}

// ParseUnit returns the unit that s spells: its symbol, or one of the usual
// ways to write it without signs that keyboards lack (C, l/min, m3, uS/cm). A
// symbol counts as it is, aliases in either case.
func ParseUnit(s string) (Unit, error) {
	s = strings.TrimSpace(s)
	if u := Unit(s).find(); u != nil {
		return u.symbol, nil
	}
	lower := strings.ToLower(s)
	for i := range units {
		if slices.Contains(units[i].aliases, lower) {
			return units[i].symbol, nil
		}
	}
	for i := range units {
		if strings.ToLower(string(units[i].symbol)) == lower {
			return units[i].symbol, nil
		}
	}
	return "", fmt.Errorf("no unit is written %q; there are %s", s, unitList())
}

func unitList() string {
	var b strings.Builder
	for i := range units {
		if units[i].symbol == One {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(string(units[i].symbol))
	}
	return b.String()
}

// Dimension is what u measures; a Unit that ParseUnit does not give has none.
func (u Unit) Dimension() Dimension {
	if row := u.find(); row != nil {
		return row.dimension
	}
	return ""
}

// Convert returns v, which is in u, in to.
func (u Unit) Convert(v float64, to Unit) (float64, error) {
	if u == to {
		return v, nil
	}
	from, into := u.find(), to.find()
	if from == nil || into == nil || from.dimension != into.dimension {
		return 0, fmt.Errorf("%s cannot be given in %s", u.describe(), to.describe())
	}
	return (v*from.scale + from.offset - into.offset) / into.scale, nil
}

func (u Unit) describe() string {
	row := u.find()
	switch {
	case row == nil:
		return fmt.Sprintf("%q", string(u))
	case row.symbol == One:
		return "a plain number"
	default:
		return fmt.Sprintf("%s (%s)", row.symbol, row.dimension)
	}
}

// UnmarshalText implements encoding.TextUnmarshaler by ParseUnit.
func (u *Unit) UnmarshalText(b []byte) error {
	parsed, err := ParseUnit(string(b))
	if err == nil {
		*u = parsed
	}
	return err
}
