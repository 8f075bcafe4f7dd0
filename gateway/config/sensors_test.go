package config_test

import (
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/sensors"
)

const manySensors = `
sensors:
  soil-1:
    ads1115: {bus: I2C1, address: 0x48, channel: 0, gain: 4.096 V}
    unit: '%'
    interval: 30s
    filter: {median: 5}
    calibrate: {from: [1.2 V, 2800 mV], to: [100, 0]}
    change: 0.5
    min: -5
    max: 105
  pair: {ads1015: {bus: I2C1, differential: [0, 1]}, unit: mV}
  air: {bme280: {bus: I2C1, address: 0x76, measure: humidity}}
  air-t: {bmp280: {bus: I2C1, measure: temperature}, unit: °F}
  shed: {sht3x: {bus: I2C1, measure: temperature}}
  shed-h: {sht4x: {bus: I2C0, address: 69, measure: humidity}}
  ground: {ds18b20: {id: 28-0316a2795bff}}
  flow-1: {pulse: {gpio: GPIO24, per_litre: 450, active: low, pull: up, debounce: 1ms}, unit: l/h}
  water-1: {pulse: {gpio: GPIO24, per_litre: 450, active: low, pull: up, debounce: 1ms, measure: total}, unit: m3}
  float: {digital: {gpio: gpiochip0/3, active: low, debounce: 50ms}}
  tank: {mqtt: {topic: tank/+/level, field: cm, values: {full: 180}, availability: {topic: tank/status}}, unit: cm, stale_after: 2h}
  plug: {http: {url: 'http://192.0.2.7/status', field: 'meters[0].power', headers: {Authorization: x}}, unit: W, retain: true, qos: 1}
  fake: {sim: {wave: sine, low: 10, high: 30, period: 1h}, unit: '%'}
  typed: {file: {path: soil.txt}, topic: garden/soil}
`

func TestSensors(t *testing.T) {
	c, err := load(t, manySensors)
	if err != nil {
		t.Fatal(err)
	}
	soil := c.Sensors["soil-1"].Sample("soil-1")
	if soil.Bus != "I2C1" || soil.Unit != sensors.Percent || soil.Interval != 30*time.Second || soil.StaleAfter != 100*time.Second ||
		soil.Filter.Median != 5 || soil.Change != 0.5 || *soil.Max != 105 || soil.Driver != "ads1115" || soil.Topic != "sensors/soil-1" {
		t.Errorf("soil-1: %+v", soil)
	}
	if v := soil.Calibration.Apply(2.0); soil.Calibration.Unit != sensors.Volt || math.Abs(v-50) > 1e-9 {
		t.Errorf("2 V is %v %%: %+v", v, soil.Calibration)
	}
	for name, want := range map[string]struct {
		bus  string
		unit sensors.Unit
	}{
		"pair": {"I2C1", "mV"}, "air": {"I2C1", "%"}, "air-t": {"I2C1", "°F"}, "shed-h": {"I2C0", "%"}, "ground": {"1-wire", "°C"},
		"flow-1": {"pulse:flow-1", "l/h"}, "water-1": {"pulse:water-1", "m³"}, "float": {"digital:float", "on/off"}, "tank": {"mqtt:tank", "cm"},
		"plug": {"http:plug", "W"}, "typed": {"file:typed", ""},
	} {
		if got := c.Sensors[name].Sample(name); got.Bus != want.bus || got.Unit != want.unit {
			t.Errorf("%s: %s in %q", name, got.Bus, got.Unit)
		}
	}
	if tank := c.Sensors["tank"].Sample("tank"); !tank.Passive || tank.StaleAfter != 2*time.Hour || tank.Interval != 100*time.Millisecond {
		t.Errorf("tank: %+v", tank)
	}
}

func TestSensorFaults(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"soil: {unit: '%'}", "2:9: sensors.soil: has no driver: give it one of ads1115, "},
		{"soil:", "sensors.soil: is empty: give it a driver"},
		{"Soil_1: {sim: {}}", `sensors.Soil_1: "Soil_1": a sensor's name starts with a letter`},
		{"soil: {sim: {}, file: {path: x}}", "sensors.soil.file: has both sim and file: a sensor has one driver"},
		{"soil: {ads1115: {bus: I2C1, chanel: 0}}", `2:31: unknown field "chanel": did you mean channel?`},
		{"soil: {ads1115: {bsu: I2C1, channel: 0}}", `unknown field "bsu": did you mean bus?`},
		{"soil: {ads1115: {bus: I2C1, address: 0x76, channel: 0}}", "2:40: sensors.soil.ads1115.address: 0x76 is none of this chip's addresses"},
		{"soil: {ads1115: {bus: I2C1, address: 900, channel: 0}}", `"900" is not the address of an I²C device: write it as 0x48`},
		{"soil: {ads1115: {bus: I2C1, channel: 0, gain: 5 V}}", "sensors.soil.ads1115.gain: 5 V is none of the chip's ranges"},
		{"soil: {ads1115: {bus: I2C1, channel: 0, gain: 5 Q}}", `no unit is written "Q"; there are %`},
		{"soil: {ads1115: {bus: I2C1, channel: 0}, unit: '%'}", "2:50: sensors.soil.unit: ads1115 gives V: V (voltage) cannot be given in % (ratio); calibrate: {from:"},
		{"soil: {ads1115: {bus: I2C1, channel: 0}, calibrate: {from: [1 °C, 2 °C], to: [0, 1]}}", "sensors.soil.calibrate.from[0]: ads1115 gives V: V (voltage) cannot"},
		{"soil: {ads1115: {bus: I2C1, channel: 0}, calibrate: {from: [1 V, 2 V, 2 V], to: [0, 1, 2]}}", "sensors.soil.calibrate: from must rise, or fall"},
		{"soil: {ads1115: {bus: I2C1, channel: 0}, calibrate: {from: [1 V, 2 V], to: [0]}}", "from has 2 points and to has 1"},
		{"soil: {sim: {}, calibrate: {from: [1 V, 2 °C], to: [0, 1]}}", "2 °C is of another unit than the first point, 1 V"},
		{"soil: {sim: {}, filter: {median: 3, average: 3}}", "sensors.soil.filter: has both median and average"},
		{"soil: {sim: {}, filter: {median: 300}}", "sensors.soil.filter.median: 300 is outside 1 to 101"},
		{"soil: {sim: {}, interval: 1ms}", "sensors.soil.interval: 1ms is outside 50ms to 24h"},
		{"soil: {sim: {}, interval: 1m, stale_after: 30s}", "sensors.soil.stale_after: 30s is no longer than the interval"},
		{"soil: {sim: {}, min: 5, max: 5}", "sensors.soil.max: 5 is not above min"},
		{"soil: {sim: {}, topic: a/+}", "sensors.soil.topic: "},
		{"soil: {sim: {}, topic: $SYS/x}", "sensors.soil.topic: topics that start with $"},
		{"soil: {sim: {}, qos: 2}", "sensors.soil.qos: 2 must be 0"},
		{"a: {sim: {}, topic: x}\n  b: {sim: {}, topic: x}", "sensors.b.topic: x is that of the sensor a"},
		{"soil: {mqtt: {topic: 'a/#/b'}}", "sensors.soil.mqtt.topic: "},
		{"soil: {mqtt: {topic: a, field: 'a..b'}}", `sensors.soil.mqtt.field: "a..b": there is nothing between two dots`},
		{"soil: {http: {url: 192.0.2.7}}", "sensors.soil.http.url: "},
		{"soil: {unit: furlong, sim: {}}", `no unit is written "furlong"`},
		{"soil: {pulse: {gpio: GPIO4, per_litre: 450}, unit: bar}", "pulse gives l/min: l/min (volume flow rate) cannot be given in bar (pressure)"},
	} {
		_, err := load(t, "sensors:\n  "+c.line+"\n")
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.line, err, c.want)
		}
	}
}

// TestSensorGuide decodes the configurations that docs/sensors.md shows, and
// looks that it tells of every driver and unit.
func TestSensorGuide(t *testing.T) {
	text, err := os.ReadFile("../../docs/sensors.md")
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, block := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if !strings.HasPrefix(block, "sensors:") {
			continue
		}
		shown++
		if _, err := load(t, block); err != nil {
			t.Errorf("%v\n%s", err, block)
		}
	}
	if shown != 2 {
		t.Errorf("%d configurations", shown)
	}
	named := func(source, before, after string) []string {
		_, err := load(t, source)
		if err == nil {
			t.Fatal(source)
		}
		_, list, _ := strings.Cut(err.Error(), before)
		list, _, _ = strings.Cut(list, after)
		return strings.Fields(strings.ReplaceAll(list, ",", " "))
	}
	for _, d := range named("sensors: {a: {unit: m}}", "one of ", ";") {
		if !strings.Contains(string(text), "`"+d+"`") && !strings.Contains(string(text), "{"+d+":") {
			t.Errorf("nothing of %s", d)
		}
	}
	for _, u := range named("sensors: {a: {sim: {}, unit: furlong}}", "there are ", "\n") {
		if !strings.Contains(string(text), "`"+u+"`") {
			t.Errorf("nothing of the unit %s", u)
		}
	}
}
