package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/observer"
	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// load is what works on the gateway, and what misbehaves.
type load struct {
	judge observer.Judge
	subs  []*observer.Subscriber
	wg    sync.WaitGroup

	garbage, halfOpen, bursts, deploys, devices, silent atomic.Int64
}

const (
	steady = 4 // publishers that never stop
	bursty = 4 // publishers that come at once, publish and go
)

func newLoad(ctx context.Context, g *rig.Gateway) (*load, error) {
	l := &load{judge: observer.Judge{Gateway: g, Refusals: true, Alone: true}}
	var err error
	if l.judge.Publishers, err = observer.AddPublishers(ctx, g, steady+bursty); err != nil {
		return nil, err
	}
	for i, p := range l.judge.Publishers {
		// Less than the functions can do, bursts included: a backlog that
		// grows is no leak.
		p.Pause = 25 * time.Millisecond
		if i >= steady {
			p.Pause = 2 * time.Millisecond
		}
	}
	for i := range 3 {
		s := observer.NewSubscriber(fmt.Sprintf("sub-%d", i), byte(i%3), "count/+", "out/+")
		s.Forgets = true
		if s.Password, err = g.AddDevice(ctx, s.Name, nil, s.Filters); err != nil {
			return nil, err
		}
		l.subs = append(l.subs, s)
	}
	return l, observer.DeployAlone(ctx, g)
}

func (l *load) start(ctx context.Context) {
	for i, p := range l.judge.Publishers {
		if i < steady {
			l.every(ctx, 20*time.Millisecond, func() { p.Run(ctx, l.judge.Gateway.Address, false); p.Disconnect() })
			continue
		}
		l.every(ctx, 3*time.Second, func() {
			burst, stop := context.WithTimeout(ctx, 300*time.Millisecond)
			defer stop()
			p.Run(burst, l.judge.Gateway.Address, false)
			p.Disconnect()
			l.bursts.Add(1)
		})
	}
	for _, s := range l.subs {
		l.every(ctx, 500*time.Millisecond, func() {
			if s.Connect(ctx, l.judge.Gateway.Address) == nil {
				s.Quiet(ctx, time.Duration(100+rand.IntN(900))*time.Millisecond)
			}
			s.Disconnect()
		})
	}
	l.every(ctx, 50*time.Millisecond, func() { l.sendGarbage(ctx) })
	l.every(ctx, 100*time.Millisecond, func() { l.holdOpen(ctx) })
	l.every(ctx, 5*time.Second, func() {
		if observer.Redeploy(ctx, l.judge.Gateway, int(l.deploys.Load())) == nil {
			l.deploys.Add(1)
		}
	})
	l.every(ctx, time.Second, func() { l.changeDevices(ctx) })
	l.every(ctx, time.Second, func() { l.readNothing(ctx) })
}

// every calls fn again and again, with a pause between, until ctx ends.
func (l *load) every(ctx context.Context, pause time.Duration, fn func()) {
	l.wg.Go(func() {
		for ctx.Err() == nil {
			fn()
			select {
			case <-ctx.Done():
			case <-time.After(pause):
			}
		}
	})
}

func (l *load) wait() { l.wg.Wait() }

func (l *load) faults() string {
	return fmt.Sprintf("%d bursts, %d senders of garbage, %d half-open connections, %d silent readers, %d deploys, %d devices added and removed",
		l.bursts.Load(), l.garbage.Load(), l.halfOpen.Load(), l.silent.Load(), l.deploys.Load(), l.devices.Load())
}

func (l *load) dial(ctx context.Context) (net.Conn, error) {
	return (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", l.judge.Gateway.Address)
}

// sendGarbage connects and sends what is no MQTT.
func (l *load) sendGarbage(ctx context.Context) {
	c, err := l.dial(ctx)
	if err != nil {
		return
	}
	defer c.Close()
	b := make([]byte, 1+rand.IntN(200))
	for i := range b {
		b[i] = byte(rand.IntN(256))
	}
	_ = c.SetDeadline(time.Now().Add(200 * time.Millisecond))
	if _, err := c.Write(b); err != nil {
		return
	}
	_, _ = c.Read(b)
	l.garbage.Add(1)
}

// holdOpen connects and says nothing for a while.
func (l *load) holdOpen(ctx context.Context) {
	c, err := l.dial(ctx)
	if err != nil {
		return
	}
	l.halfOpen.Add(1)
	l.wg.Go(func() {
		defer c.Close()
		select {
		case <-ctx.Done():
		case <-time.After(2 * time.Second):
		}
	})
}

// changeDevices adds a device and removes it.
func (l *load) changeDevices(ctx context.Context) {
	g := l.judge.Gateway
	name := fmt.Sprintf("passer-by-%d", l.devices.Load()%10)
	if _, err := g.AddDevice(ctx, name, []string{"x/#"}, nil); err != nil {
		return
	}
	if _, err := g.Run(ctx, "device", "remove", name); err == nil {
		l.devices.Add(1)
	}
}

// readNothing is a subscriber that takes no byte off its connection.
func (l *load) readNothing(ctx context.Context) {
	s := observer.NewSubscriber(l.subs[0].Name+"/silent", 0, "count/+")
	s.User, s.Password = l.subs[0].Name, l.subs[0].Password
	if err := s.ConnectSilently(ctx, l.judge.Gateway.Address); err != nil {
		return
	}
	l.silent.Add(1)
	select {
	case <-ctx.Done():
	case <-time.After(3 * time.Second):
	}
	s.Disconnect()
}
