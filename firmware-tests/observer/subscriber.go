package observer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Subscriber holds a durable session and is mostly away.
type Subscriber struct {
	Client
	Filters []string
	QoS     byte
	// Forgets is true for one that keeps no ledger.
	Forgets bool

	subscribed bool

	mu sync.Mutex
	// open are the ids of QoS 2 messages between PUBREC and PUBREL: the
	// client's half of [MQTT-4.3.3].
	open map[uint16]bool
	// got is, by topic, what was delivered.
	got map[string]*Received
	// last is when the last packet came.
	last time.Time
}

// Received is what a subscriber got on one topic.
type Received struct {
	// Times is how often each number was delivered, as the application sees
	// it: a QoS 2 packet that repeats an open id is not a delivery.
	Times map[int]int
	// Disorder counts numbers that came for the first time after a greater
	// one.
	Disorder int
	Highest  int
}

// NewSubscriber makes a subscriber; name is its device and its client id.
func NewSubscriber(name string, qos byte, filters ...string) *Subscriber {
	return &Subscriber{
		Client: Client{Name: name}, QoS: qos, Filters: filters, open: map[uint16]bool{}, got: map[string]*Received{},
	}
}

// Connect opens the session, and subscribes when it is new.
func (s *Subscriber) Connect(ctx context.Context, address string) error {
	present, err := s.connect(ctx, address)
	if err != nil {
		return err
	}
	if !present && s.subscribed {
		return ErrForgotten
	}
	granted := make(chan error, 1)
	s.listen(func(p packets.ControlPacket) bool { return s.take(p, granted) })
	if s.subscribed {
		return nil
	}
	if err := s.subscribe(); err != nil {
		return err
	}
	select {
	case err := <-granted:
		s.subscribed = err == nil
		return err
	case <-s.readers:
		return errors.New("the gateway closed the connection")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// ConnectSilently subscribes and from then on reads nothing.
func (s *Subscriber) ConnectSilently(ctx context.Context, address string) error {
	if _, err := s.connect(ctx, address); err != nil {
		return err
	}
	return s.subscribe()
}

func (s *Subscriber) subscribe() error {
	sub := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	sub.MessageID, sub.Topics = 1, s.Filters
	for range s.Filters {
		sub.Qoss = append(sub.Qoss, s.QoS)
	}
	return sub.Write(s.conn)
}

func (s *Subscriber) take(packet packets.ControlPacket, granted chan<- error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = time.Now()
	var answer packets.ControlPacket
	switch p := packet.(type) {
	case *packets.SubackPacket:
		var err error
		for i, code := range p.ReturnCodes {
			if code != s.QoS {
				err = fmt.Errorf("%s: filter %s was granted 0x%02x", s.Name, s.Filters[i], code)
			}
		}
		granted <- err
		return true
	case *packets.PublishPacket:
		if p.Qos < 2 || !s.open[p.MessageID] {
			s.note(p)
		}
		switch p.Qos {
		case 0:
			return true
		case 1:
			ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
			ack.MessageID = p.MessageID
			answer = ack
		default:
			s.open[p.MessageID] = true
			rec := packets.NewControlPacket(packets.Pubrec).(*packets.PubrecPacket)
			rec.MessageID = p.MessageID
			answer = rec
		}
	case *packets.PubrelPacket:
		delete(s.open, p.MessageID)
		comp := packets.NewControlPacket(packets.Pubcomp).(*packets.PubcompPacket)
		comp.MessageID = p.MessageID
		answer = comp
	default:
		return true
	}
	return answer.Write(s.conn) == nil
}

func (s *Subscriber) note(p *packets.PublishPacket) {
	if s.Forgets {
		return
	}
	var body struct{ N int }
	if json.Unmarshal(p.Payload, &body) != nil {
		return
	}
	r := s.got[p.TopicName]
	if r == nil {
		r = &Received{Times: map[int]int{}}
		s.got[p.TopicName] = r
	}
	if r.Times[body.N]++; r.Times[body.N] == 1 {
		if body.N < r.Highest {
			r.Disorder++
		}
		r.Highest = max(r.Highest, body.N)
	}
}

// Quiet waits until nothing has come for a while, or ctx ends.
func (s *Subscriber) Quiet(ctx context.Context, silence time.Duration) {
	began := time.Now()
	for ctx.Err() == nil {
		s.mu.Lock()
		last := s.last
		s.mu.Unlock()
		if last.Before(began) {
			last = began
		}
		if time.Since(last) >= silence {
			return
		}
		time.Sleep(silence / 10)
	}
}

// distinct is how many numbers came on a topic.
func (s *Subscriber) distinct(topic string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.got[topic]; r != nil {
		return len(r.Times)
	}
	return 0
}

// Received returns a copy of the ledger, by topic.
func (s *Subscriber) Received() map[string]Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]Received, len(s.got))
	for topic, r := range s.got {
		c := *r
		c.Times = maps.Clone(r.Times)
		out[topic] = c
	}
	return out
}
