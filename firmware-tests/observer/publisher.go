package observer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// window is how many events of a publisher are unacknowledged at most.
const window = 16

// Publisher sends numbered events to one topic.
type Publisher struct {
	Client
	Topic string
	QoS   byte
	// Pause is between two events, where it is not as fast as it goes.
	Pause time.Duration
	// Sent counts PUBLISH packets, Redelivered those with DUP.
	Sent, Redelivered int

	mu       sync.Mutex
	next     int            // number of the next new event
	nextID   uint16         // packet id of the next new event
	inflight []*flight      // unacknowledged, in order
	release  map[uint16]int // QoS 2: PUBREC seen, PUBCOMP not yet; event number
	wake     chan struct{}
	// Numbers by acknowledgement: PUBACK, or PUBREC for QoS 2. From then on
	// the event is the gateway's.
	acknowledged map[int]bool
}

type flight struct {
	number int
	id     uint16
}

// NewPublisher makes a publisher; name is its device and its client id.
func NewPublisher(name, topic string, qos byte) *Publisher {
	return &Publisher{
		Client: Client{Name: name}, Topic: topic, QoS: qos, next: 1, nextID: 1, release: map[uint16]int{},
		acknowledged: map[int]bool{}, wake: make(chan struct{}, 1),
	}
}

// Events is how many different events it has sent: their numbers are 1 to that.
func (p *Publisher) Events() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.next - 1
}

// Acknowledged returns the numbers that the gateway has taken over.
func (p *Publisher) Acknowledged() []int {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]int, 0, len(p.acknowledged))
	for n := range p.acknowledged {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Took notes that another program has sent the next event in its name, and
// that it was acknowledged.
func (p *Publisher) Took() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acknowledged[p.next] = true
	p.next++
}

// Unacknowledged is how many events wait for an acknowledgement.
func (p *Publisher) Unacknowledged() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inflight)
}

// Run connects, redelivers and publishes until ctx ends. With settle it
// publishes nothing new and returns when nothing is unacknowledged. The
// connection stays open, for the kill to break.
func (p *Publisher) Run(ctx context.Context, address string, settle bool) {
	p.Err = p.session(ctx, address, settle)
}

func (p *Publisher) session(ctx context.Context, address string, settle bool) error {
	present, err := p.connect(ctx, address)
	if err != nil {
		return err
	}
	if !present && (len(p.inflight) > 0 || len(p.release) > 0) {
		return ErrForgotten
	}
	p.listen(p.take)
	if err := p.redeliver(); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if p.idle() && settle {
			break
		}
		if !settle && p.publishNext() {
			if p.Pause > 0 {
				time.Sleep(p.Pause)
			}
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

// redeliver sends every unacknowledged event again, in order, with DUP
// [MQTT-4.4.0-1], and every PUBREL whose PUBCOMP is missing.
func (p *Publisher) redeliver() error {
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
		p.Redelivered++
		if err := p.publish(f, true); err != nil {
			return err
		}
	}
	return nil
}

func (p *Publisher) idle() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.inflight) == 0 && len(p.release) == 0
}

// publishNext sends a new event where the window has room.
func (p *Publisher) publishNext() bool {
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

func (p *Publisher) taken(id uint16) bool {
	_, released := p.release[id]
	return released || slices.ContainsFunc(p.inflight, func(f *flight) bool { return f.id == id })
}

func (p *Publisher) publish(f *flight, dup bool) error {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	m.Qos, m.Dup, m.MessageID = p.QoS, dup, f.id
	m.TopicName = p.Topic
	m.Payload = fmt.Appendf(nil, `{"n":%d}`, f.number)
	p.Sent++
	return m.Write(p.conn)
}

func (p *Publisher) pubrel(id uint16) error {
	r := packets.NewControlPacket(packets.Pubrel).(*packets.PubrelPacket)
	r.MessageID = id
	return r.Write(p.conn)
}

// take keeps the ledger.
func (p *Publisher) take(packet packets.ControlPacket) bool {
	switch a := packet.(type) {
	case *packets.PubackPacket:
		p.settle(a.MessageID, false)
	case *packets.PubrecPacket:
		p.settle(a.MessageID, true)
		if p.pubrel(a.MessageID) != nil {
			return false
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
	return true
}

func (p *Publisher) settle(id uint16, release bool) {
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
