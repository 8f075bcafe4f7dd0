package nearest_test

import (
	"testing"

	"github.com/headgate-io/headgate/internal/nearest"
)

// The nearest name is the one that was meant, or none.
func TestName(t *testing.T) {
	there := []string{"hello", "irrigate", "level", "pump"}
	for name, want := range map[string]string{
		"lvel": "level", "leevl": "level", "levels": "level", "irigate": "irrigate", "irrgiaet": "irrigate",
		"pmup": "pump", "frost": "", "x": "", "": "",
	} {
		if got := nearest.Name(name, there); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
