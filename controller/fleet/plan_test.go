package fleet_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/fleet"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/wire"
)

const anyStrategy = `{"waves":[100],"soak_seconds":40,"deadline_seconds":600,"silent_seconds":400,"gate":{}}`

// deployed is a deployment; of two the one with the greater id is the newer.
func deployed(id, function, selector string, state store.DeploymentState, targets ...string) store.Deployment {
	d := store.Deployment{ID: id, Function: function, Selector: selector, State: state, Strategy: anyStrategy}
	for _, t := range targets {
		name, arch, _ := strings.Cut(t, "/")
		d.Targets = append(d.Targets, store.Target{Name: name, SHA256: "00ff", Digest: "d1", Arch: arch})
	}
	return d
}

func plan(t testing.TB, deployments []store.Deployment, layers ...store.ConfigLayer) *fleet.Plan {
	t.Helper()
	p, err := fleet.NewPlan(1, deployments, layers)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// spell is a desired state in few words.
func spell(t testing.TB, p *fleet.Plan, g fleet.Gateway) string {
	t.Helper()
	d, err := p.Desired(g)
	if err != nil {
		t.Fatal(err)
	}
	var parts []string
	for _, f := range d.Functions {
		parts = append(parts, strings.TrimRight(fmt.Sprintf("%s=%s@%s%s", f.Name, f.Target, f.Attempt, f.Config), "@="))
	}
	if d.System != "" {
		parts = append(parts, "system="+d.System)
	}
	return strings.Join(parts, " ")
}

// Of several deployments that choose a gateway the newest counts that has reached
// it, or is done, and that was not taken back (those are not in a plan).
func TestNewestCounts(t *testing.T) {
	north := fleet.Gateway{ID: "g", Arch: "arm64", Labels: map[string]string{"site": "north"}}
	reached := func(ids ...string) fleet.Gateway {
		g := north
		g.Reached = map[string]bool{}
		for _, id := range ids {
			g.Reached[id] = true
		}
		return g
	}
	one := deployed("1", "a", "", store.Done, "a-1")
	two := deployed("2", "a", "site=north", store.Running, "a-2")
	away := deployed("3", "a", "site=south", store.Done, "a-3")
	gone := deployed("4", "a", "site=north", store.Running)
	cases := []struct {
		name        string
		deployments []store.Deployment // newest first
		g           fleet.Gateway
		want        string
	}{
		{"nothing", nil, north, ""},
		{"done counts at once", []store.Deployment{one}, north, "a=a-1@1"},
		{"one under way counts where it has come", []store.Deployment{two, one}, north, "a=a-1@1"},
		{"and there it does", []store.Deployment{two, one}, reached("2"), "a=a-2@2"},
		{"one for others does not", []store.Deployment{away, two, one}, reached("2"), "a=a-2@2"},
		{"one that was reached and has another label now", []store.Deployment{two, one}, fleet.Gateway{Reached: map[string]bool{"2": true}}, "a=a-1@1"},
		{"a removal under way", []store.Deployment{gone, one}, north, "a=a-1@1"},
		{"a removal", []store.Deployment{gone, one}, reached("4"), ""},
		{"a superseded one stays where it is", []store.Deployment{deployed("5", "a", "site=north", store.Superseded, "a-5"), one}, reached("5"), "a=a-5@5"},
		{"binaries by architecture", []store.Deployment{deployed("7", "system", "", store.Done, "hg-7/amd64"), deployed("6", "system", "", store.Done, "hg/arm64", "hg-6/amd64")}, north, "system=hg"},
	}
	for _, c := range cases {
		if got := spell(t, plan(t, c.deployments), c.g); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	d, err := plan(t, []store.Deployment{two, one}).Desired(reached("2"))
	if err != nil || d.Every != 10 {
		t.Errorf("it reports every %d s, %v", d.Every, err)
	}
}

func layer(function, selector, gateway, change, settings string) store.ConfigLayer {
	l := store.ConfigLayer{ID: change, Function: function, Selector: selector, Gateway: gateway, Settings: map[string]store.Setting{}}
	var values map[string]json.RawMessage
	if err := json.Unmarshal([]byte(settings), &values); err != nil {
		panic(err)
	}
	for k, v := range values {
		l.Settings[k] = store.Setting{Value: v, Change: change}
	}
	return l
}

func TestConfigOfAGateway(t *testing.T) {
	p := plan(
		t, []store.Deployment{deployed("2", "gone", "", store.Done), deployed("1", "a", "", store.Done, "a-1")},
		layer("a", "", "", "5", `{"x":"all","y":1}`), layer("a", "site=north", "", "2", `{"x":"north"}`), layer("a", "batch", "", "3", `{"x":"batch"}`),
		layer("a", "", "g", "1", `{"z":[1]}`), layer("b", "", "", "4", `{}`), layer("c", "", "", "7", `{"x":1}`), layer("gone", "", "", "6", `{"x":1}`),
	)
	for labels, want := range map[string]string{
		"": `a=a-1@1{"x":"all","y":1,"z":[1]} c=@{"x":1}`, "site": `a=a-1@1{"x":"north","y":1,"z":[1]} c=@{"x":1}`, "site batch": `a=a-1@1{"x":"batch","y":1,"z":[1]} c=@{"x":1}`,
	} {
		g := fleet.Gateway{ID: "g", Labels: map[string]string{}}
		for _, l := range strings.Fields(labels) {
			g.Labels[l] = "north"
		}
		if got := spell(t, p, g); got != want {
			t.Errorf("%q: %s, want %s", labels, got, want)
		}
	}
	if got := spell(t, p, fleet.Gateway{ID: "other"}); got != `a=a-1@1{"x":"all","y":1} c=@{"x":1}` {
		t.Error(got)
	}
}

// What is more than a gateway takes is an error, and no half of it.
func TestTooMuch(t *testing.T) {
	var many []store.Deployment
	for i := range wire.MaxFunctions + 1 {
		many = append(many, deployed(fmt.Sprint(i), fmt.Sprintf("f%d", i), "", store.Done, "t"))
	}
	if _, err := plan(t, many).Desired(fleet.Gateway{}); err == nil {
		t.Error("more functions than a gateway takes")
	}
	if _, err := plan(t, nil).Desired(fleet.Gateway{Secrets: make([]store.SealedSecret, wire.MaxSecrets+1)}); err == nil {
		t.Error("more secrets than a gateway takes")
	}
}

// What a gateway says of a deployment.
func TestObserve(t *testing.T) {
	d := deployed("7", "a", "", store.Running, "a-2")
	d.Targets[0].Digest = "d1"
	say := func(target, attempt, stage string, digest byte) *wire.Reported {
		return &wire.Reported{Error: "offline", Functions: []wire.ReportedFunction{{
			Name: "a", Target: target, Attempt: attempt, Stage: stage, Note: "so", Digest: []byte{digest}, New: wire.Counts{Invocations: 3},
		}}}
	}
	cases := []struct {
		name   string
		d      store.Deployment
		r      *wire.Reported
		state  store.GatewayState
		note   string
		events uint64
	}{
		{"it is not there", d, &wire.Reported{Error: "offline"}, store.GatewayPending, "offline", 0},
		{"another one runs", d, say("a-1", "6", "live", 9), store.GatewayPending, "offline", 0},
		{"the same runs already", d, say("a-1", "6", "live", 0xd1), store.GatewayLive, fleet.HadIt, 0},
		{"an attempt before", d, say("a-2", "6", "refused", 9), store.GatewayPending, "offline", 0},
		{"trial", d, say("a-2", "7", "trial", 9), store.GatewayPending, "trial: so", 3},
		{"canary", d, say("a-2", "7", "canary", 9), store.GatewayPending, "canary: so", 3},
		{"watched", d, say("a-2", "7", "live, watched", 0xd1), store.GatewayLive, "so", 3},
		{"live", d, say("a-2", "7", "live", 0xd1), store.GatewayLive, "so", 3},
		{"refused", d, say("a-2", "7", "refused", 9), store.GatewayUnhealthy, "refused: so", 3},
		{"rolled back", d, say("a-2", "7", "rolled back", 9), store.GatewayUnhealthy, "rolled back: so", 3},
		{"removed", deployed("7", "a", "", store.Running), &wire.Reported{}, store.GatewayLive, "", 0},
		{"not removed yet", deployed("7", "a", "", store.Running), say("a-1", "6", "live", 9), store.GatewayPending, "it is there still", 0},
		{"another binary", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{}, store.GatewayPending, "", 0},
		{"a binary on trial", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{System: wire.ReportedSystem{SHA256: []byte{0, 255}, Trial: true}}, store.GatewayPending, "on trial", 0},
		{"the binary", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{System: wire.ReportedSystem{SHA256: []byte{0, 255}}}, store.GatewayLive, "", 0},
		{"a binary that was taken back", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{System: wire.ReportedSystem{Failed: []byte{0, 255}, Note: "so"}}, store.GatewayUnhealthy, "taken back: so", 0},
		{"a binary that was taken back here", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{System: wire.ReportedSystem{Failed: []byte{0, 255}, Note: "so", FailedAttempt: "7"}}, store.GatewayUnhealthy, "taken back: so", 0},
		{"a binary that was taken back before", deployed("7", "system", "", store.Running, "hg/arm64"), &wire.Reported{System: wire.ReportedSystem{Failed: []byte{0, 255}, Note: "so", FailedAttempt: "6"}}, store.GatewayPending, "taken back before, and tried again: so", 0},
	}
	for _, c := range cases {
		state, note, _, events := fleet.Observe(c.d, "arm64", c.r)
		if state != c.state || note != c.note || events.Invocations != c.events {
			t.Errorf("%s: %s, %q, %d events; want %s, %q, %d", c.name, state, note, events.Invocations, c.state, c.note, c.events)
		}
	}
	// Faults of actuators count from when the gateway was reached, over restarts.
	x := store.Reached{}
	for _, r := range []*wire.Reported{{Start: 1, Faults: 5}, {Start: 1, Faults: 7}, {Start: 1, Faults: 7}, {Start: 2, Faults: 1}, {Start: 2, Faults: 3}} {
		fleet.Update(&x, d, "", r, time.Time{})
	}
	if x.Faults != 5 {
		t.Errorf("%d faults, want 2 and 3", x.Faults)
	}
}
