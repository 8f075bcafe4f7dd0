package functest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sensors"
)

// kinds is how many kinds of events it says to be.
func (e *Event) kinds() (n int) {
	for _, s := range [...]string{e.Topic, e.HTTP, e.Queue, e.State, e.File, e.Sensor, e.Timer, e.Lifecycle, e.Failure, e.Actuator} {
		if s != "" {
			n++
		}
	}
	if e.Invoke {
		n++
	}
	return n
}

// event is what the function is asked about, without its data.
func (e *Event) event(spec *function.Spec) *event.Event {
	ev := &event.Event{ID: "test", Source: "/test", Type: event.TypeMQTT, Subject: e.Topic}
	switch {
	case e.HTTP != "":
		e.fillRequest(ev)
	case e.Queue != "":
		ev.Type, ev.Subject = event.TypeQueue, e.Queue
	case e.State != "":
		namespace, key := e.key(spec)
		ev.Type, ev.Subject = event.TypeState, namespace+":"+key
	case e.File != "":
		ev.Type, ev.Subject, ev.DataContentType = event.TypeObjectCreated, e.File, "application/json"
		if e.Change == function.ObjectDeleted {
			ev.Type = event.TypeObjectDeleted
		}
	case e.Sensor != "":
		ev.Type, ev.Source, ev.Subject, ev.DataContentType = event.TypeSensor, "/sensors/"+e.Sensor, e.Sensor, "application/json"
	case e.Timer != "":
		ev.Type, ev.Subject = event.TypeTimer, e.timer(spec)
	case e.Lifecycle != "":
		ev.Type, ev.Subject = event.TypeLifecycle+e.Lifecycle, e.client()
	case e.Failure != "":
		ev.Type, ev.Subject = event.TypeFailed, e.Failure
	case e.Actuator != "":
		name, happens, _ := strings.Cut(e.Actuator, "/")
		ev.Type, ev.Subject, ev.DataContentType = event.TypeActuator+happens, name, "application/json"
	case e.Invoke:
		ev.Type, ev.Subject = event.TypeInvoke, spec.Name
	}
	return ev
}

// client is the device that something has happened to.
func (e *Event) client() string {
	data, _ := e.Data.(map[string]any)
	client, _ := data["client"].(string)
	return client
}

// message is the event as triggers look at it.
func (e *Event) message(spec *function.Spec, data []byte) (*trigger.Message, error) {
	m := &trigger.Message{Topic: e.Topic, Payload: data, QoS: 1}
	if e.Topic != "" {
		return m, nil
	}
	m.Event = e.event(spec)
	switch {
	case e.HTTP != "":
		m.Kind, m.Topic = trigger.HTTP, trigger.HTTPSubject(m.Event.Extensions[event.ExtHTTPMethod], m.Event.Subject)
	case e.Queue != "":
		m.Kind, m.Topic = trigger.Queue, e.Queue
	case e.State != "":
		m.Kind, m.Topic = trigger.State, trigger.StateSubject(e.key(spec))
	case e.File != "":
		m.Kind, m.Topic = trigger.File, e.File
	case e.Sensor != "":
		m.Kind, m.Topic, m.QoS = trigger.Sensor, e.Sensor, 0
		var r sensors.Reading
		if err := json.Unmarshal(data, &r); err != nil {
			return nil, fmt.Errorf("event.data: %w: leave it out, and give sensors: {%s: 20 %%}", err, e.Sensor)
		}
		m.Reading = &r
	case e.Timer != "":
		m.Kind, m.Topic = trigger.Timer, e.timer(spec)
		if m.Topic == "" {
			return nil, fmt.Errorf("event.timer: %q is not the cron or every of a trigger of %s", e.Timer, spec.Name)
		}
	case e.Lifecycle != "":
		m.Kind, m.Topic, m.QoS = trigger.Lifecycle, e.Lifecycle, 0
	case e.Actuator != "":
		m.Kind, m.Topic = trigger.Actuator, e.Actuator
	default:
		m.Kind, m.Topic = trigger.Failure, e.Failure
	}
	return m, nil
}

// key is whose key has changed, and which.
func (e *Event) key(spec *function.Spec) (namespace, key string) {
	if namespace, key, other := strings.Cut(e.State, ":"); other {
		return namespace, key
	}
	return spec.Name, e.State
}

// timer is the name of the timer that is meant; empty where there is none.
func (e *Event) timer(spec *function.Spec) string {
	for i := range spec.Triggers {
		t := &spec.Triggers[i]
		var every function.Duration
		same := t.Every != nil && every.UnmarshalText([]byte(e.Timer)) == nil && every == *t.Every
		if name, _, ok := t.Timer(spec.Name); ok && (same || t.Cron == e.Timer) {
			return name
		}
	}
	return ""
}
