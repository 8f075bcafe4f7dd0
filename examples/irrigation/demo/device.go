package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// device is one MQTT client with credentials of its own.
type device struct {
	client paho.Client
	topic  string
	// sent and acknowledged count what it published at QoS 1; the difference
	// at the end is what the gateway still owed it.
	sent, acknowledged atomic.Int64
}

func connectDevice(ctx context.Context, g *gateway, name string, publish, subscribe []string, command func([]byte)) (*device, error) {
	password, err := g.AddDevice(ctx, name, publish, subscribe)
	if err != nil {
		return nil, err
	}
	d := &device{}
	if len(publish) > 0 {
		d.topic = publish[0]
	}
	d.client = paho.NewClient(paho.NewClientOptions().
		AddBroker("tcp://" + g.Address).SetClientID(name).SetUsername(name).SetPassword(password).
		SetConnectTimeout(10 * time.Second).SetCleanSession(false))
	if err := wait(d.client.Connect()); err != nil {
		return nil, fmt.Errorf("connect %s: %w", name, err)
	}
	for _, filter := range subscribe {
		token := d.client.Subscribe(filter, 1, func(_ paho.Client, m paho.Message) { command(m.Payload()) })
		if err := wait(token); err != nil {
			return nil, fmt.Errorf("%s: subscribe to %s: %w", name, filter, err)
		}
	}
	return d, nil
}

func wait(t paho.Token) error {
	if !t.WaitTimeout(10 * time.Second) {
		return context.DeadlineExceeded
	}
	return t.Error()
}

func (d *device) publish(payload string) {
	d.sent.Add(1)
	token := d.client.Publish(d.topic, 1, false, payload)
	go func() {
		if wait(token) == nil {
			d.acknowledged.Add(1)
		}
	}()
}

// owed is how many of its messages the gateway has not acknowledged.
func (d *device) owed() int64 { return d.sent.Load() - d.acknowledged.Load() }

func (d *device) close() { d.client.Disconnect(100) }

// command is what a valve does with a message: it opens for the lease it was
// given and closes by itself.
func (f *farm) command(p *plot, payload []byte) {
	var c struct {
		Open  bool
		Lease float64
	}
	if err := json.Unmarshal(payload, &c); err != nil {
		return // a real valve ignores what it does not understand
	}
	now := f.clock()
	p.mu.Lock()
	defer p.mu.Unlock()
	lease := time.Duration(0)
	if c.Open {
		lease = time.Duration(c.Lease * float64(time.Second))
	}
	p.field.Valve.OpenFor(now, lease)
}
