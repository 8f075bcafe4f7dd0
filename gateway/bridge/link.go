package bridge

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// link is one connection with the other broker. Its reader takes what comes in,
// its writer writes, and serve sends what goes out.
type link struct {
	b       *Bridge
	wire    *wire
	plain   bool // the other broker was not told that this is a bridge
	present bool // it had kept the session
	began   time.Time

	failure chan error // capacity 1: the first failure
	granted chan []byte

	inbound *bounded

	mu     sync.Mutex // leaf
	flight map[uint16]flight
	lastID uint16
}

// flight is a message that the other broker has not acknowledged.
type flight struct {
	seq  uint64
	sent time.Time
}

// stalledAfter is how long an acknowledgement may take.
const stalledAfter = time.Minute

func newLink(b *Bridge, nc net.Conn, plain bool) *link {
	return &link{
		b: b, wire: newWire(nc, b.cfg.MaxPacket, b.cfg.KeepAlive*3/2), plain: plain,
		began: b.deps.Now(), failure: make(chan error, 1), granted: make(chan []byte, 1), inbound: newBounded(), flight: map[uint16]flight{},
	}
}

// fail ends the link. The first reason counts.
func (l *link) fail(err error) {
	select {
	case l.failure <- err:
	default:
	}
}

// serve works until the connection or ctx ends.
func (l *link) serve(ctx context.Context) error {
	var all sync.WaitGroup
	quit, reading := make(chan struct{}), make(chan struct{})
	l.wire.answerBy = time.Time{}
	_ = l.wire.nc.SetWriteDeadline(time.Time{})
	all.Go(func() {
		if err := l.wire.write(quit); err != nil {
			l.fail(err)
		}
	})
	all.Go(func() { l.fail(l.read(reading)) })
	err := l.subscribe(ctx)
	if err == nil {
		l.b.count.connections.Add(1)
		l.b.become(Connected, func(s *Status) { s.Plain, s.Session = l.plain, l.present })
		l.b.log.Info("bridge is connected", "address", l.b.cfg.Address, "session_present", l.present, "plain", l.plain)
		l.b.deps.Resident.Begin()
		err = l.pump(ctx)
		l.b.deps.Resident.End()
	}
	if ctx.Err() != nil {
		l.goodbye()
	}
	close(reading)
	close(quit)
	// The writer has a moment for what is there; then nobody needs the socket.
	l.wire.endReading()
	all.Wait()
	_ = l.wire.nc.Close()
	return err
}

// goodbye is the end that is meant: no will, but the same words.
func (l *link) goodbye() {
	l.announce(statusOffline)
	_ = l.wire.send(packets.NewControlPacket(packets.Disconnect)) // the socket may be gone
}

// announce tells the other broker whether the gateway is there. What it says is
// retained and may be lost: it follows nothing.
func (l *link) announce(status string) {
	if l.b.cfg.StatusTopic == "" {
		return
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Retain = l.b.cfg.StatusTopic, []byte(status), true
	_ = l.wire.send(p) // it has no length that could be wrong
}

// subscribe asks for what comes in, on every connection: the answer brings what
// is retained by now.
func (l *link) subscribe(ctx context.Context) error {
	if len(l.b.cfg.In) == 0 {
		l.announce(statusOnline)
		return nil
	}
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	p.MessageID = l.nextID()
	for _, f := range l.b.cfg.In {
		qos := l.b.cfg.QoS
		if commands(l.b.remap.local(f)) {
			qos = 0 // what waited there for hours must move nothing
		}
		p.Topics, p.Qoss = append(p.Topics, f), append(p.Qoss, qos)
	}
	if err := l.wire.send(p); err != nil {
		return err
	}
	timeout := time.NewTimer(dialTimeout)
	defer timeout.Stop()
	select {
	case codes := <-l.granted:
		l.grants(codes)
	case err := <-l.failure:
		return err
	case <-timeout.C:
		return errSilent
	case <-ctx.Done():
		return ctx.Err()
	}
	l.announce(statusOnline)
	return nil
}

// grants notes which filters were refused: the rest works.
func (l *link) grants(codes []byte) {
	var refused []string
	for i, f := range l.b.cfg.In {
		if i >= len(codes) || codes[i] > 2 {
			refused = append(refused, f)
		}
	}
	l.b.become(Connecting, func(s *Status) { s.Refused = refused })
	if len(refused) > 0 {
		l.b.log.Warn("the other broker refuses filters: see its access rules", "filters", refused)
	}
}

// pump sends what goes out, and keeps the connection alive.
func (l *link) pump(ctx context.Context) error {
	tick := time.NewTicker(max(l.b.cfg.KeepAlive/2, time.Second))
	defer tick.Stop()
	for {
		for l.wire.room() {
			d, ok := l.b.deps.Resident.Take()
			if !ok {
				break
			}
			if err := l.forward(d); err != nil {
				return err
			}
		}
		select {
		case <-l.b.deps.Resident.Wake():
		case <-l.wire.drained:
		case err := <-l.failure:
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if l.stalled() {
				return errStalled
			}
			if err := l.wire.send(packets.NewControlPacket(packets.Pingreq)); err != nil {
				return err
			}
		}
	}
}

// forward sends one message. What cannot have a name on the other side is done.
func (l *link) forward(d broker.Delivery) error {
	b := l.b
	name := b.remap.remote(d.Message.Topic)
	if !valid(name) {
		b.count.unmapped.Add(1)
		l.done(d)
		return nil
	}
	if !b.deps.Window.leaves(b.way, d.Message.Topic, d.Message.Payload) {
		b.count.echoes.Add(1)
		l.done(d)
		return nil
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload = name, d.Message.Payload
	p.Retain = d.Retain && b.cfg.Retain
	if d.QoS > 0 {
		p.Qos, p.Dup = 1, d.Again
		p.MessageID = l.launch(d.Seq)
	}
	b.count.sent.Add(1)
	if fault.On(fault.ForgetSent) {
		l.done(d)
	}
	return l.wire.send(p)
}

func (l *link) done(d broker.Delivery) {
	if d.QoS > 0 {
		l.b.deps.Resident.Done(d.Seq)
	}
}

// launch gives a message a packet id. The resident never has more under way
// than there are ids.
func (l *link) launch(seq uint64) uint16 {
	id := l.nextID()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flight[id] = flight{seq, l.b.deps.Now()}
	return id
}

func (l *link) nextID() uint16 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		l.lastID++
		if _, used := l.flight[l.lastID]; !used && l.lastID != 0 {
			return l.lastID
		}
	}
}

// stalled reports whether an acknowledgement is long overdue.
func (l *link) stalled() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.b.deps.Now().Add(-stalledAfter)
	for _, f := range l.flight {
		if f.sent.Before(since) {
			return true
		}
	}
	return false
}

// read is the reader goroutine.
func (l *link) read(quit <-chan struct{}) error {
	for {
		p, err := l.wire.read()
		large := errors.Is(err, errTooLarge)
		if err != nil && !large {
			return err
		}
		switch p := p.(type) {
		case *packets.PublishPacket:
			if large {
				l.b.count.tooLarge.Add(1)
				l.acknowledge(p)
				continue
			}
			if !l.take(p, quit) {
				return nil
			}
		case *packets.PubackPacket:
			l.landed(p.MessageID)
		case *packets.SubackPacket:
			select {
			case l.granted <- slices.Clone(p.ReturnCodes):
			default: // asked once, answered twice
			}
		case *packets.PingrespPacket:
		default:
			return errors.New("the other broker sends a packet that only clients send")
		}
	}
}

// landed handles PUBACK: the message is the other broker's now.
func (l *link) landed(id uint16) {
	l.mu.Lock()
	f, ok := l.flight[id]
	delete(l.flight, id)
	l.mu.Unlock()
	if ok {
		l.b.count.acknowledged.Add(1)
		l.b.deps.Resident.Done(f.seq)
	}
}
