package config_test

import (
	"strings"
	"testing"
)

func TestUplinkFaults(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"interval: 1ms", "uplink.interval"},
		{"keep_alive: 1s", "uplink.keep_alive"},
		{"keep_alive: 24h", "longer than MQTT allows"},
		{"bytes_per_day: 1KiB", "uplink.bytes_per_day"},
		{"outbox: 1KiB", "uplink.outbox"},
		{"grain: 7m", "uplink.grain: is not a whole number of minutes that an hour is made of"},
		{"grain: 90s", "uplink.grain"},
		{"grain: 1h", "uplink.grain"},
		{"telemetry: {interval: 1ms}", "uplink.telemetry.interval"},
		{"telemetry: {topics: [ok, 'a/#/b']}", "uplink.telemetry.topics"},
		{"telemetry: {topics: [$share/a/b]}", "cannot be shared"},
		{"meterd: true", `unknown field "meterd"`},
	} {
		if _, err := load(t, "uplink: {"+c.source+"}\n"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", c.source, err, c.want)
		}
	}
	if _, err := load(t, "uplink: {metered: true, interval: 30m, bytes_per_day: 100KiB}\n"); err != nil {
		t.Error(err)
	}
}
