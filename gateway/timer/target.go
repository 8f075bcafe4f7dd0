package timer

import (
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
	due := f.Due.UTC().Truncate(time.Millisecond)
	data, err := json.Marshal(Data{Timer: f.Timer, Schedule: f.Schedule, Due: due, Missed: f.Missed})
	if err != nil {
		done(err)
		return
	}
	ev := &event.Event{
		ID: f.Timer + "/" + due.Format(time.RFC3339Nano), Source: "/timers/" + f.Timer, Type: event.TypeTimer, Subject: f.Timer,
		Time: t.Clock.Now(), Trust: t.Clock.Trust(), DataContentType: "application/json", Data: data,
	}
	m := trigger.Message{Kind: trigger.Timer, Topic: f.Timer, Payload: data, QoS: 1, Event: ev}
	t.Dispatcher.Submit(dispatch.Arrival{Event: ev, Matches: t.Triggers.Match(&m, nil), Timer: &f.Advance, Release: released(done)})
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
