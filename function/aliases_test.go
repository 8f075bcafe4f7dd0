package function_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
)

// Aliases are followed, but neither in circles nor into gigabytes.
func TestAliases(t *testing.T) {
	const shared = "functions:\n  a: &a {main: a.js, config: &c {x: 1}}\n  b: {main: b.js, config: *c}\n"
	m, err := function.ParseManifest("headgate.yaml", []byte(shared))
	if err != nil || m.Functions["b"].Config["x"] != uint64(1) {
		t.Fatalf("%+v, %v", m, err)
	}
	for text, want := range map[string]string{
		"functions: {a: {main: a.js, config: {x: *gone}}}":                                           "*gone names nothing",
		"functions: {a: {main: a.js, config: &c {x: *c}}}":                                           "*c names nothing that was said before",
		"functions: &f\n  a: {main: a.js}\n  b: {main: b.js, config: *f}\n":                          "*f names nothing that was said before",
		"x: &x [" + strings.Repeat("1, ", 1000) + "2]\ny: [" + strings.Repeat("*x, ", 100) + "*x]\n": "unfolds to more than 100000 values",
	} {
		if _, err := function.ParseManifest("headgate.yaml", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s…: %v, want %q", text, err, want)
		}
	}
}
