package bridge

import (
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// State says how a bridge is.
type State string

// The states of a bridge.
const (
	Connecting State = "connecting"
	Connected  State = "connected"
	// Waiting is after a failure, until the next attempt.
	Waiting State = "waiting"
	Stopped State = "stopped"
)

// Status is how a bridge is now.
type Status struct {
	State State
	// Since is when it became so.
	Since time.Time
	// LastError is why the last connection ended or was not made, with what to
	// do about it; LastErrorAt is when. They stay until the next.
	LastError   string
	LastErrorAt time.Time
	// NextAttempt is when it is tried again.
	NextAttempt time.Time
	// Plain is true where the other broker does not know bridges and is
	// spoken to as by any client: it sends back what it gets.
	Plain bool
	// Session is true where the other broker had kept its session.
	Session bool
	// Refused are the filters that the other broker does not grant.
	Refused []string
	// Outgoing is what waits for the other broker.
	Outgoing broker.ResidentState
	// Stats are the counters since the start.
	Stats Stats
}

// Stats count since the start. Messages are PUBLISH packets.
type Stats struct {
	Sent, Received uint64
	// Acknowledged were sent with QoS 1 and the other broker has them.
	Acknowledged uint64
	// Echoes came round and went no further, Unchanged are retained messages
	// that were known.
	Echoes, Unchanged uint64
	// Denied were for topics that the bridge may not publish to, TooLarge over
	// the bound on packets, Unmapped had no valid name on the other side,
	// Refused could not be taken by the gateway then.
	Denied, TooLarge, Unmapped, Refused uint64
	// Connections were made, Failures ended them or kept them from being made.
	Connections, Failures uint64
	// Queued, InFlight and QueuedBytes wait for the other broker; Dropped is
	// what the bounds on them cost.
	Queued, InFlight, QueuedBytes int
	Dropped                       uint64
}

// Add sums the counters of several bridges.
func (s *Stats) Add(o Stats) {
	s.Sent += o.Sent
	s.Received += o.Received
	s.Acknowledged += o.Acknowledged
	s.Echoes += o.Echoes
	s.Unchanged += o.Unchanged
	s.Denied += o.Denied
	s.TooLarge += o.TooLarge
	s.Unmapped += o.Unmapped
	s.Refused += o.Refused
	s.Connections += o.Connections
	s.Failures += o.Failures
	s.Queued += o.Queued
	s.InFlight += o.InFlight
	s.QueuedBytes += o.QueuedBytes
	s.Dropped += o.Dropped
}

type counters struct {
	sent, received, acknowledged, echoes, unchanged atomic.Uint64
	denied, tooLarge, unmapped, refused             atomic.Uint64
	connections, failures                           atomic.Uint64
}

// Name is the bridge's name.
func (b *Bridge) Name() string { return b.cfg.Name }

// Address is where the other broker is.
func (b *Bridge) Address() string { return b.cfg.Address }

// Stats returns the counters now.
func (b *Bridge) Stats() Stats {
	c, out := &b.count, b.deps.Resident.State()
	return Stats{
		Sent: c.sent.Load(), Received: c.received.Load(), Acknowledged: c.acknowledged.Load(),
		Echoes: c.echoes.Load(), Unchanged: c.unchanged.Load(), Denied: c.denied.Load(), TooLarge: c.tooLarge.Load(),
		Unmapped: c.unmapped.Load(), Refused: c.refused.Load(), Connections: c.connections.Load(), Failures: c.failures.Load(),
		Queued: out.Queued, InFlight: out.InFlight, QueuedBytes: out.Bytes, Dropped: out.Dropped,
	}
}

// Status returns how the bridge is now.
func (b *Bridge) Status() Status {
	stats, out := b.Stats(), b.deps.Resident.State()
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Stats, s.Outgoing = stats, out
	s.Refused = append([]string(nil), s.Refused...)
	return s
}

// become changes the state; change, which may be nil, changes more with it.
func (b *Bridge) become(state State, change func(*Status)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.status.State != state {
		b.status.State, b.status.Since = state, b.deps.Now()
	}
	b.status.NextAttempt = time.Time{}
	if change != nil {
		change(&b.status)
	}
}

// failed notes a failure, and logs it where it is another than the last.
func (b *Bridge) failed(err error, pause time.Duration) {
	text, now := explain(err), b.deps.Now()
	fresh := false
	b.become(Waiting, func(s *Status) {
		fresh = s.LastError != text || now.Sub(s.LastErrorAt) > time.Hour
		s.LastError, s.NextAttempt = text, now.Add(pause)
		s.LastErrorAt = now
	})
	if fresh {
		b.log.Warn("bridge is not connected", "address", b.cfg.Address, "error", text, "retry_in", pause.Round(time.Millisecond).String())
		return
	}
	b.log.Debug("bridge is not connected", "address", b.cfg.Address, "error", text)
}
