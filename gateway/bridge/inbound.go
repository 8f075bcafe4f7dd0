package bridge

import (
	"bytes"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/mqtt/broker"
)

// take brings in one message of the other broker. It waits while too many are
// on their way, and reports false when quit is closed meanwhile.
func (l *link) take(p *packets.PublishPacket, quit <-chan struct{}) bool {
	b := l.b
	b.count.received.Add(1)
	local := b.remap.local(p.TopicName)
	switch {
	case b.remap.loops(p.TopicName, local), b.deps.Window.came(b.way, local, p.Payload, l.plain):
		b.count.echoes.Add(1)
	case !b.admits(p.TopicName, local):
		b.count.denied.Add(1)
		b.log.Debug("message is not for this gateway", "topic", local)
	case p.Retain && b.cfg.Retain && b.deps.Retained != nil && known(b.deps.Retained(local), p.Payload):
		b.count.unchanged.Add(1)
	default:
		return l.bring(p, local, quit)
	}
	l.acknowledge(p)
	return true
}

// known reports whether a retained message brings nothing new.
func known(retained, payload []byte) bool { return retained != nil && bytes.Equal(retained, payload) }

// bring publishes a message; its acknowledgement follows the commit.
func (l *link) bring(p *packets.PublishPacket, local string, quit <-chan struct{}) bool {
	size := len(p.Payload)
	if !l.inbound.take(size, quit) {
		return false
	}
	m := &broker.Message{Topic: local, Payload: p.Payload, QoS: min(p.Qos, 1), Retain: p.Retain && l.b.cfg.Retain}
	l.b.deps.Resident.Publish(m, p.Retain || l.waited(p, local), func(code broker.ReasonCode) {
		l.inbound.give(size)
		if code.Failed() {
			l.b.count.refused.Add(1)
			if p.Qos > 0 {
				// It has no acknowledgement, so the other broker sends it to
				// the next connection.
				l.fail(errRefusal)
			}
			return
		}
		l.acknowledge(p)
	})
	return true
}

// waitedWithin is how long after a connection began commands to actuators are
// not followed that the session may have kept.
const waitedWithin = time.Minute

// waited reports whether a command to an actuator may have waited with the other
// broker while the gateway was away. They are asked for with QoS 0, which no
// session keeps; but a broker may hand on what an overlapping filter has kept.
func (l *link) waited(p *packets.PublishPacket, local string) bool {
	return l.present && p.Qos > 0 && commands(local) && l.b.deps.Now().Sub(l.began) < waitedWithin
}

// acknowledge answers a message of QoS 1. It never waits.
func (l *link) acknowledge(p *packets.PublishPacket) {
	if p.Qos != 1 {
		return
	}
	a := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
	a.MessageID = p.MessageID
	err := l.wire.send(a)
	if err == nil && l.wire.choked() {
		err = errUnread
	}
	if err != nil {
		l.fail(err)
	}
}

// Bounds on what comes in and is not settled yet.
const (
	maxInbound      = 128
	maxInboundBytes = 2 << 20
)

// bounded is the room for what comes in: a message always has room where there
// is none before it.
type bounded struct {
	mu       sync.Mutex // leaf
	messages int
	bytes    int
	room     chan struct{} // capacity 1: something was given back
}

func newBounded() *bounded { return &bounded{room: make(chan struct{}, 1)} }

func (b *bounded) take(size int, quit <-chan struct{}) bool {
	for {
		b.mu.Lock()
		if b.messages == 0 || b.messages < maxInbound && b.bytes+size <= maxInboundBytes {
			b.messages++
			b.bytes += size
			b.mu.Unlock()
			return true
		}
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-quit:
			return false
		}
	}
}

func (b *bounded) give(size int) {
	b.mu.Lock()
	b.messages--
	b.bytes -= size
	b.mu.Unlock()
	select {
	case b.room <- struct{}{}:
	default:
	}
}
