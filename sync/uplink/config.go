package uplink

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"log/slog"
	"time"

	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// Outbox is where usage waits for the controller.
type Outbox interface {
	// UsageHeld returns what there is of each stream.
	UsageHeld(ctx context.Context) ([]usage.Held, error)
	// UsageBatches returns batches, unsigned, the oldest first, after the one
	// with this epoch and number.
	UsageBatches(ctx context.Context, epoch, seq uint64, limit int) ([]usage.Batch, error)
	// UsageAcknowledged drops the batches of a stream up to seq.
	UsageAcknowledged(stream usage.Stream, seq uint64)
	// SealUsage makes batches of what was metered until now, and returns how many
	// there are.
	SealUsage(ctx context.Context) (int64, error)
}

// Telemetry is what a gateway's owner chose to have sent of its messages.
type Telemetry interface {
	// Next is what there is to send, with what was sent and not taken; nil is
	// nothing new.
	Next() *wire.Telemetry
	// Taken says that the controller has a message and all before it.
	Taken(start, seq uint64)
}

// Memory keeps facts across restarts.
type Memory interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Credentials are what a gateway shows to the broker and signs with.
type Credentials struct {
	// Gateway is the id that the controller gave.
	Gateway string
	// Addresses are those of the broker, ssl://host:port.
	Addresses []string
	// TLS is for a connection with host.
	TLS func(host string) *tls.Config
	Key *ecdsa.PrivateKey
}

// Config configures an Uplink. Zero fields take the defaults named beside them.
type Config struct {
	Outbox Outbox
	// Credentials are asked for at every connection.
	Credentials func() (Credentials, error)
	// Version and Arch are those of the gateway's binary.
	Version, Arch string
	// Interval is how often usage is sealed and sent (15 min; 1 h metered).
	Interval time.Duration
	// Metered is a link whose bytes cost: less often, and a longer keep alive.
	Metered bool
	// KeepAlive is how often, at the least, the broker hears of the gateway
	// (60 s; 20 min metered).
	KeepAlive time.Duration
	// BytesPerDay bounds what the link carries in a day of UTC, counted in IP
	// bytes; 0 is no bound. Usage stops at all of it, what is less urgent before
	// that, in this order: telemetry, health, answers, reports. All go on the
	// next day.
	BytesPerDay uint64
	// Window is how many batches may be on their way (8).
	Window int
	// AnswerWithin is how long the controller may take for an answer (1 min).
	AnswerWithin time.Duration
	// Retry bounds the wait between two attempts to connect (1 s to 5 min).
	RetryMin, RetryMax time.Duration

	// Flush brings what is metered in memory to the outbox's store; it may be
	// nil. Health describes the gateway. Time is told the controller's time.
	Flush  func()
	Health func() wire.Health
	Time   func(time.Time)

	// Revision is the desired state that the gateway follows, as every hello
	// says. Desired is handed what the controller wants; it must not wait.
	Revision func() uint64
	Desired  func(*wire.Desired)
	// Reported describes the gateway at the controller's side; its Start and Seq
	// are filled in. It goes after every welcome, with health and, soon, after
	// Report. RepeatReport is how long one that did not change, but for counts, may
	// be left out with health (never; 6 h metered).
	Reported     func() *wire.Reported
	RepeatReport time.Duration
	// Answer answers a question, one at a time; its ctx ends when nobody waits any
	// more.
	Answer func(ctx context.Context, ask *wire.Ask) *wire.Answer
	// Telemetry goes every TelemetryInterval (15 min; 1 h metered).
	Telemetry         Telemetry
	TelemetryInterval time.Duration
	// Start tells one run of the process from another (a random number).
	Start uint64
	// Memory keeps what the link has carried today; nil forgets it.
	Memory Memory

	// Now and Trust are the gateway's clock (time.Now, 2).
	Now    func() time.Time
	Trust  func() int
	Logger *slog.Logger
}

func (c Config) withDefaults() Config {
	interval, keepAlive := 15*time.Minute, time.Minute
	if c.Metered {
		interval, keepAlive = time.Hour, 20*time.Minute
	}
	if c.Metered {
		c.RepeatReport = cmp.Or(c.RepeatReport, 6*time.Hour)
	}
	c.Interval = cmp.Or(c.Interval, interval)
	c.TelemetryInterval = cmp.Or(c.TelemetryInterval, interval)
	c.KeepAlive = cmp.Or(c.KeepAlive, keepAlive)
	c.Window = cmp.Or(c.Window, 8)
	c.AnswerWithin = cmp.Or(c.AnswerWithin, time.Minute)
	c.RetryMin = cmp.Or(c.RetryMin, time.Second)
	c.RetryMax = cmp.Or(c.RetryMax, 5*time.Minute)
	if c.Flush == nil {
		c.Flush = func() {}
	}
	if c.Time == nil {
		c.Time = func(time.Time) {}
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Trust == nil {
		c.Trust = func() int { return 2 }
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
