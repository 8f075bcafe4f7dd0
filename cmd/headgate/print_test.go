package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// What a gateway, a device or a function says gives the terminal no orders.
func TestTextGivesNoOrders(t *testing.T) {
	const bad = "\x1b]0;owned\a\x1b[2J\r\u009b2K"
	var out bytes.Buffer
	(&app{out: &out}).printChecks([]api.Check{{Status: "ok" + bad, Name: bad, Detail: bad, Advice: bad}})
	out.WriteString(shown(payload([]byte(bad))) + logLine(api.LogLine{Function: bad, Level: bad, Text: bad}))
	if strings.ContainsAny(out.String(), "\x1b\a\r\u009b") {
		t.Errorf("%q", out.String())
	}
	if got := payload([]byte("two\n\tlines")); got != "two\n\tlines" {
		t.Errorf("%q", got)
	}
}
