package main

import "testing"

// The nearest name is the one that was meant, or none.
func TestNearestName(t *testing.T) {
	there := []string{"hello", "irrigate", "level", "pump"}
	for name, want := range map[string]string{
		"lvel": "level", "leevl": "level", "levels": "level", "irigate": "irrigate", "irrgiaet": "irrigate",
		"pmup": "pump", "frost": "", "x": "", "": "",
	} {
		if got := nearestName(name, there); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
}
