package homeassistant

import (
	"strings"

	"github.com/headgate-io/headgate/sensors"
)

// class is how Home Assistant calls a unit, and the device class of what is
// measured in it; see https://www.home-assistant.io/integrations/sensor/#device-class.
// A class whose list does not have the unit would be refused.
type class struct{ unit, device string }

var classes = map[sensors.Unit]class{
	sensors.Celsius: {"°C", "temperature"}, "K": {"K", "temperature"}, "°F": {"°F", "temperature"},
	sensors.Volt: {"V", "voltage"}, sensors.Millivolt: {"mV", "voltage"}, "µV": {"µV", "voltage"},
	"A": {"A", "current"}, "mA": {"mA", "current"},
	"W": {"W", "power"}, "kW": {"kW", "power"}, "Wh": {"Wh", "energy"}, "kWh": {"kWh", "energy"},
	sensors.Hectopascal: {"hPa", "pressure"}, "Pa": {"Pa", "pressure"}, "kPa": {"kPa", "pressure"}, "bar": {"bar", "pressure"},
	"psi": {"psi", "pressure"}, "cbar": {"cbar", "pressure"},
	sensors.Hertz: {"Hz", "frequency"}, "kHz": {"kHz", "frequency"}, "rpm": {"rpm", ""},
	sensors.Liter: {"L", "water"}, "m³": {"m³", "water"}, "gal": {"gal", "water"}, "ml": {"mL", "volume"},
	sensors.LiterPerMinute: {"L/min", "volume_flow_rate"}, "m³/h": {"m³/h", "volume_flow_rate"}, "gal/min": {"gal/min", "volume_flow_rate"},
	"l/h": {"L/h", "volume_flow_rate"}, "l/s": {"L/s", "volume_flow_rate"},
	"m": {"m", "distance"}, "cm": {"cm", "distance"}, "mm": {"mm", "distance"}, "in": {"in", "distance"}, "ft": {"ft", "distance"},
	"m/s": {"m/s", "speed"}, "km/h": {"km/h", "speed"}, "mph": {"mph", "speed"},
	sensors.MillimeterPerHour: {"mm/h", "precipitation_intensity"}, "mm/d": {"mm/d", "precipitation_intensity"},
	"lx": {"lx", "illuminance"}, "W/m²": {"W/m²", "irradiance"},
	"µS/cm": {"µS/cm", "conductivity"}, "mS/cm": {"mS/cm", "conductivity"},
	"g": {"g", "weight"}, "kg": {"kg", "weight"}, "dBm": {"dBm", "signal_strength"},
	"s": {"s", "duration"}, "ms": {"ms", "duration"}, "min": {"min", "duration"}, "h": {"h", "duration"},
	sensors.Count: {"", ""}, sensors.One: {"", ""},
}

// ofPercent are the classes of what is measured in percent.
var ofPercent = map[string]string{
	"humidity": "humidity", "moisture": "moisture", "soil_moisture": "moisture", "battery": "battery",
}

// classOf returns the device class, empty for none, and the unit.
func classOf(u sensors.Unit, measures string) (device, unit string) {
	if u == sensors.Percent {
		return ofPercent[strings.ToLower(measures)], "%"
	}
	if c, ok := classes[u]; ok {
		return c.device, c.unit
	}
	return "", string(u)
}
