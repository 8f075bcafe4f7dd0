package ingest

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/internal/answered"
	"github.com/headgate-io/headgate/sync/wire"
)

// Bounds of a Listener.
const (
	workers = 8
	queued  = 64
	// ofOne is how many messages of one gateway may wait or be in hand; an honest
	// one has about twelve on their way.
	ofOne       = 24
	dialTimeout = 15 * time.Second
	answerTime  = 30 * time.Second
	retryMax    = 10 * time.Second
)

// Listener hears gateways through a broker, as one of any number of replicas,
// and answers them.
type Listener struct {
	service *Service
	address string
	tls     func() (*tls.Config, error)
	queue   chan mqtt.Message

	mu      sync.Mutex
	waiting map[string]int // by topic; at most queued+workers of them

	client                                  atomic.Pointer[mqtt.Client] // nil without a connection
	connected                               atomic.Bool
	connections, failures, heard, unhandled atomic.Uint64
	crowding                                atomic.Uint64
}

// NewListener makes a listener at a broker, ssl://host:port, which Run connects.
// The TLS configuration shows the controller's certificate.
func NewListener(s *Service, address string, tls func() (*tls.Config, error)) (*Listener, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "ssl" || u.Port() == "" {
		return nil, fmt.Errorf("%q is no broker: want ssl://HOST:PORT", address)
	}
	return &Listener{service: s, address: address, tls: tls, queue: make(chan mqtt.Message, queued), waiting: map[string]int{}}, nil
}

// ListenerStats are counters since NewListener.
type ListenerStats struct {
	// Connected is 1 while there is a connection; Connections counts them, and
	// Failures those that were not made or ended.
	Connected             int
	Connections, Failures uint64
	// Heard counts messages of gateways, Unhandled those whose handling failed:
	// the gateways send them again. Crowding counts those that were left out since
	// too many of the same gateway waited.
	Heard, Unhandled, Crowding uint64
}

// Stats returns the counters.
func (l *Listener) Stats() ListenerStats {
	s := ListenerStats{Connections: l.connections.Load(), Failures: l.failures.Load(), Heard: l.heard.Load(), Unhandled: l.unhandled.Load(), Crowding: l.crowding.Load()}
	if l.connected.Load() {
		s.Connected = 1
	}
	return s
}

// Ready reports why gateways are not heard; nil is that they are.
func (l *Listener) Ready() error {
	if !l.connected.Load() {
		return fmt.Errorf("not connected with the broker %s", l.address)
	}
	return nil
}

// Run hears until ctx ends.
func (l *Listener) Run(ctx context.Context) {
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, retryMax) {
		began := time.Now()
		err := l.listen(ctx)
		if ctx.Err() != nil {
			return
		}
		l.failures.Add(1)
		if time.Since(began) > retryMax {
			wait = 100 * time.Millisecond
		}
		l.service.log.Warn("gateways are not heard", "broker", l.address, "error", err, "again_in", wait)
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// listen works on one connection.
func (l *Listener) listen(ctx context.Context) error {
	c, err := l.tls()
	if err != nil {
		return err
	}
	lost := make(chan error, 1)
	// A name of its own for every connection: a replica never displaces another.
	o := mqtt.NewClientOptions().AddBroker(l.address).SetClientID("controller-" + rand.Text()[:12]).SetTLSConfig(c).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectRetry(false).SetProtocolVersion(4).SetKeepAlive(30 * time.Second).SetPingTimeout(10 * time.Second).
		SetConnectTimeout(dialTimeout).SetWriteTimeout(dialTimeout).SetOrderMatters(true)
	o.SetConnectionLostHandler(func(_ mqtt.Client, err error) {
		select {
		case lost <- err:
		default:
		}
	})
	client := mqtt.NewClient(o)
	defer client.Disconnect(250)
	if err := answered.Within(ctx, client.Connect(), dialTimeout); err != nil {
		return err
	}
	within, stop := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	for range workers {
		all.Go(func() { l.work(within, client) })
	}
	// Where all workers are busy the broker waits with the rest.
	t, _ := client.Subscribe(wire.AllUp, 1, func(_ mqtt.Client, m mqtt.Message) { l.enqueue(within, m) }).(*mqtt.SubscribeToken)
	if err := answered.Within(ctx, t, dialTimeout); err != nil {
		return err
	}
	for _, code := range t.Result() {
		if code > 1 {
			return errors.New("the broker does not let the controller listen: see its access rules")
		}
	}
	l.connections.Add(1)
	l.connected.Store(true)
	l.client.Store(&client)
	defer l.connected.Store(false)
	defer l.client.Store(nil)
	l.service.log.Info("hears gateways", "broker", l.address)
	select {
	case err := <-lost:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// enqueue has a message wait for a worker. A gateway that floods takes nobody
// else's place: what it has too many of is left out.
func (l *Listener) enqueue(ctx context.Context, m mqtt.Message) {
	l.mu.Lock()
	full := l.waiting[m.Topic()] >= ofOne
	if !full {
		l.waiting[m.Topic()]++
	}
	l.mu.Unlock()
	if full {
		l.crowding.Add(1)
		return
	}
	select {
	case l.queue <- m:
	case <-ctx.Done():
		l.leave(m)
	}
}

func (l *Listener) leave(m mqtt.Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.waiting[m.Topic()]--; l.waiting[m.Topic()] <= 0 {
		delete(l.waiting, m.Topic())
	}
}

// work takes messages, one after the other.
func (l *Listener) work(ctx context.Context, client mqtt.Client) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-l.queue:
			l.heard.Add(1)
			l.take(ctx, client, m)
			l.leave(m)
		}
	}
}

func (l *Listener) take(ctx context.Context, client mqtt.Client, m mqtt.Message) {
	gateway, ok := wire.Speaker(m.Topic())
	if !ok {
		l.unhandled.Add(1)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	err := l.service.Take(ctx, gateway, m.Payload(), func(answer []byte) {
		client.Publish(wire.DownTopic(gateway), 1, false, answer) // what is lost is asked again
	})
	if err != nil && ctx.Err() == nil {
		l.unhandled.Add(1)
		l.service.log.Warn("a gateway's message was not handled", "gateway", gateway, "error", err)
	}
}
