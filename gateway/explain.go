package gateway

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/mqtt/topic"
)

var _ admin.Explainer = operator{}

// Explain says what would become of an event, and why. Nothing happens.
func (o operator) Explain(ctx context.Context, q api.Explain) (api.Explained, error) {
	out := api.Explained{Kind: q.Kind, Subject: q.Subject, Triggers: []api.TriggerVerdict{}, Starts: []api.Start{}}
	if out.Kind == "" {
		out.Kind = trigger.MQTT.String()
	}
	if err := o.g.checkReady(); err != nil {
		return out, admin.Refusal(fmt.Errorf("the gateway is %w: try again in a moment", err))
	}
	kind, err := trigger.ParseKind(out.Kind)
	if err != nil {
		return out, admin.Refusal(err)
	}
	messages, notes, err := o.supposed(ctx, kind, &q)
	if err != nil {
		return out, err
	}
	out.Notes = notes
	for i := range messages {
		ev, m := messages[i].Event, &messages[i]
		if kind == trigger.MQTT {
			m.Event = nil // it is made when the message starts something
		}
		for _, x := range o.g.triggers.Explain(m) {
			out.Triggers = append(out.Triggers, api.TriggerVerdict{
				Function: x.Function, Version: x.Version, Trigger: x.Filter, Index: x.Trigger, Starts: x.Starts,
				Reason: x.Reason, Values: x.Values, Params: x.Params, Key: x.Key,
			})
		}
		matches := o.g.triggers.Match(m, nil)
		for j := range matches {
			s, err := o.start(ctx, ev, &matches[j], q.Run)
			if err != nil {
				return out, err
			}
			out.Starts = append(out.Starts, s)
		}
	}
	return out, nil
}

// supposed are the events that are asked about; more than one for a function
// with several timers.
func (o operator) supposed(ctx context.Context, kind trigger.Kind, q *api.Explain) ([]trigger.Message, []string, error) {
	g := o.g
	ev := &event.Event{ID: "explained", Source: operatorSource, Subject: q.Subject, Time: g.now(), Trust: g.trust(), Data: q.Data}
	m := trigger.Message{Kind: kind, Topic: q.Subject, Payload: q.Data, QoS: 1, Event: ev}
	switch kind {
	case trigger.MQTT:
		if err := topic.DefaultLimits.CheckName(q.Subject); err != nil {
			return nil, nil, admin.Refusal(err)
		}
		m.QoS, m.Retained, m.Client = byte(q.QoS), q.Retained, q.Client
		msg := &broker.Message{Topic: q.Subject, Payload: q.Data, QoS: m.QoS}
		if len(q.Properties) > 0 {
			msg.Properties = &broker.Properties{}
			for k, v := range q.Properties {
				msg.Properties.User = append(msg.Properties.User, broker.UserProperty{Name: k, Value: v})
			}
			m.User = msg.Properties.User
		}
		m.Event, _ = g.newEvent(msg, sender{client: q.Client})
		notes, err := o.mayPublish(ctx, q.Client, q.Subject)
		return []trigger.Message{m}, append(notes, o.otherKind(q.Subject)...), err
	case trigger.HTTP:
		method, path, _ := strings.Cut(q.Subject, " ")
		m.Topic = trigger.HTTPSubject(method, path)
	case trigger.Timer:
		return o.supposedTimers(q.Subject)
	case trigger.State:
		return o.supposedChange(ctx, q)
	case trigger.File:
		return o.supposedObject(ctx, q)
	case trigger.Queue:
		ev.Type = event.TypeQueue
		if !g.triggers.Any(trigger.Queue, q.Subject) {
			return []trigger.Message{m}, []string{"no function takes from queue " + q.Subject + ": what puts a message on it fails"}, nil
		}
	case trigger.Lifecycle:
		ev.Type = event.TypeLifecycle + q.Subject
		m.QoS = 0
	case trigger.Sensor:
		return o.supposedReading(q, m)
	case trigger.Failure:
		ev.Type = event.TypeFailed
	case trigger.Actuator:
		name, happens, _ := strings.Cut(q.Subject, "/")
		ev.Type, ev.Subject = event.TypeActuator+happens, name
	}
	return []trigger.Message{m}, nil, nil
}

// otherKind says of a topic of the gateway's own how to ask about what is told
// there: sensors and actuators start functions by triggers of their own.
func (o operator) otherKind(name string) []string {
	for s, c := range o.g.cfg.Sensors {
		if c.TopicOf(s) == name {
			return []string{"this is the topic of a sensor: 'headgate explain --kind sensor " + s + " 23.5' asks about triggers that name the sensor"}
		}
	}
	if a, ok := strings.CutPrefix(name, actuatorPrefix); ok {
		if a, _, _ = strings.Cut(a, "/"); o.g.cfg.Actuators[a].MaxOn > 0 {
			return []string{"this is a topic of an actuator: 'headgate explain --kind actuator " + a + "/off' asks about triggers that name the actuator"}
		}
	}
	return nil
}

// mayPublish says why the broker would not take the message from a device.
func (o operator) mayPublish(ctx context.Context, client, name string) ([]string, error) {
	if client == "" {
		return nil, nil
	}
	all, err := o.g.store.Devices(ctx)
	if err != nil {
		return nil, err
	}
	for _, d := range all {
		if d.Name != client {
			continue
		}
		if !d.Revoked.IsZero() {
			return []string{"device " + client + " is revoked: the broker does not let it in"}, nil
		}
		named := strings.NewReplacer("{client}", client, "{user}", client)
		for _, f := range d.Publish {
			if topic.Match(named.Replace(f), name) {
				return nil, nil
			}
		}
		return []string{fmt.Sprintf("device %s may not publish to %s: the broker would refuse it (it may publish to %s)", client, name, strings.Join(d.Publish, ", "))}, nil
	}
	return []string{"no device is called " + client}, nil
}

// supposedTimers are the firings of a function's timers, as if they were due
// now.
func (o operator) supposedTimers(name string) ([]trigger.Message, []string, error) {
	f, err := o.g.registry.Describe(context.Background(), name)
	if err != nil {
		return nil, nil, err
	}
	var all []trigger.Message
	seen := map[string]bool{}
	for i := range f.Spec.Triggers {
		id, schedule, ok := f.Spec.Triggers[i].Timer(name)
		if !ok || seen[id] {
			continue
		}
		seen[id] = true
		data, err := json.Marshal(timer.Data{Timer: id, Schedule: schedule, Due: o.g.now().UTC().Truncate(time.Second)})
		if err != nil {
			return nil, nil, err
		}
		ev := &event.Event{
			ID: "explained", Source: "/timers/" + id, Type: event.TypeTimer, Subject: id, Time: o.g.now(), Trust: o.g.trust(),
			DataContentType: "application/json", Data: data,
		}
		all = append(all, trigger.Message{Kind: trigger.Timer, Topic: id, Payload: data, QoS: 1, Event: ev})
	}
	if len(all) == 0 {
		return nil, []string{name + " has no timer: give it a trigger with cron or every"}, nil
	}
	return all, nil, nil
}

// supposedChange is the change of a key to the value that is asked about.
func (o operator) supposedChange(ctx context.Context, q *api.Explain) ([]trigger.Message, []string, error) {
	ns, key, ok := strings.Cut(q.Subject, ":")
	if !ok || ns == "" || key == "" {
		return nil, nil, admin.Refusal(fmt.Errorf("%q: name a key as function:key", q.Subject))
	}
	old, found, err := o.g.store.GetState(ctx, ns, key)
	if err != nil {
		return nil, nil, err
	}
	w := function.Write{Namespace: ns, Key: key, Value: q.Data}
	var notes []string
	if found && string(old) == string(q.Data) {
		notes = append(notes, "the key has this value already: writing it again is no change, and starts nothing")
	}
	ev, err := dispatch.ChangeEvent(&w, old, found)
	if err != nil {
		return nil, nil, err
	}
	ev.ID, ev.Source, ev.Time, ev.Trust = "explained", operatorSource, o.g.now(), o.g.trust()
	return []trigger.Message{{Kind: trigger.State, Topic: trigger.StateSubject(ns, key), Payload: ev.Data, QoS: 1, Event: ev}}, notes, nil
}

// supposedObject is the event of an object that is put, with the data of the
// query where there is some, else of the one that is there.
func (o operator) supposedObject(ctx context.Context, q *api.Explain) ([]trigger.Message, []string, error) {
	bucket, key, err := function.SplitObjectKey(q.Subject)
	if err != nil {
		return nil, nil, admin.Refusal(err)
	}
	var notes []string
	if !o.g.objects.Has(bucket) {
		notes = append(notes, "there is no bucket "+bucket+": the gateway's configuration declares them, under objects.buckets")
	}
	old, found, err := o.g.store.GetObject(ctx, bucket, key)
	if err != nil {
		return nil, nil, err
	}
	ch := function.ObjectChange{Bucket: bucket, Key: key, Object: old}
	if len(q.Data) > 0 || !found {
		sum := sha256.Sum256(q.Data)
		kind, err := function.ObjectType("", key)
		if err != nil {
			return nil, nil, err
		}
		ch.Object = function.Object{Digest: function.DigestOf(sum[:]), Size: int64(len(q.Data)), Type: kind, Modified: o.g.now().UTC().Truncate(time.Millisecond)}
		notes = append(notes, "the object is supposed, not put: functions that read it find what is there now")
	}
	ev, err := dispatch.ObjectEvent(&ch, old)
	if err != nil {
		return nil, nil, err
	}
	ev.ID, ev.Source, ev.Time, ev.Trust = "explained", operatorSource, o.g.now(), o.g.trust()
	return []trigger.Message{{Kind: trigger.File, Topic: ev.Subject, Payload: ev.Data, QoS: 1, Event: ev}}, notes, nil
}

// start says what the gateway would do for one function.
func (o operator) start(ctx context.Context, ev *event.Event, m *trigger.Match, run bool) (api.Start, error) {
	look := o.g.dispatcher.Outlook(ev, m)
	s := api.Start{Function: m.Function, Version: look.Version, Durable: m.Durable, Key: m.Key}
	s.Hindrances = hindrances(&look, m.Durable)
	if !run || look.Version == 0 {
		return s, nil
	}
	r, err := o.g.dispatcher.Rehearse(ctx, ev, m)
	if errors.Is(err, dispatch.ErrNotDeployed) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	s.Rehearsal = rehearsal(r)
	return s, nil
}

// hindrances are why an event would not run at once.
func hindrances(l *dispatch.Outlook, durable bool) (all []string) {
	waits := "it would be dropped"
	if durable {
		waits = "it would wait"
	}
	if l.Version == 0 {
		return []string{"no version of the function runs: " + waits}
	}
	if l.Breaker.State == dispatch.BreakerOpen {
		all = append(all, fmt.Sprintf("the function is paused until %s after %d failures in a row, the last: %s: %s",
			l.Breaker.NextTrial.Format(time.TimeOnly), l.Breaker.Failures, l.Breaker.Reason, waits))
	}
	if l.RateSpent {
		all = append(all, "the function is over its rate (limits.rate): "+waits)
	}
	if l.KeyBlocked > 0 {
		all = append(all, fmt.Sprintf("its key waits for the redrive of %d dead letters (retry.then_key: block)", l.KeyBlocked))
	}
	if l.KeyBusy {
		all = append(all, "another event of its key runs or waits before it")
	}
	if l.Queued > 0 {
		all = append(all, fmt.Sprintf("%d events wait to run, %d run", l.Queued, l.Running))
	}
	return all
}

func rehearsal(r *dispatch.Rehearsal) *api.Rehearsal {
	out := &api.Rehearsal{Invocation: invocation(&r.Record), Output: r.Output, Refused: r.Refused, Starts: r.Starts}
	for _, l := range r.Logs {
		out.Logs = append(out.Logs, l.Level.String()+" "+l.Text)
	}
	for _, w := range r.Effects.Writes {
		out.State = append(out.State, api.WouldWrite{Namespace: w.Namespace, Key: w.Key, Value: w.Value, Delete: w.Delete, TTL: w.TTL})
	}
	for _, p := range r.Effects.Publishes {
		out.Publish = append(out.Publish, api.WouldSend{Topic: p.Topic, Payload: p.Payload, QoS: int(p.QoS), Retain: p.Retain})
	}
	for _, e := range r.Effects.Enqueues {
		out.Enqueue = append(out.Enqueue, api.WouldQueue(e))
	}
	for _, i := range r.Effects.Invokes {
		out.Invoke = append(out.Invoke, api.WouldInvoke(i))
	}
	for _, c := range r.Effects.Objects {
		out.Objects = append(out.Objects, api.WouldPut{Bucket: c.Bucket, Key: c.Key, Delete: c.Delete, Digest: c.Object.Digest, Size: c.Object.Size, Type: c.Object.Type})
	}
	return out
}
