package trigger_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
)

func qos(n int) *int { return &n }

func table(t testing.TB, fs ...trigger.Function) *trigger.Table {
	t.Helper()
	tab := trigger.NewTable()
	for _, f := range fs {
		if err := tab.Set(f); err != nil {
			t.Fatal(err)
		}
	}
	return tab
}

func one(tr function.Trigger) trigger.Function {
	return trigger.Function{Name: "f", Version: 3, Config: map[string]any{"target": 32, "deep": map[string]any{"x": 1.5}}, Triggers: []function.Trigger{tr}}
}

func TestConditions(t *testing.T) {
	cases := []struct {
		when, payload string
		want          bool
		reason        string
	}{
		{"data.moisture < config.target", `{"moisture":27}`, true, ""},
		{"data.moisture < config.target", `{"moisture":40}`, false, "false"},
		{"data.moisture < config.target", `{"dryness":40}`, false, "missing field data.moisture"},
		{"data.moisture != 5", `{}`, false, "missing field"},
		{"data.moisture < config.target", `27`, false, "missing field"},
		{"data.moisture < config.target", `{"moisture":"wet"}`, false, "invalid operation"},
		{"data < 32", `27.5`, true, ""},
		{`data == "ON"`, `ON`, true, ""},
		{`data == "ON"`, `"ON"`, true, ""},
		{"data.a.b > config.deep.x", `{"a":{"b":2}}`, true, ""},
		{"data.a?.b == nil", `{"a":{}}`, true, ""},
		{"(data.level ?? 9) > 5", `{}`, true, ""},
		{"data.gone == nil", `{}`, true, ""},
		{`params.field == "3" && topic startsWith "farm/"`, ``, true, ""},
		{`properties.unit == "percent" and qos == 1`, ``, true, ""},
		{"data.x", `{"x":true}`, true, ""},
		{"data.x", `{"x":1}`, false, "bool"},
		{"data[0] == 1", "\xff\xfe", false, ""},
	}
	for _, c := range cases {
		tab := table(t, one(function.Trigger{MQTT: "farm/{field}/moisture", When: c.when}))
		m := &trigger.Message{Topic: "farm/3/moisture", Payload: []byte(c.payload), QoS: 1, User: []broker.UserProperty{{Name: "unit", Value: "percent"}}}
		if got := len(tab.Match(m, nil)) == 1; got != c.want {
			t.Errorf("%s on %s: %v, want %v", c.when, c.payload, got, c.want)
		}
		x := tab.Explain(m)
		if len(x) != 1 || x[0].Starts != c.want || !strings.Contains(x[0].Reason, c.reason) {
			t.Errorf("%s on %s explained as %+v, want a reason with %q", c.when, c.payload, x, c.reason)
		}
	}
}

func TestMissingAndTypeErrorsAreCounted(t *testing.T) {
	tab := table(t, one(function.Trigger{MQTT: "t", When: "data.x < 3", OrderBy: "data.id"}))
	for _, p := range []string{`{}`, `{"x":"a"}`, `{"x":1}`, `{"x":1,"id":7}`} {
		tab.Match(&trigger.Message{Topic: "t", Payload: []byte(p)}, nil)
	}
	if st := tab.Stats(); st.MissingFields != 1 || st.TypeErrors != 1 || st.NoKey != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestKeysParamsAndDurability(t *testing.T) {
	cases := []struct {
		tr            function.Trigger
		qos           byte
		key           string
		durable, want bool
		retained      bool
	}{
		{tr: function.Trigger{MQTT: "farm/{field}/+"}, qos: 1, durable: true, want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+"}, qos: 0, want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+", QoS: qos(0)}, qos: 2, want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+", OrderBy: "field"}, key: "3", want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+", OrderBy: "data.id"}, key: "17", want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+", OrderBy: "data.sub.name"}, key: "n", want: true},
		{tr: function.Trigger{MQTT: "farm/{field}/+"}, retained: true, want: false},
		{tr: function.Trigger{MQTT: "farm/{field}/+", Retained: true}, retained: true, want: true},
		{tr: function.Trigger{MQTT: "other/{field}"}, want: false},
	}
	for _, c := range cases {
		tab := table(t, one(c.tr))
		got := tab.Match(&trigger.Message{Topic: "farm/3/moisture", QoS: c.qos, Retained: c.retained, Payload: []byte(`{"id":17,"sub":{"name":"n"}}`)}, nil)
		if (len(got) == 1) != c.want {
			t.Errorf("%+v: %d matches", c.tr, len(got))
			continue
		}
		if !c.want {
			continue
		}
		if v, ok := got[0].Params.Lookup("field"); !ok || v != "3" || got[0].Key != c.key || got[0].Durable != c.durable || got[0].Version != 3 {
			t.Errorf("%+v: %+v", c.tr, got[0])
		}
	}
}

// Of a function's triggers the first in the manifest that holds counts.
func TestFunctionStartsOnce(t *testing.T) {
	tab := table(t, trigger.Function{Name: "f", Triggers: []function.Trigger{
		{MQTT: "a/+", When: "data > 100"}, {MQTT: "a/{x}", OrderBy: "x"}, {MQTT: "#"},
	}}, trigger.Function{Name: "g", Triggers: []function.Trigger{{MQTT: "#"}}})
	got := tab.Match(&trigger.Message{Topic: "a/b", Payload: []byte("5")}, nil)
	if len(got) != 2 {
		t.Fatalf("matches %+v, want f and g once each", got)
	}
	for _, m := range got {
		if m.Function == "f" && m.Key != "b" {
			t.Errorf("f by %+v, want its second trigger", m)
		}
	}
}

func TestFaultsNameTheField(t *testing.T) {
	cases := []struct {
		tr    function.Trigger
		field string
		text  string
	}{
		{function.Trigger{MQTT: "a/#/b"}, "mqtt", "#"},
		{function.Trigger{MQTT: "a/{x"}, "mqtt", "placeholder"},
		{function.Trigger{MQTT: "a", QoS: qos(3)}, "qos", "0, 1 or 2"},
		{function.Trigger{MQTT: "a/{x}", OrderBy: "y"}, "order_by", "use one of x"},
		{function.Trigger{MQTT: "a", OrderBy: "y"}, "order_by", "{y}"},
		{function.Trigger{MQTT: "a", When: "data.x <"}, "when", "data.x <"},
		{function.Trigger{MQTT: "a", When: "moisture < 3"}, "when", "data, params"},
		{function.Trigger{MQTT: "a", When: "1 + 1"}, "when", "bool"},
		{function.Trigger{MQTT: "a", When: "data.x < config.gone"}, "when", "config.gone is not in the function's config"},
		{function.Trigger{MQTT: "a/{x}", When: `params.y == "1"`}, "when", "no {y}"},
	}
	for _, c := range cases {
		err := trigger.Check(one(c.tr))
		var fe *trigger.FieldError
		if !errors.As(err, &fe) || fe.Field != c.field || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want a fault of %s with %q", c.tr, err, c.field, c.text)
		}
	}
}

// While a function is replaced over and over, every message starts it exactly
// once.
func TestReplacingIsOneStep(t *testing.T) {
	tab := table(t, one(function.Trigger{MQTT: "a/+"}))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			filter := "a/+"
			if i%2 == 0 {
				filter = "+/{x}"
			}
			if err := tab.Set(one(function.Trigger{MQTT: filter})); err != nil {
				t.Error(err)
			}
		}
	}()
	var dst []trigger.Match
	for range 20_000 {
		if dst = tab.Match(&trigger.Message{Topic: "a/b"}, dst[:0]); len(dst) != 1 {
			t.Errorf("%d matches, want 1", len(dst))
			break
		}
	}
	close(stop)
	wg.Wait()
	tab.Remove("f")
	if st := tab.Stats(); st.Functions != 0 || st.Rules != 0 {
		t.Errorf("after Remove %+v", st)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10_000} {
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			tab := trigger.NewTable()
			for i := range n {
				f := trigger.Function{Name: fmt.Sprint("f", i), Triggers: []function.Trigger{{MQTT: fmt.Sprintf("farm/%d/{probe}/moisture", i), OrderBy: "probe"}}}
				if err := tab.Set(f); err != nil {
					b.Fatal(err)
				}
			}
			m := &trigger.Message{Topic: "farm/0/7/moisture", Payload: []byte(`{"moisture":27.5}`), QoS: 1}
			var dst []trigger.Match
			b.ReportAllocs()
			for b.Loop() {
				if dst = tab.Match(m, dst[:0]); len(dst) != 1 {
					b.Fatal(len(dst))
				}
			}
		})
	}
}

func BenchmarkMatchWhen(b *testing.B) {
	tab := table(b, one(function.Trigger{MQTT: "farm/{field}/moisture", When: "data.moisture < config.target"}))
	m := &trigger.Message{Topic: "farm/3/moisture", Payload: []byte(`{"moisture":27.5}`), QoS: 1}
	var dst []trigger.Match
	b.ReportAllocs()
	for b.Loop() {
		if dst = tab.Match(m, dst[:0]); len(dst) != 1 {
			b.Fatal(len(dst))
		}
	}
}
