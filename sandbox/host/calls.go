package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Meta answers a guest's questions about its event: the keys of package abi
// (id, source, subject, params.<name>, …).
type Meta interface {
	Lookup(key string) (value string, ok bool)
}

// Invocation is what one attempt on one event brings along.
type Invocation struct {
	// Input is the event's data. It is read only until the call ends.
	Input []byte
	Meta  Meta
	// State is the function's view of stored keys; nil has none.
	State State
	// Blobs holds the bytes of objects; nil has none.
	Blobs Blobs
	// Actuators answers actuate; nil has none.
	Actuators Actuators
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Random seeds the invocation's random; nil is crypto/rand.
	Random io.Reader
	// Deadline ends the invocation early; zero leaves the function's timeout
	// alone to do so.
	Deadline time.Time
	// Remaining answers how many milliseconds are left; nil tells the truth.
	Remaining func() int64
	// Recorded keeps all that Heard tells; else it tells what a rerun needs.
	Recorded bool
}

// Metric is one value that a function reported.
type Metric struct {
	Name  string
	Value float64
}

// Attribute is one attribute of the output: an HTTP header, the content type.
type Attribute struct{ Key, Value string }

// Abort ends an invocation from inside a host call.
type Abort struct {
	Outcome function.Outcome
	Reason  string
}

// Error returns the reason.
func (a *Abort) Error() string { return a.Reason }

// Calls is the host side of one invocation. The zero value is ready for
// Reset; a Calls is used by one goroutine at a time and may be reused for any
// number of invocations.
//
// The methods named after host calls are for the sandbox. They return an
// errno of package abi, 0 for success; Reason then says why in words.
type Calls struct {
	grant *Grant
	in    Invocation
	init  bool

	effects     function.Effects
	effectBytes int
	objectBytes int64
	objectPuts  int
	blobMoved   int64
	written     map[stateKey]int // index into effects.Writes, once there are many
	cursors     []string
	page        []byte

	logs    []function.LogLine
	log     logBudget
	streams [2]lineBuffer

	metrics []Metric
	attrs   []Attribute
	output  []byte
	failure string
	reason  string
	abort   *Abort

	topics   map[string]topicVerdict
	topicsOf *Grant

	secrets []readSecret

	deadline time.Time // when the sandbox ends it

	journal journal
	fetches fetches
}

// journal keeps the answers that a rerun of the same event must hear again.
// The wall clock stands still during an invocation, except while the guest
// sleeps, and random is one seeded stream, so that two values tell it all.
type journal struct {
	now    time.Time // start of the invocation, zero until asked for
	seed   [32]byte
	seeded bool
	random *mathrand.ChaCha8
	slept  time.Duration
	// remaining is kept of invocations that are recorded.
	remaining []int64
	blobs     []HeardBlob
	// actuations are the answers to actuate of invocations that are recorded.
	actuations []HeardActuation
	blobBytes  int
	// sensors are those that were read, of all runs.
	sensors []HeardSensor
}

// Reset prepares c for a new invocation.
func (c *Calls) Reset(g *Grant, in Invocation) {
	c.grant, c.in, c.init = g, in, false
	c.journal.now, c.journal.seeded, c.journal.remaining = time.Time{}, false, nil
	c.journal.blobs, c.journal.blobBytes, c.journal.actuations = nil, 0, nil
	clear(c.journal.sensors)
	c.journal.sensors = c.journal.sensors[:0]
	c.logs = c.logs[:0]
	c.deadline = time.Time{}
	c.forgetSecrets()
	c.fetches.reset()
	c.restart()
}

// ResetInit prepares c for headgate_init: only log, config and random work.
// It has the log budget of one invocation.
func (c *Calls) ResetInit(g *Grant) {
	c.Reset(g, Invocation{})
	c.init = true
}

// Rewind prepares a rerun of the same event against a fresh view of the
// state: what the guest did is forgotten, and now, random and what was fetched
// repeat as long as the guest asks for the same things in the same order. Log lines of the
// first run stay; the rerun may log as much again.
func (c *Calls) Rewind(s State) {
	c.in.State = s
	c.restart()
}

// restart forgets what the guest did.
func (c *Calls) restart() {
	c.effects.Writes = c.effects.Writes[:0]
	c.effects.Publishes = c.effects.Publishes[:0]
	c.effects.Enqueues = c.effects.Enqueues[:0]
	c.effects.Invokes = c.effects.Invokes[:0]
	c.effects.Objects = c.effects.Objects[:0]
	c.effects.Actuations = c.effects.Actuations[:0]
	c.journal.actuations = c.journal.actuations[:0]
	c.effectBytes, c.objectBytes, c.objectPuts, c.blobMoved = 0, 0, 0, 0
	c.log = logBudget{left: int(c.grant.limits.LogBytes)}
	clear(c.written)
	c.cursors = c.cursors[:0]
	c.streams[0].reset()
	c.streams[1].reset()
	c.metrics, c.attrs = c.metrics[:0], c.attrs[:0]
	c.output = c.output[:0]
	c.failure, c.reason, c.abort = "", "", nil
	if c.journal.seeded {
		c.journal.random.Seed(c.journal.seed)
	}
	c.journal.slept = 0
	c.fetches.rewind()
}

// Effects is what the guest asked for. Its lists are valid until Reset or
// Rewind; the strings and bytes they point to are not reused and may be kept.
func (c *Calls) Effects() *function.Effects { return &c.effects }

// Metrics are the values that the guest reported.
func (c *Calls) Metrics() []Metric { return c.metrics }

// Output is the last output of the guest, valid until Reset or Rewind.
func (c *Calls) Output() []byte { return c.output }

// OutputMeta are the attributes of the output, in the order they were set.
func (c *Calls) OutputMeta() []Attribute { return c.attrs }

// Failure is the guest's last error text.
func (c *Calls) Failure() string { return c.failure }

// Grant returns what the invocation may do.
func (c *Calls) Grant() *Grant { return c.grant }

// Deadline returns the invocation's own deadline, zero for none.
func (c *Calls) Deadline() time.Time { return c.in.Deadline }

// Reason says why the last host call failed.
func (c *Calls) Reason() string { return c.reason }

// Aborted is not nil once a host call found that the invocation cannot go on;
// the sandbox then ends it.
func (c *Calls) Aborted() *Abort { return c.abort }

// refuse records why a call failed. The reason goes to the log, because the
// guest sees only the number; the same one twice in a row is logged once.
func (c *Calls) refuse(e abi.Errno, format string, args ...any) abi.Errno {
	again := c.reason
	c.reason = fmt.Sprintf(format, args...)
	if e != abi.NotFound && c.reason != again {
		c.Log(function.Warn, c.reason)
	}
	return e
}

func (c *Calls) fail(o function.Outcome, format string, args ...any) {
	if c.abort == nil {
		c.abort = &Abort{Outcome: o, Reason: fmt.Sprintf(format, args...)}
	}
}

// Enter must be called before any other host call; it refuses what
// headgate_init may not do.
func (c *Calls) Enter(call *abi.Call) {
	if c.init && !call.Init {
		c.fail(function.Failed, "%s cannot be called in %s: only log, config, error and random can, because what it does becomes part of every invocation", call.Name, abi.ExportInit)
	}
}

// Input is the event's data.
func (c *Calls) Input() []byte { return c.in.Input }

// SetOutput replaces the output. One over the limit ends the invocation.
func (c *Calls) SetOutput(b []byte) {
	if limit := int64(c.grant.limits.Output); int64(len(b)) > limit {
		c.fail(function.Failed, "output of %d bytes is over the limit of %d: raise limits.output or send less", len(b), limit)
		return
	}
	c.output = append(c.output[:0], b...)
}

// SetOutputMeta sets one attribute of the output; an empty value removes it.
func (c *Calls) SetOutputMeta(key, value []byte) abi.Errno {
	if e := c.checkName("output attribute", key); e != 0 {
		return e
	}
	if len(value) > abi.MaxOutputMetaBytes {
		return c.refuse(abi.Limit, "output attribute %s: value of %d bytes is over %d", key, len(value), abi.MaxOutputMetaBytes)
	}
	for i := range c.attrs {
		if c.attrs[i].Key == string(key) {
			if len(value) == 0 {
				c.attrs = append(c.attrs[:i], c.attrs[i+1:]...)
			} else {
				c.attrs[i].Value = string(value)
			}
			return 0
		}
	}
	if len(value) == 0 {
		return 0
	}
	if len(c.attrs) == abi.MaxOutputMeta {
		return c.refuse(abi.Limit, "output attribute %s: there are %d already", key, abi.MaxOutputMeta)
	}
	c.attrs = append(c.attrs, Attribute{string(key), string(value)})
	return 0
}

// SetFailure keeps the guest's error text, cut to 4 KiB.
func (c *Calls) SetFailure(text []byte) { c.failure = cut(c.redactBytes(text), 4096) }

// Lookup answers meta.
func (c *Calls) Lookup(key []byte) (string, abi.Errno) {
	if string(key) == abi.MetaRemaining {
		return strconv.FormatInt(c.heardRemaining(), 10), 0
	}
	if c.in.Meta != nil {
		if v, ok := c.in.Meta.Lookup(string(key)); ok {
			return v, 0
		}
	}
	return "", abi.NotFound
}

// Config answers config with the JSON of one value.
func (c *Calls) Config(key []byte) ([]byte, abi.Errno) {
	if v, ok := c.grant.config[string(key)]; ok {
		return v, 0
	}
	return nil, c.refuse(abi.NotFound, "config %s: not set in the manifest", key)
}

// ConfigKeys calls yield with every config key.
func (c *Calls) ConfigKeys(yield func(key string, value []byte)) {
	for k, v := range c.grant.config {
		yield(k, v)
	}
}

// Now is the time of the invocation. It stands still while the guest
// computes, so that a rerun sees the same, and moves while it sleeps.
func (c *Calls) Now() time.Time {
	if c.journal.now.IsZero() {
		now := c.in.Now
		if now == nil {
			now = time.Now
		}
		c.journal.now = now()
	}
	return c.journal.now.Add(c.journal.slept)
}

// Slept moves the guest's clock.
func (c *Calls) Slept(d time.Duration) { c.journal.slept += d }

// ReadRandom fills dst with unpredictable bytes: a ChaCha8 stream whose seed
// is drawn once per invocation and drawn on again by a rerun.
func (c *Calls) ReadRandom(dst []byte) {
	j := &c.journal
	if !j.seeded {
		var err error
		if c.in.Random != nil {
			_, err = io.ReadFull(c.in.Random, j.seed[:])
		} else {
			_, err = rand.Read(j.seed[:])
		}
		if err != nil {
			c.fail(function.Failed, "random: %v", err)
			return
		}
		if j.random == nil {
			j.random = mathrand.NewChaCha8(j.seed)
		} else {
			j.random.Seed(j.seed)
		}
		j.seeded = true
	}
	_, _ = j.random.Read(dst) // it never fails
}

// Metric keeps one value.
func (c *Calls) Metric(name []byte, value float64) {
	if c.checkName("metric", name) != 0 {
		return
	}
	if math.IsNaN(value) || math.IsInf(value, 0) {
		_ = c.refuse(abi.Invalid, "metric %s: %v is no number that can be shown", name, value)
		return
	}
	if len(c.metrics) == abi.MaxMetrics {
		// A metric has no answer: the refusal is in the log.
		_ = c.refuse(abi.Limit, "metric %s: %d values reported already", name, abi.MaxMetrics)
		return
	}
	c.metrics = append(c.metrics, Metric{string(name), value})
}

// Unsupported answers the calls of the ABI that this gateway does not offer.
func (c *Calls) Unsupported(call *abi.Call, name []byte) abi.Errno {
	return c.refuse(abi.Unsupported, "%s %s: this version of the gateway does not offer %s yet", call.Name, cut(name, 64), call.Name)
}

// errNoState is what a function without a state view hears.
var errNoState = errors.New("this invocation has no state")
