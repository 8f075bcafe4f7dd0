package trigger_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
)

func TestLoops(t *testing.T) {
	on := func(filters ...string) (all []function.Trigger) {
		for _, f := range filters {
			all = append(all, function.Trigger{MQTT: f})
		}
		return all
	}
	publishes := func(filters ...string) function.Permissions { return function.Permissions{Publish: filters} }
	for _, c := range []struct {
		name  string
		specs []function.Spec
		want  string
	}{
		{"itself", []function.Spec{{Name: "f", Triggers: on("farm/#"), Permissions: publishes("farm/+/valve")}}, "f → f: what it publishes"},
		{"a capture", []function.Spec{{Name: "f", Triggers: on("farm/{field}/{rest...}"), Permissions: publishes("farm/+/valve")}}, "f → f"},
		{"something else too", []function.Spec{{Name: "f", Triggers: on("farm/#"), Permissions: publishes("farm/+/valve", "alarm")}}, ""},
		{"a condition", []function.Spec{{Name: "f", Triggers: []function.Trigger{{MQTT: "farm/#", When: "data.x > 1"}}, Permissions: publishes("farm/x")}}, ""},
		{"other topics", []function.Spec{{Name: "f", Triggers: on("farm/+/moisture"), Permissions: publishes("farm/+/valve")}}, ""},
		{"a wider publish", []function.Spec{{Name: "f", Triggers: on("farm/+"), Permissions: publishes("farm/#")}}, ""},
		{"two by queue and topic", []function.Spec{
			{Name: "a", Triggers: on("in"), Permissions: function.Permissions{Enqueue: []string{"jobs/x"}}},
			{Name: "b", Triggers: []function.Trigger{{Queue: "jobs/{name}"}}, Permissions: publishes("in")},
		}, "a → b → a: what it puts on a queue"},
		{"three by invoke", []function.Spec{
			{Name: "a", Permissions: function.Permissions{Invoke: []string{"b"}}},
			{Name: "b", Permissions: function.Permissions{Invoke: []string{"c"}}},
			{Name: "c", Permissions: function.Permissions{Invoke: []string{"a"}}},
		}, "a → b → c → a: the function that it starts"},
		{"a chain", []function.Spec{
			{Name: "a", Permissions: function.Permissions{Invoke: []string{"b"}}},
			{Name: "b", Permissions: publishes("out")},
		}, ""},
	} {
		specs := map[string]*function.Spec{}
		for i := range c.specs {
			specs[c.specs[i].Name] = &c.specs[i]
		}
		var got []string
		for _, l := range trigger.Loops(specs) {
			got = append(got, l.String())
		}
		if c.want == "" && len(got) > 0 || c.want != "" && (len(got) != 1 || !strings.HasPrefix(got[0], c.want)) {
			t.Errorf("%s: loops %q, want %q", c.name, got, c.want)
		}
	}
}
