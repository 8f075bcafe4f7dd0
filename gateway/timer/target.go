package timer

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/dispatch"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// Dispatch is the Target that starts functions.
type Dispatch struct {
	Dispatcher *dispatch.Dispatcher
	Clock      Clock
	Triggers   Triggers
}

// Triggers says whether a firing starts its function: the trigger may have a
// condition. *trigger.Table is one.
type Triggers interface {
	Match(m *trigger.Message, dst []trigger.Match) []trigger.Match
}

var _ Triggers = (*trigger.Table)(nil)

var _ Target = Dispatch{}

// Data is the data of a timer's event.
type Data struct {
	Timer string `json:"timer"`
	// Schedule is its calendar, or @every and its interval.
	Schedule string `json:"schedule"`
	// Due is the instant that the timer fires for; the event's time is when it
	// did.
	Due time.Time `json:"due"`
	// Missed is how many instants before it are not fired for.
	Missed int `json:"missed"`
}

// Fire implements Target: the event's unit advances the timer, whether or not
// the firing starts something.
func (t Dispatch) Fire(f Firing, done func(error)) {
	in, err := t.arrival(&f, done)
	if err != nil {
		done(err)
		return
	}
	in.Timer = &f.Advance
	t.Dispatcher.Submit(in)
}

// Run fires a timer beside its schedule, which stays as it is, and returns once
// what that starts is kept: nothing where the trigger's condition is false. Of
// the firing, Advance and Missed count for nothing.
func (t Dispatch) Run(ctx context.Context, f Firing) (started bool, err error) {
	kept := make(chan error, 1)
	in, err := t.arrival(&f, func(err error) { kept <- err })
	if err != nil || len(in.Matches) == 0 {
		return false, err
	}
	t.Dispatcher.Submit(in)
	select {
	case err := <-kept:
		return err == nil, err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// arrival is what a firing brings to the dispatcher.
func (t Dispatch) arrival(f *Firing, done func(error)) (dispatch.Arrival, error) {
	due := f.Due.UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(Data{Timer: f.Timer, Schedule: f.Schedule, Due: due, Missed: f.Missed})
	if err != nil {
		return dispatch.Arrival{}, err
	}
	ev := &event.Event{
		ID: f.Timer + "/" + due.Format(time.RFC3339Nano), Source: "/timers/" + f.Timer, Type: event.TypeTimer, Subject: f.Timer,
		Time: t.Clock.Now(), Trust: t.Clock.Trust(), DataContentType: "application/json", Data: data,
	}
	m := trigger.Message{Kind: trigger.Timer, Topic: f.Timer, Payload: data, QoS: 1, Event: ev}
	return dispatch.Arrival{Event: ev, Matches: t.Triggers.Match(&m, nil), Release: released(done)}, nil
}

// released is the publisher's side of a firing.
type released func(error)

// Release tells how it ended.
func (r released) Release(code broker.ReasonCode) {
	if code == broker.Success {
		r(nil)
		return
	}
	r(fmt.Errorf("reason code 0x%02x", byte(code)))
}
