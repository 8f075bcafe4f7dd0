package observer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/admin/client"
)

// Judge compares what a gateway knows with the ledgers, and collects what is
// wrong.
type Judge struct {
	Gateway     *rig.Gateway
	Publishers  []*Publisher
	Subscribers []*Subscriber
	// Refusals is true where the gateway may refuse events: its publisher
	// sends such a one again, behind others that were taken.
	Refusals bool
	// Alone is true after DeployAlone.
	Alone      bool
	Violations []string
	// Lost counts acknowledged events without an effect, Doubled effects that
	// came again, each as often as a check has found it.
	Lost, Doubled int
}

// Violate notes a broken promise.
func (j *Judge) Violate(format string, args ...any) {
	j.Violations = append(j.Violations, fmt.Sprintf(format, args...))
}

// Acknowledged is how many events the gateway has taken over.
func (j *Judge) Acknowledged() (n int) {
	for _, p := range j.Publishers {
		n += len(p.Acknowledged())
	}
	return n
}

// Redeliver lets the publishers send what is not acknowledged again, until it
// is, or ctx ends.
func (j *Judge) Redeliver(ctx context.Context) {
	for _, p := range j.Publishers {
		for p.Unacknowledged() > 0 && ctx.Err() == nil {
			p.Run(ctx, j.Gateway.Address, true)
			p.Disconnect()
		}
	}
}

// Disconnect ends every connection.
func (j *Judge) Disconnect() {
	for _, p := range j.Publishers {
		p.Disconnect()
	}
	for _, s := range j.Subscribers {
		s.Disconnect()
	}
}

// Recognised notes sessions that the gateway had granted and did not know.
func (j *Judge) Recognised(when string) {
	recognised := func(c *Client) {
		if errors.Is(c.Err, ErrForgotten) {
			j.Violate("%s: %s: %v", when, c.Name, c.Err)
		}
	}
	for _, p := range j.Publishers {
		recognised(&p.Client)
	}
	for _, s := range j.Subscribers {
		recognised(&s.Client)
	}
}

// Settle redelivers, within a time, what is unacknowledged by a gateway that
// stays up, and lets the subscribers take what they have coming. For what comes
// twice they listen until each has heard nothing for quiet.
func (j *Judge) Settle(ctx context.Context, within, quiet time.Duration) error {
	publishing, stop := context.WithTimeout(ctx, within)
	defer stop()
	var wg sync.WaitGroup
	for _, p := range j.Publishers {
		wg.Go(func() { p.Run(publishing, j.Gateway.Address, true) })
	}
	wg.Wait()
	for _, p := range j.Publishers {
		if n := p.Unacknowledged(); n > 0 {
			j.Violate("%s: %d events were never acknowledged, though the gateway stayed up (%v)", p.Name, n, p.Err)
		}
	}
	if err := j.Gateway.Drain(ctx, within); err != nil {
		return err
	}
	listening, done := context.WithTimeout(ctx, within)
	defer done()
	j.Hear(listening, quiet)
	j.Disconnect()
	j.CheckSubscribers()
	return nil
}

// Hear connects the subscribers and lets them take what they have coming: until
// they have everything, or the gateway says that nothing waits for anybody. How
// long that takes says nothing about a gateway.
func (j *Judge) Hear(ctx context.Context, quiet time.Duration) {
	var listening []*Subscriber
	for _, s := range j.Subscribers {
		if err := s.Connect(ctx, j.Gateway.Address); err != nil {
			j.Violate("%s: at the end: %v", s.Name, err)
			continue
		}
		listening = append(listening, s)
	}
	for _, s := range listening {
		for ctx.Err() == nil && !j.whole(s) {
			if m, err := j.Gateway.Metrics(ctx); err == nil && m["headgate_mqtt_queued_messages"] == 0 {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		s.Quiet(ctx, quiet)
	}
}

// whole reports whether a subscriber has got every message.
func (j *Judge) whole(s *Subscriber) bool {
	for _, p := range j.Publishers {
		if n := p.Events(); s.distinct(p.Topic) < n || s.distinct("out/"+p.Name) < n {
			return false
		}
	}
	return true
}

// Check compares what the functions kept with the ledgers. At any time every
// acknowledged event must be there, once; with final, after everything was
// redelivered, every event.
func (j *Judge) Check(ctx context.Context, when string, final bool) error {
	counted := 0
	for _, p := range j.Publishers {
		for _, name := range Functions {
			var s Seen
			if err := j.State(ctx, name, p.Name, &s); err != nil {
				return err
			}
			j.judge(p, name, when, &s, final)
			if name == "counter" {
				counted += s.Count
			}
			if name == "counter" && !j.Alone {
				if err := j.checkTens(ctx, p.Name, when, s.Count/10); err != nil {
					return err
				}
			}
		}
	}
	if !j.Alone {
		if err := j.checkMinutes(ctx, when); err != nil {
			return err
		}
	}
	if err := j.checkUsage(ctx, when, counted); err != nil {
		return err
	}
	return j.checkClean(ctx, when)
}

// State reads one key of a function; one that is not there leaves v alone.
func (j *Judge) State(ctx context.Context, function, key string, v any) error {
	var e api.StateEntry
	err := j.Gateway.Client.Do(ctx, http.MethodGet, "/v1/state/"+function+"/entry?key="+url.QueryEscape(key), nil, &e)
	var refused *client.Error
	if errors.As(err, &refused) && refused.Status == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(e.Value, v)
}

func (j *Judge) judge(p *Publisher, function, when string, s *Seen, final bool) {
	missing := slices.DeleteFunc(p.Acknowledged(), s.Has)
	if len(missing) > 0 {
		j.Lost += len(missing)
		j.Violate("%s: %s: %d events of %s were acknowledged and are missing, the first is %d", when, function, len(missing), p.Name, missing[0])
		return
	}
	if s.Count != s.Distinct() {
		j.Doubled += s.Count - s.Distinct()
		j.Violate("%s: %s: %d events of %s ran %d times", when, function, s.Distinct(), p.Name, s.Count)
	}
	if s.Disorder > 0 && !j.Refusals {
		j.Violate("%s: %s: %d events of %s ran out of order", when, function, s.Disorder, p.Name)
	}
	if final && s.Distinct() != p.Events() {
		j.Violate("%s: %s: %d of %d events of %s have an effect", when, function, s.Distinct(), p.Events(), p.Name)
	}
}

// checkTens compares what counter started through a queue and through its
// state with what it counted: each ten once, and the changes in a row.
func (j *Judge) checkTens(ctx context.Context, publisher, when string, tens int) error {
	var taken struct{ Count, Sum int }
	if err := j.State(ctx, "taker", publisher, &taken); err != nil {
		return err
	}
	if taken.Count != tens || taken.Sum != tens*(tens+1)/2 {
		j.Violate("%s: taker: %d tens of %s were put on the queue, %d were taken, with the sum %d", when, tens, publisher, taken.Count, taken.Sum)
	}
	var watched struct{ Count, Broken int }
	if err := j.State(ctx, "watcher", publisher, &watched); err != nil {
		return err
	}
	if watched.Count != tens || watched.Broken > 0 {
		j.Violate("%s: watcher: %d tens of %s were written, it heard of %d, and %d changes did not follow the one before", when, tens, publisher, watched.Count, watched.Broken)
	}
	return nil
}

// checkMinutes looks for minutes that the timer fired for twice.
func (j *Judge) checkMinutes(ctx context.Context, when string) error {
	var fired struct{ Again int }
	if err := j.State(ctx, "minute", "fired", &fired); err != nil {
		return err
	}
	if fired.Again > 0 {
		j.Violate("%s: minute: its timer fired again for %d minutes that it had fired for", when, fired.Again)
	}
	return nil
}

// checkUsage compares what was metered with what ran: the usage record of an
// invocation commits with its effects.
func (j *Judge) checkUsage(ctx context.Context, when string, counted int) error {
	var rows []api.Usage
	if err := j.Gateway.Client.Do(ctx, http.MethodGet, "/v1/usage?function=counter", nil, &rows); err != nil {
		return err
	}
	var succeeded uint64
	for i := range rows {
		succeeded += rows[i].Requests
		for _, n := range rows[i].Errors {
			succeeded -= n
		}
	}
	if succeeded != uint64(counted) {
		j.Violate("%s: counter: %d invocations have an effect, %d are metered", when, counted, succeeded)
	}
	return nil
}

// checkClean looks for instances that were not clean and for events that were
// given up.
func (j *Judge) checkClean(ctx context.Context, when string) error {
	for _, function := range Functions {
		dirty := 0
		if err := j.State(ctx, function, "dirty", &dirty); err != nil {
			return err
		}
		if dirty > 0 {
			j.Violate("%s: %s: a variable of the guest was %d at the start of an invocation: its instance was not restored", when, function, dirty)
		}
	}
	var dead []api.DeadLetter
	if err := j.Gateway.Client.Do(ctx, http.MethodGet, "/v1/deadletters", nil, &dead); err != nil {
		return err
	}
	for _, d := range dead {
		j.Violate("%s: %s: event %s became a dead letter: %s", when, d.Function, d.EventID, d.Error)
	}
	return nil
}

// CheckSubscribers compares what the subscribers got with what was published:
// everything, in order where the publisher's order is kept, and once where
// QoS 2 promises it.
func (j *Judge) CheckSubscribers() {
	for _, s := range j.Subscribers {
		got := s.Received()
		for _, p := range j.Publishers {
			j.received(s, p.Topic, got[p.Topic], p.Events(), s.QoS == 2 && p.QoS == 2)
			if n := got[p.Topic].Disorder; n > 0 {
				j.Violate("%s: %d messages of %s came out of order", s.Name, n, p.Topic)
			}
			out := "out/" + p.Name
			j.received(s, out, got[out], p.Events(), s.QoS == 2)
		}
	}
}

func (j *Judge) received(s *Subscriber, topic string, got Received, events int, once bool) {
	missing, first, repeated := 0, 0, 0
	for n := 1; n <= events; n++ {
		switch times := got.Times[n]; {
		case times == 0:
			if missing++; missing == 1 {
				first = n
			}
		case times > 1:
			repeated++
		}
	}
	if missing > 0 {
		j.Violate("%s: %d of %d messages of %s never came, the first is %d", s.Name, missing, events, topic, first)
	}
	if once && repeated > 0 {
		j.Violate("%s: %d messages of %s came more than once at QoS 2", s.Name, repeated, topic)
	}
}
