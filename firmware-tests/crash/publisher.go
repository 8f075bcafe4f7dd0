package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// window is how many events of a publisher are unacknowledged at most.
const window = 16

// publisher is one MQTT 3.1.1 client and its ledger. It is written on the
// packet level, so that what it redelivers, and when, is exactly known.
type publisher struct {
	name     string
	password string
	qos      byte
	conn     net.Conn
	readers  chan struct{} // closed when nothing reads conn any more

	mu       sync.Mutex
	next     int            // number of the next new event
	nextID   uint16         // packet id of the next new event
	inflight []*flight      // unacknowledged, in order
	release  map[uint16]int // QoS 2: PUBREC seen, PUBCOMP not yet; event number
	wake     chan struct{}
	err      error

	// The ledger. For QoS 1 an event is acknowledged by PUBACK, for QoS 2 by
	// PUBREC: from then on it is the gateway's.
	acknowledged map[int]bool
	sent         int
	redelivered  int
}

// errForgotten is a session that the gateway granted, and then did not know.
var errForgotten = errors.New("the gateway forgot its session")

type flight struct {
	number int
	id     uint16
}

func newPublisher(name string, qos byte) *publisher {
	return &publisher{
		name: name, qos: qos, next: 1, nextID: 1, release: map[uint16]int{},
		acknowledged: map[int]bool{}, wake: make(chan struct{}, 1),
	}
}

// run connects, redelivers and publishes until ctx ends. With settle it
// publishes nothing new and returns when nothing is unacknowledged. The
// connection stays open, for the kill to break.
func (p *publisher) run(ctx context.Context, address string, settle bool) {
	p.err = p.session(ctx, address, settle)
}

func (p *publisher) session(ctx context.Context, address string, settle bool) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	p.conn = conn
	present, err := p.connect(ctx)
	if err != nil {
		return err
	}
	if !present && (len(p.inflight) > 0 || len(p.release) > 0) {
		return errForgotten
	}
	p.readers = make(chan struct{})
	go func(done chan struct{}) {
		defer close(done)
		p.read(conn)
	}(p.readers)
	if err := p.redeliver(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if p.idle() && settle {
			break
		}
		if !settle && p.publishNext() {
			continue
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-p.readers:
			return errors.New("the gateway closed the connection")
		}
	}
	return nil
}

func (p *publisher) connect(ctx context.Context) (present bool, err error) {
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.Keepalive = "MQTT", 4, 60
	c.ClientIdentifier, c.CleanSession = p.name, false
	c.UsernameFlag, c.Username = true, p.name
	c.PasswordFlag, c.Password = true, []byte(p.password)
	if deadline, ok := ctx.Deadline(); ok {
		p.conn.SetDeadline(deadline.Add(time.Second))
	}
	if err := c.Write(p.conn); err != nil {
		return false, err
	}
	answer, err := packets.ReadPacket(p.conn)
	if err != nil {
		return false, err
	}
	p.conn.SetDeadline(time.Time{})
	ack, ok := answer.(*packets.ConnackPacket)
	if !ok || ack.ReturnCode != packets.Accepted {
		return false, fmt.Errorf("%s: not accepted: %v", p.name, answer)
	}
	return ack.SessionPresent, nil
}

// redeliver sends every unacknowledged event again, in order, with DUP
// [MQTT-4.4.0-1], and every PUBREL whose PUBCOMP is missing.
func (p *publisher) redeliver() error {
	p.mu.Lock()
	flights := slices.Clone(p.inflight)
	releases := make([]uint16, 0, len(p.release))
	for id := range p.release {
		releases = append(releases, id)
	}
	p.mu.Unlock()
	for _, id := range releases {
		if err := p.pubrel(id); err != nil {
			return err
		}
	}
	for _, f := range flights {
		p.redelivered++
		if err := p.publish(f, true); err != nil {
			return err
		}
	}
	return nil
}

func (p *publisher) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inflight) == 0 && len(p.release) == 0
}

// publishNext sends a new event where the window has room.
func (p *publisher) publishNext() bool {
	p.mu.Lock()
	if len(p.inflight)+len(p.release) >= window {
		p.mu.Unlock()
		return false
	}
	for p.taken(p.nextID) {
		p.nextID = p.nextID%0xffff + 1
	}
	f := &flight{number: p.next, id: p.nextID}
	p.next++
	p.nextID = p.nextID%0xffff + 1
	p.inflight = append(p.inflight, f)
	p.mu.Unlock()
	return p.publish(f, false) == nil
}

func (p *publisher) taken(id uint16) bool {
	_, released := p.release[id]
	return released || slices.ContainsFunc(p.inflight, func(f *flight) bool { return f.id == id })
}

func (p *publisher) publish(f *flight, dup bool) error {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.Qos, m.Dup, m.MessageID = p.qos, dup, f.id
	m.TopicName = "count/" + p.name
	m.Payload = fmt.Appendf(nil, `{"n":%d}`, f.number)
	p.sent++
	return m.Write(p.conn)
}

func (p *publisher) pubrel(id uint16) error {
	r := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
	r.MessageID = id
	return r.Write(p.conn)
}

// read keeps the ledger until the connection breaks.
func (p *publisher) read(conn net.Conn) {
	for {
		packet, err := packets.ReadPacket(conn)
		if err != nil {
			return
		}
		switch a := packet.(type) {
		case *packets.PubackPacket:
			p.settle(a.MessageID, false)
		case *packets.PubrecPacket:
			p.settle(a.MessageID, true)
			if p.pubrel(a.MessageID) != nil {
				return
			}
		case *packets.PubcompPacket:
			p.mu.Lock()
			delete(p.release, a.MessageID)
			p.mu.Unlock()
		}
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

func (p *publisher) settle(id uint16, release bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.inflight, func(f *flight) bool { return f.id == id })
	if i < 0 {
		return
	}
	number := p.inflight[i].number
	p.acknowledged[number] = true
	p.inflight = slices.Delete(p.inflight, i, i+1)
	if release {
		p.release[id] = number
	}
}

// disconnect ends the connection; after it nothing changes the ledger.
func (p *publisher) disconnect() {
	if p.conn == nil {
		return
	}
	p.conn.Close()
	if p.readers != nil {
		<-p.readers
	}
	p.conn, p.readers = nil, nil
}
