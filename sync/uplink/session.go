package uplink

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/internal/answered"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// dialTimeout is for everything up to the CONNACK.
const dialTimeout = 30 * time.Second

// inboxSize is how many messages of the controller may wait.
const inboxSize = 64

// session is one connection.
type session struct {
	u      *Uplink
	who    Credentials
	client mqtt.Client
	inbox  chan []byte
	lost   chan error // capacity 1

	number uint64 // of this connection, to know its welcome
	// welcome is true once the controller has answered; answerBy is when an
	// answer is overdue, zero when none is.
	welcome  bool
	answerBy time.Time
	// cursor is the last batch that was sent; flight are those that are not
	// acknowledged, in the order of sending.
	cursor place
	flight []place
	// acked is what the controller has of each stream; the outbox may have it
	// for a moment longer.
	acked map[usage.Stream]uint64

	// ahead is how far the controller's clock is ahead of the gateway's.
	ahead   time.Duration
	asks    chan question
	answers chan *wire.Answer
}

// place is a batch: its epoch and number.
type place struct{ epoch, seq uint64 }

var (
	errSilent = errors.New("the controller does not answer")
	errRoute  = errors.New("the broker does not let the gateway speak or listen: see its access rules")
)

// connection works on one connection until it ends. welcome says that the
// controller was reached.
func (u *Uplink) connection(ctx context.Context, attempt int, sealed <-chan struct{}) (welcome bool, err error) {
	who, err := u.cfg.Credentials()
	if err != nil {
		return false, err
	}
	if len(who.Addresses) == 0 {
		return false, errors.New("the controller named no broker")
	}
	address := who.Addresses[attempt%len(who.Addresses)]
	s := &session{
		u: u, who: who, inbox: make(chan []byte, inboxSize), lost: make(chan error, 1), acked: map[usage.Stream]uint64{},
		number: u.nextNumber(ctx), asks: make(chan question, maxAsks), answers: make(chan *wire.Answer),
	}
	if err := s.connect(ctx, address); err != nil {
		return false, fmt.Errorf("connect to %s: %w", address, err)
	}
	defer s.client.Disconnect(uint(time.Second / time.Millisecond / 4))
	u.count(func(st *Stats) { st.Connections++ })
	ctx, cancel := context.WithCancel(ctx)
	var answering sync.WaitGroup
	answering.Go(func() { s.answerAll(ctx) })
	err = s.serve(ctx, address, sealed)
	cancel()
	answering.Wait()
	return s.welcome, err
}

func (s *session) connect(ctx context.Context, address string) error {
	o := mqtt.NewClientOptions().AddBroker(address).SetClientID(s.who.Gateway).SetCleanSession(true).SetAutoReconnect(false).
		SetConnectRetry(false).SetProtocolVersion(4).SetKeepAlive(s.u.cfg.KeepAlive).SetPingTimeout(s.u.cfg.AnswerWithin).
		SetConnectTimeout(dialTimeout).SetWriteTimeout(dialTimeout).SetOrderMatters(true)
	o.SetCustomOpenConnectionFn(func(u *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return s.open(ctx, u) })
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		select {
		case s.lost <- err:
		default:
		}
	})
	s.client = mqtt.NewClient(o)
	if err := answered.Within(ctx, s.client.Connect(), dialTimeout); err != nil {
		s.client.Disconnect(0)
		return err
	}
	topic := wire.DownTopic(s.who.Gateway)
	t, _ := s.client.Subscribe(topic, 1, s.take).(*mqtt.SubscribeToken)
	err := answered.Within(ctx, t, dialTimeout)
	if err == nil && t.Result()[topic] > 1 {
		err = errRoute
	}
	if err != nil {
		s.client.Disconnect(0)
	}
	return err
}

// take is paho's handler: it must not wait.
func (s *session) take(_ mqtt.Client, m mqtt.Message) {
	select {
	case s.inbox <- m.Payload():
	default: // what it said will be said again
		s.u.count(func(st *Stats) { st.Dropped++ })
	}
}

// open opens the socket, counted, and completes TLS.
func (s *session) open(ctx context.Context, u *url.URL) (net.Conn, error) {
	if u.Scheme != "ssl" {
		return nil, fmt.Errorf("%s is not ssl://host:port", u)
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	nc, err := new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return nil, err
	}
	s.u.meter.add(connectionBytes)
	secured := tls.Client(&counted{nc, s.u.meter}, s.who.TLS(u.Hostname()))
	if err := secured.HandshakeContext(ctx); err != nil {
		nc.Close()
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return secured, nil
}

// serve says hello and then sends and hears until something fails.
func (s *session) serve(ctx context.Context, address string, sealed <-chan struct{}) error {
	if err := s.hello(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(max(s.u.cfg.AnswerWithin/4, 10*time.Millisecond))
	defer tick.Stop()
	telemetry := time.NewTimer(s.u.telemetryDue())
	defer telemetry.Stop()
	var report <-chan time.Time // while one is due
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-s.lost:
			return err
		case b := <-s.inbox:
			if err := s.hear(ctx, address, b); err != nil {
				return err
			}
		case <-sealed:
			if err := s.drain(ctx); err != nil {
				return err
			}
			s.report(ctx, false)
			s.health(ctx)
		case <-s.u.report:
			if report == nil {
				report = time.After(reportDelay)
			}
		case <-report:
			report = nil
			s.report(ctx, true)
		case a := <-s.answers:
			s.answer(a)
		case <-telemetry.C:
			s.telemetry(ctx)
			telemetry.Reset(s.u.telemetryDue())
		case <-tick.C:
			s.u.save(ctx, false)
			if err := s.overdue(ctx); err != nil {
				return err
			}
		}
	}
}

// overdue asks once more when an answer to batches is, and gives up when one to
// a hello is.
func (s *session) overdue(ctx context.Context) error {
	if s.answerBy.IsZero() || time.Now().Before(s.answerBy) {
		return nil
	}
	s.u.count(func(st *Stats) { st.Unanswered++ })
	if !s.welcome || len(s.flight) == 0 {
		return errSilent
	}
	s.flight = nil
	return s.hello(ctx)
}

func (s *session) expect() { s.answerBy = time.Now().Add(s.u.cfg.AnswerWithin) }

func (s *session) send(ctx context.Context, message any) error {
	b, err := s.u.codec.Encode(message)
	if err != nil {
		return err
	}
	return answered.Within(ctx, s.client.Publish(wire.UpTopic(s.who.Gateway), 1, false, b), s.u.cfg.AnswerWithin)
}

// hello says what there is. What is not acknowledged by the answer is sent again.
func (s *session) hello(ctx context.Context) error {
	held, err := s.u.cfg.Outbox.UsageHeld(ctx)
	if err != nil {
		return err
	}
	m := &wire.Hello{
		Version: s.u.cfg.Version, Arch: s.u.cfg.Arch, Time: s.u.cfg.Now().UnixMicro(), Trust: s.u.cfg.Trust(), Session: s.number,
	}
	if s.u.cfg.Revision != nil {
		m.Revision = s.u.cfg.Revision()
	}
	for _, h := range held {
		if h.Gateway == s.who.Gateway {
			m.Streams = append(m.Streams, wire.Held{Stream: wire.StreamOf(h.Stream), First: h.First, Next: h.Next})
		}
	}
	s.cursor, s.flight = place{}, nil
	s.expect()
	return s.send(ctx, m)
}

func (s *session) hear(ctx context.Context, address string, b []byte) error {
	m, err := s.u.codec.Decode(b)
	if err != nil {
		s.u.count(func(st *Stats) { st.Unread++ })
		s.u.cfg.Logger.Warn("a message of the controller cannot be read", "error", err)
		return nil
	}
	switch m := m.(type) {
	case *wire.Welcome:
		if m.Session != s.number {
			return nil // for an earlier connection
		}
		s.ahead = time.UnixMicro(m.Time).Sub(s.u.cfg.Now())
		if !s.welcome {
			s.welcome = true
			s.u.Report()
			s.u.became(func(st *Status) { st.Connected, st.Address, st.Since, st.LastError = true, address, s.u.cfg.Now(), "" })
			s.u.cfg.Logger.Info("connected with the controller", "address", address, "gateway", s.who.Gateway)
		}
		s.answerBy = time.Time{}
		s.u.cfg.Time(time.UnixMicro(m.Time))
		s.marks(m.Marks)
	case *wire.Ack:
		s.marks(m.Marks)
		s.refused(m.Refused)
	default:
		s.wanted(m)
		return nil
	}
	if !s.welcome {
		return nil
	}
	return s.drain(ctx)
}

// marks takes what the controller has.
func (s *session) marks(marks []wire.Mark) {
	for _, m := range marks {
		stream := m.Of(s.who.Gateway)
		if m.UpTo > 0 {
			s.u.cfg.Outbox.UsageAcknowledged(stream, m.UpTo)
		}
		s.acked[stream] = max(s.acked[stream], m.UpTo)
		left := s.flight[:0]
		for _, p := range s.flight {
			if p.epoch != m.Epoch || p.seq > m.UpTo {
				left = append(left, p)
			}
		}
		if len(left) < len(s.flight) {
			s.u.count(func(st *Stats) { st.Acknowledged++ })
			s.u.became(func(st *Status) { st.LastAcknowledged = s.u.cfg.Now() })
			s.expect()
		}
		s.flight = left
	}
	if len(s.flight) == 0 && s.welcome {
		s.answerBy = time.Time{}
	}
}

// refused notes what the controller will not take. It stays in the outbox, and
// is sent again on the next connection: somebody may have mended it by then.
func (s *session) refused(list []wire.Refusal) {
	for _, r := range list {
		s.u.count(func(st *Stats) { st.Refused++ })
		text := fmt.Sprintf("the controller refuses batch %d of epoch %d: %s", r.Seq, r.Epoch, r.Reason)
		s.u.became(func(st *Status) { st.LastError, st.LastErrorAt = text, s.u.cfg.Now() })
		s.u.cfg.Logger.Error("the controller refuses usage", "epoch", r.Epoch, "batch", r.Seq, "reason", r.Reason)
		left := s.flight[:0]
		for _, p := range s.flight {
			if p != (place{r.Epoch, r.Seq}) {
				left = append(left, p)
			}
		}
		s.flight = left
	}
}

// drain sends what fits into the window.
func (s *session) drain(ctx context.Context) error {
	if !s.welcome {
		return nil
	}
	for len(s.flight) < s.u.cfg.Window {
		list, err := s.u.cfg.Outbox.UsageBatches(ctx, s.cursor.epoch, s.cursor.seq, s.u.cfg.Window-len(s.flight))
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return nil
		}
		for i := range list {
			b := &list[i]
			if b.Gateway == s.who.Gateway && b.Seq > s.acked[b.Stream] {
				if !s.u.affords(1, 0) {
					return nil
				}
				if err := s.sendBatch(ctx, b); err != nil {
					return err
				}
			}
			s.cursor = place{b.Epoch, b.Seq}
		}
	}
	return nil
}

func (s *session) sendBatch(ctx context.Context, b *usage.Batch) error {
	if err := b.Sign(s.who.Key); err != nil {
		return err
	}
	if len(s.flight) == 0 {
		s.expect()
	}
	s.flight = append(s.flight, place{b.Epoch, b.Seq})
	s.u.count(func(st *Stats) { st.BatchesSent++ })
	return s.send(ctx, wire.UsageOf(b))
}
