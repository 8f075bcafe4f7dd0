package main

import "testing"

// A column of usage shows what there is, however little.
func TestGBSeconds(t *testing.T) {
	for in, want := range map[string]string{
		"0": "0.000", "": "0.000", "7": "0.000000000007", "887101532": "0.000887", "12345678901234": "12.345", "500000000000": "0.500", "45000000000": "0.0450",
	} {
		if got := gbSeconds(in); got != want {
			t.Errorf("%s byte-milliseconds: %s, not %s", in, got, want)
		}
	}
}

func TestSecondsText(t *testing.T) {
	for in, want := range map[int64]string{0: "0s", 5: "5s", 90: "1m30s", 600: "10m", 86400: "24h", 5400: "1h30m", 3601: "1h0m1s"} {
		if got := secondsText(in); got != want {
			t.Errorf("%d: %s, not %s", in, got, want)
		}
	}
}
