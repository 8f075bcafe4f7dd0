package trigger_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
)

func every(d time.Duration) *function.Duration { return (*function.Duration)(&d) }

// Each kind has subjects of its own, with captures, keys and promises as those
// of MQTT.
func TestKindsAreApart(t *testing.T) {
	timer := function.Trigger{Every: every(time.Minute)}
	timerName, _, _ := timer.Timer("f")
	for _, c := range []struct {
		tr            function.Trigger
		kind          trigger.Kind
		subject, none string
		param, key    string
	}{
		{tr: function.Trigger{Queue: "orders/{region}", OrderBy: "region"}, kind: trigger.Queue, subject: "orders/eu", none: "orders", param: "region=eu", key: "eu"},
		{tr: function.Trigger{Queue: "orders", OrderBy: "data.id"}, kind: trigger.Queue, subject: "orders", none: "other", key: "7"},
		{tr: function.Trigger{State: "readings/{probe}"}, kind: trigger.State, subject: trigger.StateSubject("f", "readings/3"), none: trigger.StateSubject("g", "readings/3"), param: "probe=3"},
		{tr: function.Trigger{State: "weather:today/#"}, kind: trigger.State, subject: trigger.StateSubject("weather", "today/a/b"), none: trigger.StateSubject("f", "today/a")},
		{tr: function.Trigger{Lifecycle: "device.connected", OrderBy: "data.id"}, kind: trigger.Lifecycle, subject: "device.connected", none: "device.refused", key: "7"},
		{tr: function.Trigger{Failure: "irrigate"}, kind: trigger.Failure, subject: "irrigate", none: "irrigate-2"},
		{tr: function.Trigger{Failure: "*"}, kind: trigger.Failure, subject: "any"},
		{tr: function.Trigger{Failure: "water-*-pump"}, kind: trigger.Failure, subject: "water-main-pump", none: "water-pump"},
		{tr: function.Trigger{HTTP: "GET /fields/{field}"}, kind: trigger.HTTP, subject: trigger.HTTPSubject("GET", "/fields/3"), none: trigger.HTTPSubject("PUT", "/fields/3"), param: "field=3"},
		{tr: timer, kind: trigger.Timer, subject: timerName, none: "f/other"},
	} {
		tab := table(t, one(c.tr))
		m := &trigger.Message{Kind: c.kind, Topic: c.subject, Payload: []byte(`{"id":7}`), QoS: 1}
		got := tab.Match(m, nil)
		if len(got) != 1 || !got[0].Durable || got[0].Key != c.key {
			t.Errorf("%s: %+v for %s", &c.tr, got, c.subject)
			continue
		}
		if name, value, ok := strings.Cut(c.param, "="); ok {
			if v, _ := got[0].Params.Lookup(name); v != value {
				t.Errorf("%s: %s is %q", &c.tr, name, v)
			}
		}
		if c.none != "" && len(tab.Match(&trigger.Message{Kind: c.kind, Topic: c.none, QoS: 1}, nil)) > 0 {
			t.Errorf("%s starts on %s", &c.tr, c.none)
		}
		if !tab.Any(c.kind, c.subject) || c.none != "" && tab.Any(c.kind, c.none) || tab.Any(trigger.MQTT, c.subject) {
			t.Errorf("%s: Any is wrong", &c.tr)
		}
		if n := len(tab.Match(&trigger.Message{Topic: c.subject, QoS: 1}, nil)); n > 0 {
			t.Errorf("%s starts for a message on %s", &c.tr, c.subject)
		}
		if watched := c.kind == trigger.State; tab.Watches("f") != watched && tab.Watches("weather") != watched {
			t.Errorf("%s: Watches is wrong", &c.tr)
		}
		if x := tab.Explain(m); len(x) != 1 || !x[0].Starts || x[0].Filter == "" {
			t.Errorf("%s: explained as %+v", &c.tr, x)
		}
		tab.Remove("f")
		if tab.Any(c.kind, c.subject) || tab.Watches("f") || tab.Watches("weather") || tab.Stats().Rules != 0 {
			t.Errorf("%s: it is still there after Remove", &c.tr)
		}
	}
}

// Conditions speak of the event's attributes and extensions.
func TestConditionsOnAttributes(t *testing.T) {
	ev := &event.Event{ID: "e-1", Source: "/functions/shop", Type: event.TypeQueue, Subject: "orders", Extensions: map[string]string{"site": "north"}}
	for _, c := range []struct {
		when string
		m    trigger.Message
		want bool
	}{
		{`subject == "orders" and id == "e-1" and type endsWith "queue.message" and source == "/functions/shop"`, trigger.Message{Kind: trigger.Queue, Topic: "orders", Event: ev}, true},
		{`properties.site == "north"`, trigger.Message{Kind: trigger.Queue, Topic: "orders", Event: ev}, true},
		{`properties.site == "south"`, trigger.Message{Kind: trigger.Queue, Topic: "orders", Event: ev}, false},
		{`source == "/mqtt/soil-3" and subject == topic and id == ""`, trigger.Message{Topic: "orders", Client: "soil-3"}, true},
		{`source == "/functions/g"`, trigger.Message{Topic: "orders", Source: "/functions/g"}, true},
		{`id == "7" and source == "probe" and type == "reading"`, trigger.Message{Topic: "orders", Client: "soil-3", User: []broker.UserProperty{
			{Name: "specversion", Value: "1.0"}, {Name: "id", Value: "7"}, {Name: "source", Value: "probe"}, {Name: "type", Value: "reading"},
		}}, true},
	} {
		tr := function.Trigger{MQTT: "orders", When: c.when}
		if c.m.Kind == trigger.Queue {
			tr = function.Trigger{Queue: "orders", When: c.when}
		}
		tab := table(t, one(tr))
		if got := len(tab.Match(&c.m, nil)) == 1; got != c.want {
			t.Errorf("%s: %v", c.when, got)
		}
	}
}

func TestFaultsOfKinds(t *testing.T) {
	for _, c := range []struct {
		tr          function.Trigger
		field, text string
	}{
		{function.Trigger{Queue: "a/{x"}, "queue", "placeholder"},
		{function.Trigger{State: "a/#/b"}, "state", "#"},
		{function.Trigger{Queue: "a", OrderBy: "x"}, "order_by", "not a capture of a"},
		{function.Trigger{Queue: "a", When: `topic == "a"`}, "when", "topic is for mqtt triggers: use subject"},
		{function.Trigger{Every: every(time.Minute), When: "retained"}, "when", "retained is for mqtt triggers"},
		{function.Trigger{State: "a/{x}", When: `params.y == "1"`}, "when", "a/{x} has no {y}"},
	} {
		err := trigger.Check(one(c.tr))
		var fe *trigger.FieldError
		if !errors.As(err, &fe) || fe.Field != c.field || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want a fault of %s with %q", c.tr, err, c.field, c.text)
		}
	}
}
