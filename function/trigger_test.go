package function_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
)

// manifestOf is a manifest with one function whose triggers are the lines.
func manifestOf(triggers ...string) string {
	return "functions:\n  f:\n    main: f.js\n    permissions: {state: {read: [weather]}}\n    triggers:\n" + strings.Join(triggers, "\n") + "\n"
}

func TestTriggerKinds(t *testing.T) {
	for _, c := range []struct {
		line, text string
		kind       function.TriggerKind
	}{
		{"- mqtt: a/{x}", "mqtt:a/{x}", function.TriggerMQTT},
		{"- http: GET /fields/{field}", "http:GET /fields/{field}", function.TriggerHTTP},
		{"- {http: /, public: true, cors: [https://app.example.org, '*'], max_body: 1KiB, timeout: 2s}", "http:/", function.TriggerHTTP},
		{"- {http: 'POST /a/{rest...}', durable: true, order_by: rest, keys: [phone]}", "http:POST /a/{rest...}", function.TriggerHTTP},
		{"- http: ANY", "http:ANY", function.TriggerHTTP},
		{`- {cron: "0 5 * * *", timezone: Europe/Madrid, missed: once, on_estimate: true}`, "cron:0 5 * * * (Europe/Madrid)", function.TriggerCron},
		{"- {every: 15m, missed: all}", "every:15m0s", function.TriggerEvery},
		{"- {state: readings/{probe}, order_by: probe}", "state:readings/{probe}", function.TriggerState},
		{`- {state: "weather:today/#", when: data.new != nil}`, "state:weather:today/#", function.TriggerState},
		{"- {queue: orders, order_by: data.id}", "queue:orders", function.TriggerQueue},
		{"- lifecycle: device.connected", "lifecycle:device.connected", function.TriggerLifecycle},
		{`- failure: "water-*"`, "failure:water-*", function.TriggerFailure},
	} {
		m, err := function.ParseManifest("headgate.yaml", []byte(manifestOf("      "+flow(c.line))))
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
			continue
		}
		tr := &m.Functions["f"].Triggers[0]
		if tr.Kind() != c.kind || tr.String() != c.text {
			t.Errorf("%s: %s, %q", c.line, tr.Kind(), tr)
		}
		// A bundle holds it as JSON.
		var again function.Trigger
		raw, err := json.Marshal(tr)
		if err == nil {
			err = json.Unmarshal(raw, &again)
		}
		if err != nil || again.String() != c.text || again.Missed != tr.Missed || again.OnEstimate != tr.OnEstimate {
			t.Errorf("%s: as JSON %s, %v", c.line, raw, err)
		}
	}
}

// flow quotes braces that YAML would take for its own.
func flow(line string) string {
	return strings.ReplaceAll(line, "readings/{probe}", `"readings/{probe}"`)
}

func TestTriggerFaults(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"- when: data.x > 1", "6:13: functions.f.triggers[0]: needs mqtt, http, cron, every"},
		{"- {mqtt: a, queue: b}", `6:26: functions.f.triggers[0].queue: has both mqtt and queue: a trigger is of one kind`},
		{"- {queue: a, qos: 1}", "6:25: functions.f.triggers[0].qos: is an option of mqtt, it says nothing to queue: remove it"},
		{"- {queue: a, retained: true}", "triggers[0].retained: is an option of mqtt"},
		{`- {mqtt: a, timezone: UTC}`, "triggers[0].timezone: is an option of cron, it says nothing to mqtt"},
		{`- {every: 5m, timezone: UTC}`, "triggers[0].timezone: is an option of cron, it says nothing to every"},
		{`- {every: 5m, on_estimate: true}`, "triggers[0].on_estimate: is an option of cron"},
		{`- {mqtt: a, missed: once}`, "triggers[0].missed: is an option of cron and every"},
		{`- {every: 5m, missed: twice}`, `triggers[0].missed: "twice" must be skip, once or all`},
		{"- every: 5", `6:16: "5" is not a duration: write it as 200ms, 20m or 1h30m`},
		{"- every: [1]", "expected a single value here"},
		{"- lifecycle: device.lost", `6:20: functions.f.triggers[0].lifecycle: "device.lost" is not known: it is one of device.connected, `},
		{"- failure: f", "6:18: functions.f.triggers[0].failure: a function cannot handle its own failures"},
		{"- failure: Irrigate", `"Irrigate" is not a function's name, which * may stand in`},
		{`- state: "soil:today/#"`, "6:16: functions.f.triggers[0].state: watches the state of soil: add it to permissions.state.read"},
		{`- state: "weather:"`, "triggers[0].state: names no key"},
		{`- state: "No one:x"`, `"No one" is not a function's name`},
		{"- http: fields", `6:15: functions.f.triggers[0].http: "fields" must begin with a method`},
		{"- http: GET fields", "needs a path that starts with /"},
		{"- http: GET /a/x{y}", `"x{y}": a capture is a whole part of the path`},
		{"- http: GET /{a...}/b", "{a...} before its end"},
		{"- http: GET /a?b=c", `"a?b=c": a part of a path has`},
		{"- http: GET /a/../b", `"..": a part of a path has`},
		{"- http: GET /a//b", `"": a part of a path has`},
		{"- {http: GET /a, max_body: 17MiB}", "triggers[0].max_body: 17MiB is over 16MiB"},
		{"- {http: GET /a, timeout: 1h}", "triggers[0].timeout: 1h0m0s is over 15m0s"},
		{"- {http: GET /a, public: true, keys: [phone]}", "triggers[0].keys: names who may call a route that everybody may"},
		{`- {http: GET /a, keys: ["a b"]}`, "triggers[0].keys[0]: \"a b\" is not the name of a key"},
		{"- {http: GET /a, order_by: data.x}", "triggers[0].order_by: orders what waits"},
		{`- {http: GET /a, cors: ["https://a.org/x"]}`, `triggers[0].cors[0]: "https://a.org/x" is not an origin`},
		{"- {mqtt: a, durable: true}", "is an option of http, it says nothing to mqtt"},
		{"- {mqtt: a, tiemzone: UTC}", `unknown field "tiemzone"`},
		{"- {every: 5m}\n      - {every: 5m, missed: all}", "7:9: functions.f.triggers[1]: has the times of triggers[0] and another missed"},
		{"- {every: 5m}\n      - {every: 300s}", "7:9: functions.f.triggers[1]: says the same as triggers[0]"},
	} {
		_, err := function.ParseManifest("headgate.yaml", []byte(manifestOf("      "+c.line)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\ngot  %v\nwant %s", c.line, err, c.want)
		}
	}
}

// A timer is known by its times alone: neither its place in the list nor its
// options change which it is.
func TestTimerNames(t *testing.T) {
	every := func(d time.Duration) *function.Duration { return (*function.Duration)(&d) }
	same := [][2]function.Trigger{
		{{Cron: "0 5 * * *"}, {Cron: " 0  5 * * * ", Missed: "once", When: "data.missed > 0"}},
		{{Every: every(time.Minute)}, {Every: every(60 * time.Second), Missed: "all"}},
	}
	for _, c := range same {
		a, _, okA := c[0].Timer("f")
		b, _, okB := c[1].Timer("f")
		if a != b || !okA || !okB {
			t.Errorf("%+v is %s, %+v is %s", c[0], a, c[1], b)
		}
	}
	seen := map[string]string{}
	for _, tr := range []function.Trigger{{Cron: "0 5 * * *"}, {Cron: "0 6 * * *"}, {Cron: "0 5 * * *", Timezone: "Europe/Madrid"}, {Every: every(time.Minute)}} {
		for _, f := range []string{"f", "g"} {
			name, _, _ := tr.Timer(f)
			if other, there := seen[name]; there {
				t.Errorf("%s %v and %s have one name", f, tr, other)
			}
			seen[name] = fmt.Sprint(f, tr)
		}
	}
	if _, _, ok := (&function.Trigger{MQTT: "a"}).Timer("f"); ok {
		t.Error("a message has a timer")
	}
}
