package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// client is one MQTT 3.1.1 connection.
type client struct {
	net.Conn
	in *bufio.Reader
	mu sync.Mutex
	id uint16
	// got is called for every message, by the goroutine of listen.
	got   func(*packets.PublishPacket)
	acks  chan uint16 // PUBACK, SUBACK
	ended chan struct{}
}

// connect opens a clean session and reads from it until it ends.
func connect(ctx context.Context, address, name string, got func(*packets.PublishPacket)) (*client, error) {
	conn, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	c := &client{Conn: conn, in: bufio.NewReaderSize(conn, 2048), got: got, acks: make(chan uint16, 64), ended: make(chan struct{})}
	p := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	p.ProtocolName, p.ProtocolVersion, p.ClientIdentifier, p.CleanSession, p.Keepalive = "MQTT", 4, name, true, 300
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := p.Write(conn); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	answer, err := packets.ReadPacket(c.in)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: connect: %w", name, err), conn.Close())
	}
	if a, ok := answer.(*packets.ConnackPacket); !ok || a.ReturnCode != packets.Accepted {
		return nil, errors.Join(fmt.Errorf("%s: not accepted: %v", name, answer), conn.Close())
	}
	_ = conn.SetDeadline(time.Time{})
	go c.listen()
	return c, nil
}

func (c *client) listen() {
	defer close(c.ended)
	for {
		packet, err := packets.ReadPacket(c.in)
		if err != nil {
			return
		}
		switch p := packet.(type) {
		case *packets.PublishPacket:
			if p.Qos == 1 {
				ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
				ack.MessageID = p.MessageID
				if c.write(ack) != nil {
					return
				}
			}
			if c.got != nil {
				c.got(p)
			}
		case *packets.PubackPacket:
			c.acks <- p.MessageID
		case *packets.SubackPacket:
			c.acks <- p.MessageID
		}
	}
}

func (c *client) write(p packets.ControlPacket) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.Write(c.Conn)
}

// await waits for one acknowledgement.
func (c *client) await(ctx context.Context) error {
	select {
	case <-c.acks:
		return nil
	case <-c.ended:
		return errors.New("the gateway closed the connection")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *client) subscribe(ctx context.Context, qos byte, filters ...string) error {
	s := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	s.MessageID, s.Topics = 1, filters
	for range filters {
		s.Qoss = append(s.Qoss, qos)
	}
	if err := c.write(s); err != nil {
		return err
	}
	return c.await(ctx)
}

// send publishes without waiting.
func (c *client) send(topic string, payload []byte, qos byte, retain bool) error {
	m := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	c.id = c.id%0xffff + 1
	m.Qos, m.MessageID, m.TopicName, m.Payload, m.Retain = qos, c.id, topic, payload, retain
	return c.write(m)
}

// publish sends at QoS 1 and waits for the acknowledgement.
func (c *client) publish(ctx context.Context, topic string, payload []byte, retain bool) error {
	if err := c.send(topic, payload, 1, retain); err != nil {
		return err
	}
	return c.await(ctx)
}

// each runs fn for 0 to n-1, some at a time, and joins the errors of the first
// few.
func each(n, together int, fn func(i int) error) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	slots := make(chan struct{}, together)
	for i := range n {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := fn(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				if len(errs) < 3 {
					errs = append(errs, err)
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
