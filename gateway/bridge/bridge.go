// Package bridge connects the gateway's broker with another one, both ways.
//
// What goes out is a resident session of the own broker: it is on disk before
// its publisher is acknowledged, waits as long as the other side is away, and
// leaves the disk when the other broker has acknowledged it. What comes in is
// acknowledged to the other broker once it is committed or on disk here. A
// connection lives from one to the next failure of either side; then everything
// that was under way is sent again by whoever has it.
package bridge

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// Resident is the bridge's session with the own broker.
type Resident interface {
	Begin()
	End()
	Wake() <-chan struct{}
	Take() (broker.Delivery, bool)
	Done(seq uint64)
	Publish(m *broker.Message, stored bool, done func(broker.ReasonCode))
	State() broker.ResidentState
}

var _ Resident = (*broker.Resident)(nil)

// Config is one bridge.
type Config struct {
	Name string
	// Address is host:port of the other broker.
	Address string
	// TLS makes the client's side of TLS; nil is plain TCP. It is asked anew
	// for every connection, as Password is.
	TLS      func() (*tls.Config, error)
	Username string
	Password func() (string, error)
	ClientID string
	// In are filters of the other broker's topics, Out those that the resident
	// subscribes to, by the gateway's names.
	In, Out []string
	Remap   []Remap
	// QoS is the most that is asked for and sent: 0 or 1.
	QoS byte
	// Retain hands the RETAIN flag on, both ways.
	Retain bool
	// StatusTopic is where the other broker is told whether the gateway is
	// there: online and offline, retained. Empty is nowhere.
	StatusTopic string
	KeepAlive   time.Duration
	// MaxPacket bounds one packet from the other broker.
	MaxPacket int
	// Plain keeps from telling the other broker that this is a bridge.
	Plain bool
}

// Deps are what a bridge works with.
type Deps struct {
	Resident Resident
	Window   *Window
	// Retained is what the own broker retains for a topic, nil for nothing.
	Retained func(topic string) []byte
	// Own reports whether an address is one that the gateway itself listens on.
	Own    func(net.Addr) bool
	Logger *slog.Logger
	Now    func() time.Time
}

// Bridge is one bridge. Run works; Status and Stats may be called from any
// goroutine.
type Bridge struct {
	cfg   Config
	deps  Deps
	remap remaps
	way   string
	log   *slog.Logger
	count counters

	mu     sync.Mutex // leaf; guards what follows
	status Status
}

// New makes a bridge that does not run yet.
func New(cfg Config, deps Deps) *Bridge {
	return &Bridge{
		cfg: cfg, deps: deps, remap: cfg.Remap, way: User(cfg.Name), log: deps.Logger.With("bridge", cfg.Name),
		status: Status{State: Connecting, Since: deps.Now()},
	}
}

// UserPrefix begins the names by which bridges publish. No device has a colon
// in its name.
const UserPrefix = "bridge:"

// User is who a bridge is among the broker's clients.
func User(name string) string { return UserPrefix + name }

// Waits between attempts: they double from the first to the longest. A
// connection that lived for steady starts over.
const (
	firstWait   = time.Second
	longestWait = time.Minute
	steady      = 30 * time.Second
)

// Run keeps the bridge connected until ctx ends.
func (b *Bridge) Run(ctx context.Context) {
	wait, plain := firstWait, b.cfg.Plain
	for {
		began := b.deps.Now()
		err := b.connect(ctx, plain)
		if ctx.Err() != nil {
			b.become(Stopped, nil)
			return
		}
		b.count.failures.Add(1)
		var refused *protocolError
		if errors.As(err, &refused) && !b.cfg.Plain {
			// Not every broker knows the mark of a bridge; the next attempt is
			// the other way, at once where this was the first of its kind.
			plain = !plain
			if plain && wait == firstWait {
				b.log.Debug("the other broker does not know bridges: going on as a plain client", "error", err)
				continue
			}
		}
		if b.deps.Now().Sub(began) >= steady {
			wait = firstWait
		}
		pause := wait/2 + rand.N(wait/2)
		b.failed(err, pause)
		if !sleep(ctx, pause) {
			b.become(Stopped, nil)
			return
		}
		wait = min(2*wait, longestWait)
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// connect is one connection, from the dial to its end.
func (b *Bridge) connect(ctx context.Context, plain bool) error {
	b.become(Connecting, nil)
	l, err := b.dial(ctx, plain)
	if err != nil {
		return err
	}
	return l.serve(ctx)
}
