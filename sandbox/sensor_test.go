package sandbox_test

import (
	"os"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// field has sensors of every kind.
type field map[string]string

func (f field) Sensor(name string) ([]byte, bool, error) {
	r, ok := f[name]
	return []byte(r), ok, nil
}

var readings = field{
	"soil-1":   `{"value":27.5,"unit":"%","quality":"good","age_ms":1000,"at":"2026-05-01T06:00:00.000Z","sensor":"soil-1","seq":7}`,
	"soil-old": `{"value":1,"quality":"good","age_ms":31000,"sensor":"soil-old","seq":1}`,
	"soil-bad": `{"quality":"bad","age_ms":0,"last":3,"fault":"torn off","sensor":"soil-bad","seq":1}`,
	"air":      `{"value":20,"quality":"good","age_ms":0,"sensor":"air","seq":1}`,
}

// TestSensorsInEveryLanguage reads a good value from each, and hears of old,
// bad, unknown and denied ones what they are.
func TestSensorsInEveryLanguage(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	script := func(dir, file string) func(*testing.T) (string, []byte) {
		return func(t *testing.T) (string, []byte) {
			if dir == "py" {
				return file, pythonGuest(t, file)
			}
			source, err := os.ReadFile("testdata/" + dir + "/" + file)
			if err != nil {
				t.Fatal(err)
			}
			return file, source
		}
	}
	guests := map[string]func(t *testing.T) (string, []byte){
		"go":             func(t *testing.T) (string, []byte) { return "f.wasm", goGuest(t, "go/sensor") },
		"tinygo":         func(t *testing.T) (string, []byte) { return "f.wasm", tinyGoGuest(t, "go/sensor") },
		"c":              func(t *testing.T) (string, []byte) { return "f.wasm", cGuest(t, "c/sensor.c") },
		"javascript":     script("js", "sensor.js"),
		"assemblyscript": func(t *testing.T) (string, []byte) { return "f.wasm", assemblyScriptGuest(t, "sensor.ts") },
		"rust":           func(t *testing.T) (string, []byte) { return "f.wasm", rustGuest(t, "sensor.rs") },
		"python":         script("py", "sensor.py"),
	}
	for name, guest := range guests {
		t.Run(name, func(t *testing.T) {
			main, source := guest(t)
			u := load(t, e, main, source, testOptions{perms: function.Permissions{Sensors: []string{"soil-*"}}})
			u.grant = u.grant.WithSensors(readings)
			r := u.invoke(host.Invocation{})
			if r.Outcome != function.OK || string(r.Output) != "27.5 UNAVAILABLE UNAVAILABLE NOT_FOUND DENIED" {
				t.Fatalf("%s %s %q %v", r.Outcome, r.Error, r.Output, u.calls.Logs())
			}
			heard := u.calls.Heard().Sensors
			if len(heard) != 0 {
				t.Errorf("an invocation that is not recorded keeps %v", heard)
			}
			var denied bool
			for _, l := range u.calls.Logs() {
				denied = denied || strings.Contains(l.Text, "sensor_read air: permissions.sensors does not allow it: add it there")
			}
			if !denied {
				t.Errorf("the log does not say what is missing: %v", u.calls.Logs())
			}
		})
	}
}
