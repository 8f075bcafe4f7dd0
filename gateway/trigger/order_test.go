package trigger

import (
	"slices"
	"testing"

	"github.com/headgate-io/headgate/function"
)

func TestOrder(t *testing.T) {
	takes := func(queues ...string) (list []function.Trigger) {
		for _, q := range queues {
			list = append(list, function.Trigger{Queue: q})
		}
		return list
	}
	enqueues := func(queues ...string) function.Permissions { return function.Permissions{Enqueue: queues} }
	for name, c := range map[string]struct {
		specs []function.Spec
		want  []string
	}{
		"by name": {[]function.Spec{{Name: "b"}, {Name: "a"}, {Name: "c"}}, []string{"a", "b", "c"}},
		"a chain": {[]function.Spec{
			{Name: "accept", Permissions: enqueues("orders/reserve")},
			{Name: "reserve", Triggers: takes("orders/reserve"), Permissions: enqueues("orders/charge")},
			{Name: "charge", Triggers: takes("orders/{step}"), Permissions: function.Permissions{Invoke: []string{"ship"}}},
			{Name: "ship"},
		}, []string{"ship", "charge", "reserve", "accept"}},
		"a circle": {[]function.Spec{
			{Name: "a", Triggers: takes("a"), Permissions: enqueues("b")},
			{Name: "b", Triggers: takes("b"), Permissions: enqueues("a")},
		}, []string{"b", "a"}},
		"itself":        {[]function.Spec{{Name: "a", Triggers: takes("a"), Permissions: enqueues("a")}, {Name: "b"}}, []string{"a", "b"}},
		"a wide sender": {[]function.Spec{{Name: "a", Permissions: enqueues("jobs/#")}, {Name: "z", Triggers: takes("jobs/eu")}}, []string{"z", "a"}},
		"a failure":     {[]function.Spec{{Name: "a", OnFailure: function.OnFailure{Function: "z"}}, {Name: "b"}, {Name: "z"}}, []string{"z", "a", "b"}},
	} {
		specs := map[string]*function.Spec{}
		for i := range c.specs {
			specs[c.specs[i].Name] = &c.specs[i]
		}
		if got := Order(specs); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
