package host

import (
	"io"
	"time"

	"github.com/headgate-io/headgate/function"
)

// Meta answers a guest's questions about its event: the keys of package abi
// (id, source, subject, params.<name>, …).
type Meta interface {
	Lookup(key string) (value string, ok bool)
}

// TopicPolicy decides which topics a function may publish to. Its error says
// what was refused and which permission would allow it.
type TopicPolicy interface {
	MayPublish(topic string) error
}

// Invocation is what one attempt on one event brings along.
type Invocation struct {
	// Input is the event's data. It is read only until the call ends.
	Input []byte
	Meta  Meta
	// State is the function's view of stored keys; nil has none.
	State State
	// Now is the wall clock; nil is time.Now.
	Now func() time.Time
	// Random seeds the invocation's random; nil is crypto/rand.
	Random io.Reader
	// Deadline ends the invocation early; zero leaves the function's timeout
	// alone to do so.
	Deadline time.Time
}

// Metric is one value that a function reported.
type Metric struct {
	Name  string
	Value float64
}

// Attribute is one attribute of the output: an HTTP header, the content type.
type Attribute struct{ Key, Value string }

// Grant is what one function version may do, compiled once from its manifest.
// It is immutable and may serve any number of calls at once.
type Grant struct {
	name   string
	limits function.Limits
	perms  function.Permissions
	config map[string][]byte
	topics TopicPolicy
}

// NewGrant compiles the permissions of the function called name. Zero limits
// take their defaults. Nil topics denies every publish.
func NewGrant(name string, perms function.Permissions, limits function.Limits, config map[string][]byte, topics TopicPolicy) *Grant {
	return &Grant{name: name, perms: perms, limits: limits.WithDefaults(), config: config, topics: topics}
}

// Limits returns the limits with their defaults filled in.
func (g *Grant) Limits() function.Limits { return g.limits }

// Calls is the host side of one invocation. The zero value is ready for
// Reset; a Calls is used by one goroutine at a time and may be reused for any
// number of invocations.
type Calls struct {
	grant   *Grant
	in      Invocation
	effects function.Effects
	logs    []function.LogLine
	metrics []Metric
	attrs   []Attribute
	output  []byte
}

// Reset prepares c for a new invocation.
func (c *Calls) Reset(g *Grant, in Invocation) { c.grant, c.in = g, in }

// Rewind prepares a rerun of the same event against a fresh view of the
// state: what the guest did is forgotten, and now, random (and answers from
// outside) repeat as long as the guest asks for the same things in the same
// order.
func (c *Calls) Rewind(s State) { c.in.State = s }

// Effects is what the guest asked for. It is valid until Reset or Rewind;
// what it points to is not reused and may be kept.
func (c *Calls) Effects() *function.Effects { return &c.effects }

// Logs are the lines that the guest logged, its standard output and error
// included. The slice is valid until the next Reset.
func (c *Calls) Logs() []function.LogLine { return c.logs }

// Metrics are the values that the guest reported.
func (c *Calls) Metrics() []Metric { return c.metrics }

// Output is the last output of the guest, valid until Reset or Rewind.
func (c *Calls) Output() []byte { return c.output }

// OutputMeta are the attributes of the output, in the order they were set.
func (c *Calls) OutputMeta() []Attribute { return c.attrs }
