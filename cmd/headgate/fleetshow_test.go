package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	controllerapi "github.com/headgate-io/headgate/controller/api"
)

// Of a gateway that is not as it shall be it is said what to type.
func TestDriftSaysWhatNext(t *testing.T) {
	drifts := controllerapi.GatewayState{Name: "gw-1", Drift: true, Reported: time.Now(), Desired: 8, Follows: 8}
	behind, deployed, never := drifts, drifts, drifts
	behind.Desired = 28157524
	deployed.Functions = []controllerapi.FunctionState{{Function: "a"}, {Function: "b", Deployment: "d1", Drift: "refused"}}
	never.Reported = time.Time{}
	for want, s := range map[string]*controllerapi.GatewayState{
		"type      headgate fleet doctor gw-1\n": &drifts, "type      headgate fleet deployment show d1\n": &deployed,
		"type      headgate fleet gateway show gw-1\n": &never, "follows   revision 8, which is behind: 28157524 is wanted\n": &behind,
	} {
		var out bytes.Buffer
		if err := (&app{out: &out}).printState(s); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in (%v)\n%s", want, err, out.String())
		}
	}
	var out bytes.Buffer
	if err := (&app{out: &out}).printState(&controllerapi.GatewayState{Name: "gw-1", Desired: 8, Follows: 8}); err != nil || strings.Contains(out.String(), "type ") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Whoever looks at a deployment in the night sees on one screen what it does, what
// is wrong, what is next and what to type.
func TestDeploymentFitsAScreen(t *testing.T) {
	d := shownDeployment{Deployment: controllerapi.Deployment{
		ID: "d1", Function: "hello", Targets: []string{"functions/hello/1.bundle"}, State: "running", Reason: "wave 2 is watched until 03:12", Wave: 2, Waves: 3,
		WaveBegan: time.Now(), Strategy: controllerapi.Strategy{Waves: []float64{10, 50, 100}, Soak: 600, Deadline: 3600, Gate: controllerapi.Gate{Unhealthy: 10}},
		Progress: controllerapi.Progress{Chosen: 100, Reached: 50, Live: 48, Unhealthy: 1, Pending: 1, Exempt: 2},
	}}
	for i := range 100 {
		g := controllerapi.DeploymentGateway{Name: fmt.Sprintf("gw-%03d", i), Wave: 2, State: "live"}
		switch {
		case i == 40:
			g.State, g.Note = "unhealthy", "refused: no room"
		case i >= 98:
			g.State, g.Note = "exempt", "a package brings it"
		case i >= 50:
			g.Wave, g.State = 0, "waiting"
		}
		d.Gateways = append(d.Gateways, g)
	}
	show := func(every bool) string {
		t.Helper()
		var out bytes.Buffer
		if err := (&app{out: &out}).printDeployment(&d, every); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	has := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(strings.Join(strings.Fields(text), " "), strings.Join(strings.Fields(want), " ")) {
				t.Errorf("%q is not in\n%s", want, text)
			}
		}
	}
	text := show(false)
	has(text, "running, wave 2 of 3: wave 2 is watched until 03:12", "wave 3 of 3, to 100 % of the gateways", "1 unhealthy (10 % may be); not for 2 more",
		"type        headgate fleet deployment pause   d1", "headgate fleet deployment abort   d1", "headgate fleet logs gw-040 hello", "and 80 gateways more: --all")
	if n := strings.Count(text, "\n"); n > 40 {
		t.Errorf("%d lines", n)
	}
	if table := text[strings.Index(text, "GATEWAY"):]; !strings.Contains(strings.Split(table, "\n")[1], "gw-040") {
		t.Errorf("what is wrong does not come first:\n%s", table)
	}
	has(show(true), "gw-099  2     not for this gateway  a package brings it", "gw-097  0     waiting")
	d.State, d.Reason = "paused", "by ann"
	has(show(false), "paused, wave 2 of 3: by ann", "headgate fleet deployment resume  d1")
	d.State, d.Reason = "rolled back", "wave 2: 6 of 50 gateways are unhealthy"
	has(show(true), "rolled back: wave 2: 6 of 50 gateways are unhealthy", "Mend it, and deploy again", "type        headgate fleet state gw-040", "gw-097  0     not reached")
	d.State, d.Reason = "done", ""
	if text := show(false); strings.Contains(text, "next ") {
		t.Errorf("of what is done:\n%s", text)
	}
}
