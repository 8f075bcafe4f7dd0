package config_test

import (
	"strings"
	"testing"
)

func TestBridgeFaults(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"no url", "house: {in: [a]}", "bridges.house.url: is missing: where the other broker is"},
		{"scheme", "house: {url: http://x, in: [a]}", "mqtts://host for TLS"},
		{"user in url", "house: {url: 'mqtt://me:you@x', in: [a]}", "password into password_file"},
		{"path", "house: {url: 'mqtt://x/y', in: [a]}", "more than a host and a port"},
		{"own address", "house: {url: 'mqtt://localhost', in: [a]}", "is this gateway's own broker"},
		{"own number", "house: {url: 'mqtt://127.0.0.1:1883', in: [a]}", "is this gateway's own broker"},
		{"TLS over TCP", "house: {url: mqtt://x, tls: {ca: f}, in: [a]}", "mqtt:// has no TLS"},
		{"half a pair", "house: {url: mqtts://x, tls: {key: f}, in: [a]}", "certificate and key belong together"},
		{"no user", "house: {url: mqtt://x, password_file: f, in: [a]}", "a password needs its user"},
		{"nothing", "house: {url: mqtt://x}", "carries nothing"},
		{"filter", "house: {url: mqtt://x, in: [a/#/b]}", "bridges.house.in[0]"},
		{"system", "house: {url: mqtt://x, out: ['$SYS/#']}", "each broker's own"},
		{"twice", "house: {url: mqtt://x, out: [a, a]}", `"a" is there twice`},
		{"wildcard", "house: {url: mqtt://x, in: [a], remap: [{local: a/+, remote: b}]}", "wildcards + and # belong in filters"},
		{"same", "house: {url: mqtt://x, in: [a], remap: [{local: a/, remote: a}]}", "renames nothing"},
		{"round", "house: {url: mqtt://x, in: [a], remap: [{local: a, remote: b}, {local: a, remote: c}]}", "round and round"},
		{"qos", "house: {url: mqtt://x, in: [a], qos: 2}", "it is 0 or 1"},
		{"queue", "house: {url: mqtt://x, in: [a], max_queued: -1}", "outside 1 to 1000000"},
		{"bytes", "house: {url: mqtt://x, in: [a], max_queued_bytes: 1}", "at least 1KiB"},
		{"keep alive", "house: {url: mqtt://x, in: [a], keep_alive: 1s}", "outside 5s to 65535s"},
		{"name", "'bridge:a': {url: mqtt://x, in: [a]}", "a bridge's name starts with a letter"},
		{"unknown", "house: {url: mqtt://x, inn: [a]}", `unknown field "inn"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := load(t, "bridges: {"+c.source+"}\n"); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestBridgeEndpoint(t *testing.T) {
	c, err := load(t, "bridges: {a: {url: 'mqtt://192.0.2.10', in: ['#']}, b: {url: 'mqtts://[2001:db8::1]', in: ['#']}, c: {url: 'mqtts://x:1883', out: ['#']}}\n")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"a": "192.0.2.10:1883", "b": "[2001:db8::1]:8883", "c": "x:1883"} {
		b := c.Bridges[name]
		if address, _, secure, err := b.Endpoint(); address != want || secure != (name != "a") || err != nil {
			t.Errorf("%s is at %s, TLS %v: %v", name, address, secure, err)
		}
	}
}
