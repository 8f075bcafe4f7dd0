package gateway_test

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/internal/slow"
)

// plot is a gateway with simulated valves.
type plot struct {
	*rig
	dir string
}

func startPlot(t *testing.T, change ...func(*config.Config)) *plot {
	t.Helper()
	p := &plot{dir: t.TempDir()}
	at := func(name string) string { return filepath.Join(p.dir, name) }
	long := function.Duration(time.Hour)
	p.rig = start(t, t.TempDir(), append(change, func(c *config.Config) {
		c.Actuators = map[string]config.Actuator{
			"pump":    {Simulated: at("pump"), MaxOn: long},
			"valve-1": {Simulated: at("valve-1"), MaxOn: long, Requires: []string{"pump"}, Exclusive: "line"},
			"valve-2": {Simulated: at("valve-2"), MaxOn: long, Requires: []string{"pump"}, Exclusive: "line"},
			"remote":  {MaxOn: long, MQTT: &config.MQTTActuator{Set: "dev/set", On: "on {{lease_s}}", Off: "off", State: "dev/state"}},
		}
	})...)
	p.awaitListed("pump", "off")
	return p
}

// shows waits until an actuator's outlet is as wanted.
func (p *plot) shows(name, want string) {
	p.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		b, err := os.ReadFile(filepath.Join(p.dir, name))
		if err == nil && strings.TrimSpace(string(b)) == want {
			return
		}
		if time.Now().After(end) {
			p.Fatalf("%s is %q, want %q: %v", name, b, want, err)
		}
	}
}

func (p *plot) listed(name string) api.Actuator {
	p.Helper()
	var all []api.Actuator
	p.call(http.MethodGet, "/v1/actuators", nil, &all)
	for _, a := range all {
		if a.Name == name {
			return a
		}
	}
	p.Fatalf("%s is not listed", name)
	return api.Actuator{}
}

func (p *plot) awaitListed(name, state string) api.Actuator {
	p.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if a := p.listed(name); a.State == state {
			return a
		} else if time.Now().After(end) {
			p.Fatalf("%s is %s, want %s: %+v", name, a.State, state, a)
		}
	}
}

func (p *plot) switchTo(name string, value float64, lease time.Duration) (g api.ActuatorGrant, err error) {
	return g, p.client.Do(context.Background(), http.MethodPost, "/v1/actuators/"+name, api.ActuatorCommand{Value: value, Lease: lease}, &g)
}

// TestFunctionsMoveActuators lets a function open a valve behind a pump, hear
// what happens to it, and be told why not.
func TestFunctionsMoveActuators(t *testing.T) {
	p := startPlot(t)
	may := func(s *function.Spec) { s.Permissions.Actuators = []string{"pump", "valve-*"} }
	p.script("water", "farm/water", `export default (e, {actuate, state, log}) => {
		const granted = [];
		for (const [name, value, lease] of e.data) {
			try { granted.push(actuate(name, value, {lease})); } catch (x) { granted.push(x.code); }
		}
		state.set("granted", granted);
	}`, may)
	p.script("watcher", "", `export default (e, {state}) => state.set(e.subject, e.data.happens + ": " + (e.data.reason ?? ""))`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: "*", Happens: []string{"off", "interrupted", "refused"}}}
	})
	ask := func(moves ...[3]any) {
		raw, err := json.Marshal(moves)
		if err != nil {
			t.Fatal(err)
		}
		p.publish(api.Message{Topic: "farm/water", Payload: raw, QoS: 1})
	}
	ask([3]any{"valve-1", "on", "1m"})
	p.eventually("water", "granted", `["UNAVAILABLE"]`)
	p.eventually("watcher", "valve-1", `"refused: requires: pump is off"`)
	ask([3]any{"remote", "on", "1m"}, [3]any{"valve-9", "on", "1m"}, [3]any{"valve-1", "full", "1m"})
	p.eventually("water", "granted", `["DENIED","NOT_FOUND","INVALID"]`)

	ask([3]any{"pump", "on", "1m"}, [3]any{"valve-1", "on", "2m"}, [3]any{"valve-2", "on", "1m"})
	p.shows("pump", "1")
	p.shows("valve-1", "1")
	p.eventually("watcher", "valve-2", `"refused: exclusive: valve-1 is on, and only one of line may be"`)
	if a := p.listed("valve-1"); a.Who != "water@1" || a.Left > time.Minute {
		t.Errorf("%+v", a)
	}
	// A new version of the function keeps the lease, its end ends it.
	p.script("water", "farm/water", `export default () => {}`, may)
	if a := p.listed("valve-1"); a.State != "on" {
		t.Errorf("after another version: %+v", a)
	}
	p.call(http.MethodDelete, "/v1/functions/water", nil, nil)
	p.shows("valve-1", "0")
	p.shows("pump", "0")
	p.eventually("watcher", "pump", `"interrupted: function water was removed"`)
}

// TestFailedInvocationMovesNothing lets a function switch on and fail, and
// switch off and fail.
func TestFailedInvocationMovesNothing(t *testing.T) {
	p := startPlot(t)
	p.script("f", "farm/f", `export default (e, {actuate}) => { actuate("pump", e.data.to, {lease: "10m"}); if (e.data.fail) throw new Error("asked to"); }`, func(s *function.Spec) {
		s.Permissions.Actuators = []string{"*"}
		s.Retry.Attempts = 1
	})
	p.publish(api.Message{Topic: "farm/f", Payload: []byte(`{"to":"on","fail":true}`), QoS: 1})
	p.publish(api.Message{Topic: "farm/f", Payload: []byte(`{"to":"on"}`), QoS: 0})
	p.shows("pump", "1")
	var records []api.ActuatorRecord
	p.call(http.MethodGet, "/v1/actuator-records?actuator=pump", nil, &records)
	if len(records) != 1 || records[0].Happens != "on" || records[0].Lease < 9*time.Minute {
		t.Errorf("the ledger has %+v, want one lease of 10 minutes", records)
	}
	p.publish(api.Message{Topic: "farm/f", Payload: []byte(`{"to":"off"}`), QoS: 0})
	p.shows("pump", "0")
}

// TestActuatorLoopEnds lets a function be started by what it is refused, and by
// what it switches.
func TestActuatorLoopEnds(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	p.script("loop", "", `export default (e, {actuate, state}) => {
		state.set("runs", (state.get("runs") ?? 0) + 1);
		try { actuate("valve-1", "on"); } catch {}
		actuate("pump", e.data.happens === "on" ? "off" : "on", {lease: "1h"});
	}`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: "*"}}
		s.Permissions.Actuators = []string{"*"}
	})
	if _, err := p.switchTo("pump", 1, time.Hour); err != nil {
		t.Fatal(err)
	}
	for last, since := "", time.Now(); ; time.Sleep(50 * time.Millisecond) {
		runs := p.state("loop", "runs")
		if runs != last {
			last, since = runs, time.Now()
		}
		if n, _ := strconv.Atoi(runs); n > 4000 {
			t.Fatalf("it ran %d times and goes on", n)
		}
		if runs != "" && time.Since(since) > 3*time.Second {
			return
		}
	}
}

// TestMQTTCommands switches by messages: what is stale, repeated or not
// understood moves nothing, and says why.
func TestMQTTCommands(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	p.script("watcher", "", `export default (e, {state}) => { state.set("last", e.data.happens + ": " + (e.data.reason ?? "")); }`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: "*"}}
	})
	send := func(text string, retain bool) {
		p.publish(api.Message{Topic: "actuators/pump/set", Payload: []byte(text), QoS: 1, Retain: retain})
	}
	send(`{"value":"on","lease":"10m","seq":7}`, false)
	p.shows("pump", "1")
	send("off", false)
	p.shows("pump", "0")
	for _, c := range []struct{ text, why string }{
		{`{"value":"on","lease":"10m","seq":7}`, `"refused: stale: command 7 of`},
		{`{"value":"on","expires":"2020-01-01T00:00:00Z"}`, `"refused: stale: the command expired at 2020-01-01T00:00:00Z"`},
		{`{"value":"on","lease":"-1m"}`, `"refused: `},
		{`water!`, `"refused: \"water!\" is not understood`},
		{`{"value":0.5}`, `"refused: invalid: it cannot be set to 0.5: it is a switch, on or off"`},
		{`NaN`, `"refused: \"NaN\" is not understood`},
		{`{"value":"on","leese":"10s"}`, `"refused: the command is not understood: there is no field \"leese\"`},
		{`{"value":"on","lease":10}`, `"refused: the command is not understood: lease is a number: write a duration as text, such as \"10m\"`},
		{`{"value":"on"} {"value":"off"}`, `"refused: the command is not understood: something follows the command`},
	} {
		send(c.text, false)
		p.eventuallyHas("watcher", "last", c.why)
	}
	send("on", true)
	p.eventuallyHas("watcher", "last", `"refused: retained: `)
	p.shows("pump", "0")
	// Its number is known after a restart too.
	if _, err := p.switchTo("pump", 1, time.Minute); err != nil {
		t.Fatal(err)
	}
	p.shows("pump", "1")
	p.stop()
	p.shows("pump", "0")
	p.rig = start(t, p.cfg.StateDir, func(c *config.Config) { c.Actuators = p.cfg.Actuators })
	p.awaitListed("pump", "off")
	send(`{"value":"on","lease":"10m","seq":7}`, false)
	p.eventuallyHas("watcher", "last", `"refused: stale: command 7 of`)
}

// TestCommandsOfAClientWithoutID numbers the commands of a user whose client id
// the broker makes anew with every connection.
func TestCommandsOfAClientWithoutID(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	p.script("watcher", "", `export default (e, {state}) => { state.set("last", e.data.happens + ": " + (e.data.reason ?? "")); }`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: "*"}}
	})
	for i, want := range []string{`"on: `, `"refused: stale: command 7 of `} {
		c := p.connect("")
		if k := c.Publish("actuators/pump/set", 1, false, `{"value":"on","lease":"10m","seq":7}`); !k.WaitTimeout(30*time.Second) || k.Error() != nil {
			t.Fatalf("command %d: %v", i, k.Error())
		}
		p.eventuallyHas("watcher", "last", want)
		c.Disconnect(0)
	}
}

// TestDevicesTellTheirState lets a device say that it is on, with a lease and
// without.
func TestDevicesTellTheirState(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	p := startPlot(t)
	p.script("dev", "dev/set", `export default (e, {state}) => state.set("got", e.text())`)
	p.script("watcher", "", `export default (e, {state}) => { state.set("last", e.data.happens + ": " + (e.data.reason ?? "")); }`, func(s *function.Spec) {
		s.Triggers = []function.Trigger{{Actuator: "remote", Happens: []string{"fault"}}}
	})
	if _, err := p.switchTo("remote", 1, 90*time.Second); err != nil {
		t.Fatal(err)
	}
	p.publish(api.Message{Topic: "dev/state", Payload: []byte(`{"state":"ON"}`)})
	if a := p.listed("remote"); a.State != "on" || a.Reported != "on" || a.Fault != "" {
		t.Errorf("%+v", a)
	}
	if _, err := p.switchTo("remote", 0, 0); err != nil {
		t.Fatal(err)
	}
	p.publish(api.Message{Topic: "dev/state", Payload: []byte(`OFF`)})
	p.publish(api.Message{Topic: "dev/state", Payload: []byte(`ON`)})
	p.eventuallyHas("watcher", "last", "without a lease")
}

// eventuallyHas waits until a key holds a text.
func (p *plot) eventuallyHas(namespace, key, part string) {
	p.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got := p.state(namespace, key)
		if strings.Contains(got, part) {
			return
		}
		if time.Now().After(end) {
			p.Fatalf("%s:%s is %s, want %s", namespace, key, got, part)
		}
	}
}
