package dispatch

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sandbox/host"
)

// Invoker runs one invocation in a clean instance. *sandbox.Pool is one.
type Invoker interface {
	Invoke(ctx context.Context, calls *host.Calls) function.Result
}

// Router says which functions an event starts. *trigger.Table is one.
type Router interface {
	Match(m *trigger.Message, dst []trigger.Match) []trigger.Match
	// Any reports whether there is a trigger for the subject, whatever its
	// condition says.
	Any(kind trigger.Kind, subject string) bool
	// Watches reports whether a change of some key of the namespace may start
	// a function. It is asked for every write.
	Watches(namespace string) bool
}

var _ Router = (*trigger.Table)(nil)

// Outbox takes the publishes of functions to the broker's subscribers;
// functions that they start are dispatch's own matter. It must not block.
type Outbox interface {
	// Plan prepares a publish before its unit is sealed. What it returns goes
	// into the unit; nil is nothing. joins says that the unit is written in
	// any case. A plan ends with Publish, once it is Committed, or Cancel.
	Plan(p *function.Publish, joins bool) *broker.Plan
	// Publish follows the commit. Publishes of one function come in order.
	Publish(from *event.Event, functionName string, p function.Publish, plan *broker.Plan)
}

// Observer hears of every attempt. It must not block, and may keep nothing of
// the record.
type Observer interface {
	Invoked(r *Record)
}

// Recorder listens to invocations that somebody wants to run again elsewhere.
type Recorder interface {
	// Listener is what listens to the next invocation of a function version;
	// nil is nothing.
	Listener(function string, version int) Listener
}

// Listener listens to one invocation.
type Listener interface {
	// Listen returns s listened to; a rerun of the same event listens anew.
	Listen(s host.State) host.State
	// Cut ends it. It must not block, and may keep nothing of its arguments.
	Cut(ev *event.Event, meta host.Meta, calls *host.Calls, r *function.Result)
}

// Objects keeps the bytes of objects.
type Objects interface {
	// NewStage makes a place for what one event's invocations put.
	NewStage() Stage
	// MaxObject is how large an object of the bucket may be, 0 where there is no
	// such bucket.
	MaxObject(bucket string) int64
	// Room are the deletions that make room for changes. What it reads is part
	// of the view's read set.
	Room(v *store.View, changes []function.ObjectChange) ([]function.ObjectChange, error)
}

// Stage holds what one event's invocations put, until it is known what becomes
// of them. It is used by one goroutine at a time.
type Stage interface {
	// Put keeps data and returns its digest; Read reads content from offset on.
	Put(data []byte) (digest string, err error)
	Read(digest string, offset int64, p []byte) (n int, err error)
	// Place puts on disk what the changes speak of.
	Place(changes []function.ObjectChange) error
	// Release lets everything go: what a row speaks of stays.
	Release()
}

// Releaser is the publisher's side of an event. *broker.Inbound is one.
type Releaser interface {
	Release(code broker.ReasonCode)
}

// Function is a function version that can run.
type Function struct {
	Name    string
	Version int
	Pool    Invoker
	Grant   *host.Grant
	Limits  function.Limits
	Retry   function.Retry
	// OnFailure says who hears of its dead letters.
	OnFailure function.OnFailure
	// Retire, which may be nil, is called once, on a goroutine of its own,
	// when the version has been replaced or removed and its last invocation
	// has ended.
	Retire func()
}

// Config configures a Dispatcher. Zero fields take the defaults named beside
// them.
type Config struct {
	Store    *store.Store
	Router   Router
	Outbox   Outbox
	Observer Observer // may be nil
	Recorder Recorder // may be nil
	Objects  Objects  // may be nil
	// Actuators may be nil.
	Actuators Actuators
	Logger    *slog.Logger

	// SpillAfter is how long a durable event may be unsettled before it is
	// written to the queue (20 ms).
	SpillAfter time.Duration
	// RefuseAfter is how long after the disk began to refuse commits events are
	// still held for it (250 ms); then their publishers are refused.
	RefuseAfter time.Duration
	// MaxVolatile and MaxVolatileBytes bound the volatile events of one
	// function that wait (4096, 4 MiB): the oldest are dropped.
	MaxVolatile      int
	MaxVolatileBytes int64
	// MemoryBytes bounds the data of durable events that wait in memory
	// (16 MiB): beyond, they are spilled at once, and read back from disk when
	// their turn comes.
	MemoryBytes int64
	// UsageEvery is how often volatile usage is written (60 s).
	UsageEvery time.Duration
	// IdleWorkers is how long a worker without work stays (10 s).
	IdleWorkers time.Duration
	// Now is the wall clock (time.Now), and Trust how far it can be relied on
	// (unknown). Steady is the scale of ages and waits (Now), as in
	// store.Config, and Wall the wall time of one of its moments (the same).
	Now    func() time.Time
	Trust  func() event.Trust
	Steady func() time.Time
	Wall   func(steady time.Time) time.Time
}

func (c Config) withDefaults() (Config, error) {
	if c.Store == nil || c.Router == nil || c.Outbox == nil {
		return c, errors.New("dispatch needs a store, a router and an outbox")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trust == nil {
		c.Trust = func() event.Trust { return event.TimeUnknown }
	}
	if c.Steady == nil {
		c.Steady = c.Now
	}
	if c.Wall == nil {
		c.Wall = func(steady time.Time) time.Time { return steady }
	}
	c.SpillAfter = cmp.Or(c.SpillAfter, 20*time.Millisecond)
	c.RefuseAfter = cmp.Or(c.RefuseAfter, 250*time.Millisecond)
	c.MaxVolatile = cmp.Or(c.MaxVolatile, 4096)
	c.MaxVolatileBytes = cmp.Or(c.MaxVolatileBytes, 4<<20)
	c.MemoryBytes = cmp.Or(c.MemoryBytes, 16<<20)
	c.UsageEvery = cmp.Or(c.UsageEvery, time.Minute)
	c.IdleWorkers = cmp.Or(c.IdleWorkers, 10*time.Second)
	return c, nil
}

// Record is one attempt, for logs, tails and metrics.
type Record struct {
	Function string
	Version  int
	EventID  string
	// Subject is the event's: for MQTT the topic.
	Subject string
	// Attempt counts from 1.
	Attempt int
	Durable bool
	At      time.Time
	Outcome function.Outcome
	Error   string
	// Fuel is the work done, FuelLimit what was allowed.
	Fuel, FuelLimit uint64
	// Duration is the time inside the guest.
	Duration    time.Duration
	MemoryBytes uint64
	ColdStart   bool
	// Retry is when the event is tried again; zero when it is not. Dead is
	// true when it became a dead letter.
	Retry   time.Time
	Dead    bool
	Logs    []function.LogLine
	Metrics []host.Metric
	// Effects are those of the attempt; a failed one's were not applied.
	Effects *function.Effects
}

// Errors of Invoke and SetFunction.
var (
	// ErrNotDeployed is returned for a function that is not there.
	ErrNotDeployed = errors.New("function is not deployed")
	// ErrClosed is returned after Close has begun.
	ErrClosed = errors.New("dispatcher is closed")
	// ErrPaused is returned for a function that keeps failing.
	ErrPaused = errors.New("function is paused")
	// ErrBusy is returned when too much waits for a function.
	ErrBusy = errors.New("function has too much waiting")
)
