package gateway_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/periphio/pintest"
	"github.com/headgate-io/headgate/sensors/remote"
	"github.com/headgate-io/headgate/sensors/sim"
)

// pins are simulated lines, and the option that makes them a gateway's.
func pins(t *testing.T, names ...string) (*pintest.Chip, []gateway.Option) {
	t.Helper()
	dev, k := t.TempDir(), pintest.NewKernel()
	chip, err := k.AddChip(dev, "gpiochip0", "pinctrl-test", names...)
	if err != nil {
		t.Fatal(err)
	}
	return chip, []gateway.Option{gateway.WithHardware(periphio.Options{Dev: dev, Sys: t.TempDir(), Kernel: k})}
}

// TestSensorsStartFunctions takes values of a contact, a meter, a file and an
// MQTT device to functions: by sensor triggers, and by triggers on the topics.
func TestSensorsStartFunctions(t *testing.T) {
	chip, hardware := pins(t, "GPIO17", "GPIO24")
	file := filepath.Join(t.TempDir(), "soil.txt")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("40")
	soon := function.Duration(50 * time.Millisecond)
	r := startOn(t, t.TempDir(), hardware, func(c *config.Config) {
		c.Sensors = map[string]*config.Sensor{
			"float":  {Digital: &periphio.Digital{GPIO: "GPIO17", Active: "low", Pull: "up"}, Interval: function.Duration(time.Hour)},
			"flow-1": {Pulse: &periphio.Pulse{GPIO: "GPIO24", PerLitre: 4, Measure: "total"}, Interval: soon},
			"soil-1": {File: &sim.File{Path: file}, Unit: new(sensors.Percent), Interval: soon, Change: 1},
			"tank":   {MQTT: &remote.MQTT{Topic: "tank/+/level", Selection: remote.Selection{Field: "cm"}}},
		}
	})
	keep := `export default (e, {state}) => state.set(e.subject.replace("sensors/", ""), (e.data.value ?? "none") + " " + e.data.quality)`
	bySensor := func(name string, tr function.Trigger) {
		r.script(name, "", keep, func(s *function.Spec) { s.Triggers = []function.Trigger{tr} })
	}
	bySensor("all", function.Trigger{Sensor: "*", Quality: "any"})
	below := 20.0
	r.script("dry", "", `export default (e, {state}) => { state.set("soil-1", e.data.value + " " + e.data.quality); state.set("n", (state.get("n") ?? 0) + 1) }`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Sensor: "soil-*", Below: &below, Hysteresis: 5, When: "data.value > 0"}}
	})
	r.script("topic", "sensors/soil-1", keep)

	chip.Pin(0).Drive(true)
	r.eventually("all", "float", `"0 good"`)
	chip.Pin(0).Drive(false)
	r.eventually("all", "float", `"1 good"`)
	write("30")
	r.eventually("topic", "soil-1", `"30 good"`)
	for range 6 {
		chip.Pin(1).Drive(true)
		chip.Pin(1).Drive(false)
	}
	r.eventually("all", "flow-1", `"1.5 good"`)
	r.publish(api.Message{Topic: "tank/a/level", Payload: []byte(`{"cm": 81}`)})
	r.eventually("all", "tank", `"81 good"`)
	r.publish(api.Message{Topic: "tank/a/level", Payload: []byte(`soon`)})
	r.eventually("all", "tank", `"none bad"`)

	// A message on a sensor's topic is none of its readings.
	r.publish(api.Message{Topic: "sensors/float", Payload: []byte(`{"value": 7, "quality": "good"}`)})
	r.publish(api.Message{Topic: "tank/b/level", Payload: []byte(`{"cm": 82}`)})
	r.eventually("all", "tank", `"82 good"`)
	if got := r.state("all", "float"); got != `"1 good"` {
		t.Errorf("a forged reading: %s", got)
	}

	// A crossing starts once, until it has come back.
	write("12")
	r.eventually("dry", "soil-1", `"12 good"`)
	write("10")
	r.eventually("topic", "soil-1", `"10 good"`)
	write("22") // not back by the hysteresis
	r.eventually("topic", "soil-1", `"22 good"`)
	write("11")
	r.eventually("topic", "soil-1", `"11 good"`)
	if n := r.state("dry", "n"); n != "1" {
		t.Errorf("%s starts, want 1", n)
	}
	write("26")
	r.eventually("topic", "soil-1", `"26 good"`)
	write("9")
	r.eventually("dry", "soil-1", `"9 good"`)
	if n := r.state("dry", "n"); n != "2" {
		t.Errorf("%s starts, want 2", n)
	}
	if m := r.scrape(); !strings.Contains(m, `headgate_sensor_value{sensor="soil-1",unit="%"} 9`) || !strings.Contains(m, `headgate_sensor_quality{sensor="tank"} 3`) {
		t.Error("the readings are not in the metrics")
	}
}

// TestSensorFails has a sensor fail and recover: its quality, the lifecycle
// events, and what the doctor says.
func TestSensorFails(t *testing.T) {
	chip, hardware := pins(t, "GPIO17")
	r := startOn(t, t.TempDir(), hardware, func(c *config.Config) {
		c.Sensors = map[string]*config.Sensor{
			"float":   {Digital: &periphio.Digital{GPIO: "GPIO17"}, Interval: function.Duration(50 * time.Millisecond)},
			"missing": {Digital: &periphio.Digital{GPIO: "GPIO99"}},
			"air":     {SHT4x: &periphio.SHT4x{SHT: periphio.SHT{Place: periphio.I2CPlace{Bus: "I2C1"}, Measure: "humidity"}}},
		}
	})
	for _, what := range []string{"failed", "recovered"} {
		r.script(what, "", `export default (e, {state}) => state.set(e.subject, e.data.fault || "well")`, func(s *function.Spec) {
			s.Triggers = []function.Trigger{{Lifecycle: "sensor." + what}}
		})
	}
	r.script("any", "", `export default (e, {state}) => state.set("q", e.data.quality)`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Sensor: "float", Quality: "any"}}
	})
	r.eventually("any", "q", `"good"`)
	chip.Pin(0).Fail(errors.New("line torn off"))
	r.eventually("any", "q", `"bad"`)
	r.eventually("failed", "float", `"line torn off"`)
	chip.Pin(0).Fail(nil)
	r.eventually("any", "q", `"good"`)
	r.eventually("recovered", "float", `"well"`)
	var checks []api.Check
	r.call("GET", "/v1/doctor", nil, &checks)
	for _, c := range checks {
		if c.Name == "sensors" {
			if c.Status != "fail" || !strings.Contains(c.Detail, `2 of 3 fail`) || !strings.Contains(c.Detail, `no GPIO line is called "GPIO99"`) ||
				!strings.Contains(c.Detail, "I²C bus I2C1: there is no ") || !strings.Contains(c.Advice, "headgate sensor scan") {
				t.Errorf("%+v", c)
			}
			return
		}
	}
	t.Error("the doctor says nothing of sensors")
}

// TestPulsesSurviveRestarts counts over an orderly end of the gateway.
func TestPulsesSurviveRestarts(t *testing.T) {
	chip, hardware := pins(t, "GPIO24")
	dir := t.TempDir()
	run := func() *rig {
		return startOn(t, dir, hardware, func(c *config.Config) {
			c.Sensors = map[string]*config.Sensor{
				"water": {Pulse: &periphio.Pulse{GPIO: "GPIO24", Measure: "total"}, Interval: function.Duration(50 * time.Millisecond)},
			}
		})
	}
	pulse := func() {
		chip.Pin(0).Drive(true)
		chip.Pin(0).Drive(false)
	}
	r := run()
	r.script("all", "", `export default (e, {state}) => state.set("n", e.data.value)`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Sensor: "water"}}
	})
	r.eventually("all", "n", "0")
	pulse()
	pulse()
	r.eventually("all", "n", "2")
	r.stop()
	r = run()
	r.eventually("all", "n", "2")
	pulse()
	r.eventually("all", "n", "3")
}
