package gateway

import (
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// egress takes what functions publish, after its commit, to the broker's
// subscribers.
type egress struct{ g *Gateway }

var _ dispatch.Outbox = egress{}

// Plan finds what of a function's message has to be in its commit.
func (e egress) Plan(p *function.Publish, joins bool) *broker.Plan {
	return e.g.broker.Plan(published(p), joins)
}

// Publish delivers one message of a function.
func (e egress) Publish(_ *event.Event, _ string, p function.Publish, plan *broker.Plan) {
	if plan != nil {
		e.g.sensing.tap.seen(plan.Message)
		e.g.broker.Deliver(plan, nil)
		e.g.watchers.seen(plan.Message)
		return
	}
	m := published(&p)
	e.g.sensing.tap.seen(m)
	e.g.broker.Publish(m)
	e.g.watchers.seen(m)
}

func published(p *function.Publish) *broker.Message {
	m := &broker.Message{Topic: p.Topic, Payload: p.Payload, QoS: p.QoS, Retain: p.Retain}
	if p.Expiry > 0 {
		m.Expires = time.Now().Add(p.Expiry)
	}
	return m
}

// observer keeps what people look at: the newest invocations and log lines,
// and the metrics.
type observer struct{ g *Gateway }

var _ dispatch.Observer = observer{}

// Invoked takes one attempt.
func (o observer) Invoked(r *dispatch.Record) {
	o.g.counted.count(o.g.metrics, r)
	if u := o.g.updates.Load(); u != nil {
		u.Observe(r.Function, r.Version, r.Outcome, r.Duration)
	}
	o.g.tails.Invocations.Add(invocation(r))
	for _, l := range r.Logs {
		o.g.tails.Logs.Add(logLine(r.Function, r.Version, r.EventID, l))
	}
}

func invocation(r *dispatch.Record) api.Invocation {
	i := api.Invocation{
		Time: r.At, Function: r.Function, Version: r.Version, EventID: r.EventID, Subject: r.Subject, Attempt: r.Attempt,
		Outcome: r.Outcome.String(), Error: r.Error, Duration: r.Duration, Fuel: r.Fuel, FuelLimit: r.FuelLimit, ColdStart: r.ColdStart,
	}
	if r.Effects != nil && r.Outcome == function.OK {
		i.Writes = len(r.Effects.Writes)
		for _, p := range r.Effects.Publishes {
			i.Published = append(i.Published, p.Topic)
		}
		for _, q := range r.Effects.Enqueues {
			i.Enqueued = append(i.Enqueued, q.Queue)
		}
		for _, f := range r.Effects.Invokes {
			i.Invoked = append(i.Invoked, f.Function)
		}
		for _, a := range r.Effects.Actuations {
			i.Actuated = append(i.Actuated, api.Actuated{Actuator: a.Actuator, Value: a.Value, Granted: a.Granted})
		}
	}
	switch {
	case r.Dead:
		i.Next = "dead letter"
	case !r.Retry.IsZero():
		i.Next = fmt.Sprintf("retry in %v", max(0, r.Retry.Sub(r.At)).Round(time.Millisecond))
	}
	return i
}

func logLine(name string, version int, eventID string, l function.LogLine) api.LogLine {
	return api.LogLine{Time: l.Time, Function: name, Version: version, EventID: eventID, Level: l.Level.String(), Text: l.Text}
}
