package gateway

import (
	"context"
	"strconv"
	"sync/atomic"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// ingress is the broker's handler: where messages become events.
type ingress struct{ g *Gateway }

var _ broker.Handler = ingress{}

// Publish starts the functions whose triggers match. The publisher is released
// at once when nothing has to be kept, else by the dispatcher, when it is.
func (i ingress) Publish(in *broker.Inbound) {
	if !i.g.memory.Admit() {
		in.Release(broker.QuotaExceeded)
		return
	}
	var to dispatch.Releaser = in
	if i.g.watchers.any() {
		to = &watched{in, &in.Message, i.g}
	}
	i.g.submit(&in.Message, sender{in.Client, in.User, in.Stored}, in.Record, in.Plan, to)
}

// sender is who a message comes from: its client id and its identity. stored
// says that it is one which another broker retained, and no news.
type sender struct {
	client, user string
	stored       bool
}

// submit is the way of one message into the dispatcher.
func (g *Gateway) submit(m *broker.Message, from sender, record *broker.InboundRecord, plan *broker.Plan, to dispatch.Releaser) {
	tm := trigger.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retained: from.stored, Client: from.client}
	if m.Properties != nil {
		tm.User = m.Properties.User
	}
	g.sensing.tap.seen(m)
	g.actuators.seen(m, from)
	matches := g.triggers.Match(&tm, nil)
	fault.Reached(fault.Matched)
	if len(matches) == 0 && (record == nil || record.QoS < 2) {
		// A forwarded message needs no record: delivering it twice after a
		// crash is what QoS 1 allows. An id of QoS 2 is kept in any case.
		to.Release(broker.Success)
		return
	}
	e, dedupe := g.newEvent(m, from)
	e.Retained = from.stored
	if len(matches) > 0 {
		g.tails.Events.Add(eventLine(e, int(m.QoS), matches))
	}
	g.dispatcher.Submit(dispatch.Arrival{Event: e, Matches: matches, Inbound: record, Dedupe: dedupe, Plan: plan, Release: to})
}

// newEvent makes an event of a message. A publisher that sends CloudEvents
// attributes as user properties (CloudEvents MQTT binding 1.0, section 3.1)
// names its events itself, and is protected against its own repetitions.
func (g *Gateway) newEvent(m *broker.Message, from sender) (*event.Event, store.DedupeKey) {
	e := &event.Event{
		ID: g.events.next(), Source: "/mqtt/" + from.client, Type: event.TypeMQTT,
		Subject: m.Topic, Time: g.now(), Trust: g.trust(), Data: m.Payload,
	}
	if m.Properties == nil {
		return e, store.DedupeKey{}
	}
	e.DataContentType = m.Properties.ContentType
	attributes := make(map[string]string, len(m.Properties.User))
	for _, p := range m.Properties.User {
		attributes[p.Name] = p.Value
	}
	id, source := attributes["id"], attributes["source"]
	if attributes["specversion"] != "1.0" || id == "" || source == "" {
		e.Extensions = attributes
		return e, store.DedupeKey{}
	}
	e.ID, e.Source = id, source
	if t := attributes["type"]; t != "" {
		e.Type = t
	}
	for _, name := range [...]string{"specversion", "id", "source", "type", "time", "subject", "datacontenttype"} {
		delete(attributes, name)
	}
	e.Extensions = attributes
	return e, store.NewDedupeKey(from.user, source, id)
}

// retainedClient is the client id that stored retained messages come from.
const retainedClient = "retained"

// replayRetained starts a function that has just gone live for the retained
// messages that it asks for.
func (g *Gateway) replayRetained(spec *function.Spec) {
	asks := false
	for i := range spec.Triggers {
		asks = asks || spec.Triggers[i].Retained
	}
	if !asks {
		return
	}
	g.broker.Retained("#", func(m *broker.Message) bool {
		tm := trigger.Message{Topic: m.Topic, Payload: m.Payload, QoS: m.QoS, Retained: true, Client: retainedClient}
		for _, match := range g.triggers.Match(&tm, nil) {
			if match.Function != spec.Name {
				continue
			}
			e, _ := g.newEvent(m, sender{client: retainedClient})
			e.Retained = true
			g.dispatcher.Submit(dispatch.Arrival{Event: e, Matches: []trigger.Match{match}})
		}
		return true
	})
}

// eventIDs makes ids that are never given twice: the count of starts, and a
// count within this one.
type eventIDs struct {
	prefix string
	count  *atomic.Uint64
}

func newEventIDs(ctx context.Context, s *store.Store) (eventIDs, error) {
	boot, err := s.NextCounter(ctx, "boot")
	return eventIDs{prefix: s.Identity().EventPrefix(boot), count: new(atomic.Uint64)}, err
}

func (e eventIDs) next() string { return e.prefix + strconv.FormatUint(e.count.Add(1), 36) }

func eventLine(e *event.Event, qos int, matches []trigger.Match) api.Event {
	names := make([]string, len(matches))
	for i := range matches {
		names[i] = matches[i].Function
	}
	return api.Event{Time: e.Time, ID: e.ID, Source: e.Source, Subject: e.Subject, QoS: qos, Bytes: len(e.Data), Functions: names}
}
