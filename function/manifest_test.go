package function_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
)

const irrigate = `functions:
  irrigate:
    main: irrigate.js
    triggers:
      - mqtt: farm/{field}/moisture
        qos: 1
        order_by: field
        when: data.moisture < config.target
    limits: {memory: 4MiB, timeout: 200ms, fuel: 50M, concurrency: 4, rate: 100/s}
    retry: {attempts: 5, backoff: 1s, max_backoff: 1m, max_age: 1h, then_key: skip}
    permissions:
      publish: [farm/+/valve]
      state: {read: [weather]}
    config: {target: 32}
`

func TestParseManifest(t *testing.T) {
	m, err := function.ParseManifest("headgate.yaml", []byte(irrigate))
	if err != nil {
		t.Fatal(err)
	}
	s := m.Functions["irrigate"]
	if s.Name != "irrigate" || s.Language() != "javascript" {
		t.Errorf("name %q, language %q", s.Name, s.Language())
	}
	l := s.Limits
	if l.Memory != 4<<20 || l.Timeout != function.Duration(200*time.Millisecond) || l.Fuel != 50_000_000 || l.Rate != 100 {
		t.Errorf("limits %+v", l)
	}
	if l.Idle != function.DefaultLimits().Idle {
		t.Errorf("idle %v, want the default", l.Idle)
	}
	if got := s.Permissions.State.Read; !reflect.DeepEqual(got, []string{"weather"}) {
		t.Errorf("state.read %v", got)
	}
	config, err := s.ConfigJSON()
	if err != nil || string(config["target"]) != "32" {
		t.Errorf("config %s, %v", config["target"], err)
	}
}

func TestManifestFaultsNameLineAndField(t *testing.T) {
	for _, c := range []struct{ name, source, want string }{
		{"empty", "", "declares no function"},
		{"not yaml", "functions: [\n", "headgate.yaml:1:12: "},
		{"unknown field", "functions:\n  f:\n    main: f.js\n    trigers: []\n", `headgate.yaml:4:5: unknown field "trigers": did you mean triggers?`},
		{"unknown field in a list", "functions:\n  a.b: {main: f.js}\n  f:\n    main: f.js\n    triggers: [{mqtt: a}, {corn: '* * * * *'}]\n", `headgate.yaml:5:28: unknown field "corn": did you mean cron?`},
		{"unknown field of elsewhere", "functions:\n  f:\n    main: f.js\n    timeout: 5s\n", `headgate.yaml:4:5: unknown field "timeout": check its spelling and its indentation`},
		{"size", "functions:\n  f:\n    main: f.js\n    limits: {memory: 4 potatoes}\n", `headgate.yaml:4:22: "4 potatoes" is not a size`},
		{"duration", "functions:\n  f:\n    main: f.js\n    limits:\n      timeout: 5\n", `headgate.yaml:5:16: "5" is not a duration`},
		{"too much memory", "functions:\n  f:\n    main: f.js\n    limits:\n      memory: 4GiB\n", "headgate.yaml:5:15: functions.f.limits.memory: 4GiB is outside 64KiB to 512MiB"},
		{"whole number", "functions:\n  f:\n    main: f.js\n    limits: {concurrency: many}\n", "headgate.yaml:4:27: expected a whole number here, found text"},
		{"number for mapping", "functions:\n  f:\n    main: f.js\n    limits: 3\n", "headgate.yaml:4:13: expected a mapping here, found number"},
		{"zero attempts", "functions:\n  f:\n    main: f.js\n    retry: {attempts: 0}\n", "headgate.yaml:4:23: functions.f.retry.attempts: 0 is not a value: leave it out for the default, 5"},
		{"zero timeout", "functions:\n  f:\n    main: f.js\n    limits: {timeout: 0s}\n", "functions.f.limits.timeout: 0 is not a value: leave it out for the default, 5s"},
		{"no main", "functions:\n  f:\n    description: x\n", "functions.f.main: is missing"},
		{"ending", "functions:\n  f: {main: f.rb}\n", "headgate.yaml:2:13: functions.f.main: \"f.rb\": the ending must be"},
		{"escape", "functions:\n  f: {main: ../f.js}\n", "must be a path below"},
		{"failure to itself", "functions:\n  f: {main: f.js, on_failure: {function: f}}\n", "headgate.yaml:2:42: functions.f.on_failure.function: a function cannot handle its own failures"},
		{"failure to both", "functions:\n  f: {main: f.js, on_failure: {function: g, topic: t}}\n", "functions.f.on_failure: has both"},
		{"failure to nobody", "functions:\n  f: {main: f.js, on_failure: {}}\n", "functions.f.on_failure: says nobody"},
		{"failure to a filter", "functions:\n  f: {main: f.js, on_failure: {topic: a/+}}\n", "functions.f.on_failure.topic: \"a/+\" must be one topic"},
		{"equal triggers", "functions:\n  f:\n    main: f.js\n    triggers:\n      - {mqtt: a, qos: 1}\n      - {mqtt: a}\n", "headgate.yaml:6:9: functions.f.triggers[1]: says the same as triggers[0]"},
		{"name", "functions:\n  Bad_Name: {main: f.js}\n", "functions.Bad_Name: a function's name"},
		{"null", "functions:\n  f:\n", "functions.f: is empty"},
		{"trigger", "functions:\n  f:\n    main: f.js\n    triggers:\n      - qos: 1\n", "headgate.yaml:5:12: functions.f.triggers[0]: needs mqtt"},
		{"qos", "functions:\n  f:\n    main: f.js\n    triggers:\n      - mqtt: a\n        qos: 3\n", "headgate.yaml:6:14: functions.f.triggers[0].qos: must be 0, 1 or 2"},
		{"duplicate key", "functions:\n  f:\n    main: f.js\n    main: g.js\n", "headgate.yaml:4:5: mapping key \"main\" already defined"},
		{"list", "functions:\n  f:\n    main: f.js\n    permissions: {publish: a/b}\n", "expected a list here"},
		{"rate", "functions:\n  f: {main: f.js, limits: {rate: 100}}\n", `"100" is not a rate`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := function.ParseManifest("headgate.yaml", []byte(c.source))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestManifestReportsEveryFault(t *testing.T) {
	_, err := function.ParseManifest("m", []byte("functions:\n  a: {main: a.rb}\n  b: {main: b.py3}\n"))
	if err == nil || strings.Count(err.Error(), "the ending must be") != 2 {
		t.Errorf("got %v", err)
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(irrigate))
	f.Add([]byte("functions: {f: {main: f.js, config: {a: [1, {b: c}]}}}"))
	f.Fuzz(func(t *testing.T, src []byte) {
		m, err := function.ParseManifest("m", src)
		if err != nil {
			return
		}
		for name, s := range m.Functions {
			if !function.ValidName(name) || s.Main == "" || s.Limits.Memory <= 0 {
				t.Errorf("accepted %q", src)
			}
		}
	})
}
