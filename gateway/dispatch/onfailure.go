package dispatch

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
)

const (
	// extFailed is the extension that names, separated by commas, the
	// functions whose failures led to an event: none of them is started by it.
	extFailed = "failedfunctions"
	// maxFailureData bounds the event's data in a failure; more is left out.
	maxFailureData = 256 << 10
	// maxForNobody bounds the failures that wait for a function that is not
	// deployed.
	maxForNobody = 1000
)

// Failure is the data of an event of type event.TypeFailed, and of what is
// published to an on_failure topic.
type Failure struct {
	Function string `json:"function"`
	Version  int    `json:"version"`
	// Reason is attempts or max_age, Error what the last attempt ended with.
	Reason   string    `json:"reason"`
	Error    string    `json:"error"`
	Attempts int       `json:"attempts"`
	Arrived  time.Time `json:"arrived"`
	// Key is the ordering key, Params the captures of the trigger.
	Key    string            `json:"key,omitempty"`
	Params map[string]string `json:"params,omitempty"`
	// Event is the one that was given up, as CloudEvents JSON. Data of more
	// than 256 KiB is left out, and its length is in DataOmitted: it is in the
	// dead letter.
	Event       *event.Event `json:"event"`
	DataOmitted int          `json:"data_omitted_bytes,omitempty"`
}

// reports reports whether somebody hears when an event of the task's function
// is given up.
func (t *task) reports() bool {
	return t.version.OnFailure != (function.OnFailure{}) || t.fn.d.cfg.Router.Any(trigger.Failure, t.fn.name)
}

// reportFailure adds to a task that is given up what tells of it: it commits
// with the dead letter.
func (f *fn) reportFailure(t *task) {
	to, o := t.version.OnFailure, t.out
	if o.giveUp == "" || !t.reports() {
		return
	}
	data, err := json.Marshal(t.failure())
	if err != nil { // an event that was stored is always valid
		f.d.log.Error("failure is not reported", "function", f.name, "event_id", t.ev.ID, "error", err)
		return
	}
	c := t.cause()
	ev := c.event(event.TypeFailed, f.name, data)
	ev.DataContentType = "application/json"
	m := trigger.Message{Kind: trigger.Failure, Topic: f.name, Payload: data, QoS: 1, Event: ev}
	matches := f.d.cfg.Router.Match(&m, nil)
	named := func(m trigger.Match) bool { return m.Function == to.Function }
	if to.Function != "" && !slices.ContainsFunc(matches, named) && f.heard(t, to.Function) {
		matches = append(matches, trigger.Match{Function: to.Function, Durable: true})
	}
	c.startAll(ev, matches, 0)
	if to.Topic != "" {
		// Like any publish of the function: subscribers get it, and triggers.
		e := function.Effects{Publishes: []function.Publish{{Topic: to.Topic, Payload: data, QoS: 1}}}
		if err := c.route(nil, &e); err != nil {
			f.d.log.Error("failure is not reported", "function", f.name, "topic", to.Topic, "error", err)
		} else {
			o.effects = e
		}
	}
	o.starts = c.starts
}

// heard reports whether the function that on_failure names can be told, and
// counts it where not.
func (f *fn) heard(t *task, name string) bool {
	target := f.d.function(name)
	if (target.deployed() || f.d.cfg.Store.QueuedOf(name) < maxForNobody) && !t.failedBefore(name) {
		return true
	}
	f.mu.Lock()
	f.stats.FailuresUnheard++
	f.mu.Unlock()
	return false
}

// failure tells of the task's event.
func (t *task) failure() *Failure {
	r := &Failure{
		Function: t.fn.name, Version: t.version.Version, Reason: t.out.giveUp, Error: t.lastError(), Attempts: t.attempts(),
		Arrived: t.fn.d.cfg.Wall(t.row.Arrived).UTC(), Key: t.key, Event: t.ev,
	}
	if t.params.Len() > 0 {
		r.Params = make(map[string]string, t.params.Len())
		for i := range t.params.Len() {
			k, v := t.params.At(i)
			r.Params[k] = v
		}
	}
	if n := len(t.ev.Data); n > maxFailureData {
		short := *t.ev
		short.Data, r.Event, r.DataOmitted = nil, &short, n
	}
	return r
}

// failedBefore reports whether the named function's failure, or this one's,
// led to the task's event.
func (t *task) failedBefore(name string) bool {
	return name == t.fn.name || slices.Contains(strings.Split(t.ev.Extensions[extFailed], ","), name)
}

// failedChain is what an event says that tells of the task's failure.
func (t *task) failedChain() map[string]string {
	chain := t.fn.name
	if before := t.ev.Extensions[extFailed]; before != "" {
		chain = before + "," + chain
	}
	return map[string]string{extFailed: chain}
}

// unreport takes back what tells of a failure, for which the queue has no
// room; the dead letter itself needs none.
func (t *task) unreport() bool {
	o := t.out
	if o.ok || o.giveUp == "" || len(o.rows) == 0 {
		return false
	}
	o.rows, o.started = nil, nil
	t.fn.mu.Lock()
	t.fn.stats.FailuresUnheard++
	t.fn.mu.Unlock()
	return true
}
