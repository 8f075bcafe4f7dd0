package main

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

func TestMeet(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"farm/3/#", "farm/{field}/moisture", "farm/3/moisture"},
		{"farm/{field}/moisture", "farm/3/#", "farm/3/moisture"},
		{"farm/+/moisture", "farm/{field}/moisture", "farm/1/moisture"},
		{"#", "a/{b}/c", "a/1/c"},
		{"#", "#", "1"},
		{"a/#", "#", "a/1"},
		{"a/b", "a/+", "a/b"},
		{"a/b", "a/c", ""},
		{"a/b", "a/b/c", ""},
		{"a/b/c", "a/{x}", ""},
		{"a/#", "b/#", ""},
	} {
		got, ok := meet(strings.Split(c.a, "/"), strings.Split(c.b, "/"))
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("meet %s, %s: %q, %v; want %q", c.a, c.b, got, ok, c.want)
		}
	}
}

func TestMosquittoLine(t *testing.T) {
	functions := []api.Function{{Triggers: []string{"mqtt:farm/{field}/moisture"}}}
	secret := api.DeviceSecret{Device: api.Device{Name: "soil-3", Publish: []string{"farm/3/#"}}, Password: "p", Address: "localhost:8883", TLS: true}
	want := `mosquitto_pub --cafile CA.crt -h localhost -p 8883 -i soil-3 -u soil-3 -P p -q 1 -t 'farm/3/moisture' -m '{"moisture":27}'`
	if got := mosquittoLine(secret, functions); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	secret.Publish = []string{"actuators/+/set"}
	if got := mosquittoLine(secret, functions); !strings.HasSuffix(got, "-t 'actuators/1/set' -m 'off'") {
		t.Errorf("for an actuator: %s", got)
	}
	secret.Address = ""
	if got := mosquittoLine(secret, functions); got != "" {
		t.Errorf("without a listener: %s", got)
	}
}
