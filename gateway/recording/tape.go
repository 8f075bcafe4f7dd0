package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Tape listens to what one invocation hears of the state; the rest is in the
// journal of its calls. It is used by the goroutine that runs the invocation.
type Tape struct {
	state host.State
	reads []StateAnswer
	lists []ListAnswer
}

var (
	_ host.State     = (*Tape)(nil)
	_ host.Committer = (*Tape)(nil)
)

// Listen returns s listened to. A rerun of the same event listens anew: it
// reads everything again.
func (t *Tape) Listen(s host.State) host.State {
	*t = Tape{state: s}
	if s == nil {
		return nil
	}
	return t
}

// Get implements host.State.
func (t *Tape) Get(ns, key string) ([]byte, bool, error) {
	value, found, err := t.state.Get(ns, key)
	if err == nil {
		t.reads = append(t.reads, StateAnswer{Namespace: ns, Key: key, Found: found, Value: value})
	}
	return value, found, err
}

// List implements host.State.
func (t *Tape) List(ns, prefix, after string, limit int) ([]string, bool, error) {
	keys, more, err := t.state.List(ns, prefix, after, limit)
	if err == nil {
		t.lists = append(t.lists, ListAnswer{Namespace: ns, Prefix: prefix, After: after, Limit: limit, Keys: keys, More: more})
	}
	return keys, more, err
}

// Committed implements host.Committer.
func (t *Tape) Committed(ctx context.Context) error {
	if c, ok := t.state.(host.Committer); ok {
		return c.Committed(ctx)
	}
	return nil
}

// metaKeys are what a guest may ask about any event.
var metaKeys = [...]string{
	abi.MetaID, abi.MetaSource, abi.MetaType, abi.MetaSubject, abi.MetaTime, abi.MetaContentType, abi.MetaFunction,
	abi.MetaVersion, abi.MetaAttempt, abi.MetaHops, abi.MetaParams, event.ExtTrust,
}

// Cut ends the tape: the recording of an invocation of spec on ev that calls
// has served. Nothing of calls is kept, and no secret that the guest has read.
func (t *Tape) Cut(spec *function.Spec, ev *event.Event, meta host.Meta, calls *host.Calls, r *function.Result) *Recording {
	heard := calls.Heard()
	rec := &Recording{
		Format: Format, Spec: *spec, Data: bytes.Clone(ev.Data), Meta: map[string]string{},
		Answers: Answers{
			Now: heard.Now, Random: bytes.Clone(heard.Seed), Remaining: slices.Clone(heard.Remaining), State: t.reads, Lists: t.lists,
		},
	}
	for _, f := range heard.Fetches {
		rec.Answers.Fetches = append(rec.Answers.Fetches, FetchAnswer{
			Request: clean(calls, f.Request), Answer: clean(calls, f.Answer), Errno: int32(f.Errno), Reason: calls.Redact(f.Reason),
		})
	}
	for _, b := range heard.Blobs {
		rec.Answers.Blobs = append(rec.Answers.Blobs, BlobAnswer{Digest: b.Digest, Offset: b.Offset, Data: clean(calls, b.Data), Cut: b.Data == nil})
	}
	for _, s := range heard.Sensors {
		if rec.Answers.Sensors == nil {
			rec.Answers.Sensors = map[string]json.RawMessage{}
		}
		rec.Answers.Sensors[s.Name] = json.RawMessage("null")
		if len(s.Reading) > 0 {
			rec.Answers.Sensors[s.Name] = bytes.Clone(s.Reading)
		}
	}
	for _, a := range heard.Actuations {
		rec.Answers.Actuators = append(rec.Answers.Actuators, ActuatorAnswer{Actuator: a.Actuator, Granted: a.Granted, Errno: int32(a.Errno), Reason: a.Reason})
	}
	bare := *ev
	bare.Data = nil
	rec.Event = &bare
	for _, key := range metaKeys {
		if v, ok := meta.Lookup(key); ok {
			rec.Meta[key] = v
		}
	}
	calls.SecretsRead(func(name string, length int) {
		if rec.Answers.Secrets == nil {
			rec.Answers.Secrets = map[string]int{}
		}
		rec.Answers.Secrets[name] = length
	})
	for i := range rec.Answers.State {
		rec.Answers.State[i].Value = clean(calls, rec.Answers.State[i].Value)
	}
	rec.Outcome = outcomeOf(calls, r)
	return rec
}

// clean copies b without the secrets that the guest has read.
func clean(calls *host.Calls, b []byte) Bytes {
	if len(b) == 0 {
		return nil
	}
	return Bytes(calls.Redact(string(b)))
}

// outcomeOf is what came of an invocation, without secrets. What a failed one
// asked for is there too: nothing of it was done.
func outcomeOf(calls *host.Calls, r *function.Result) Outcome {
	o := Outcome{
		Outcome: r.Outcome.String(), Error: calls.Redact(r.Error), Fuel: r.Fuel, Duration: r.Duration,
		Output: clean(calls, calls.Output()),
	}
	for _, a := range calls.OutputMeta() {
		if o.Attributes == nil {
			o.Attributes = map[string]string{}
		}
		o.Attributes[a.Key] = calls.Redact(a.Value)
	}
	e := calls.Effects()
	for _, w := range e.Writes {
		o.Writes = append(o.Writes, Write{w.Namespace, w.Key, clean(calls, w.Value), w.Delete, w.TTL})
	}
	for _, p := range e.Publishes {
		o.Publishes = append(o.Publishes, Publish{p.Topic, clean(calls, p.Payload), p.QoS, p.Retain, p.Expiry})
	}
	for _, q := range e.Enqueues {
		o.Enqueues = append(o.Enqueues, Enqueue{q.Queue, clean(calls, q.Payload), q.Delay})
	}
	for _, i := range e.Invokes {
		o.Invokes = append(o.Invokes, Invoke{i.Function, clean(calls, i.Payload)})
	}
	for _, c := range e.Objects {
		o.Objects = append(o.Objects, Object{c.Bucket, c.Key, c.Delete, c.Object.Digest, c.Object.Size, c.Object.Type})
	}
	for _, a := range e.Actuations {
		o.Actuations = append(o.Actuations, Actuation{a.Actuator, a.Value, a.Lease})
	}
	for _, m := range calls.Metrics() {
		o.Metrics = append(o.Metrics, Metric{m.Name, m.Value})
	}
	for _, l := range calls.Logs() {
		o.Logs = append(o.Logs, LogLine{l.Level.String(), l.Text})
	}
	return o
}
