package main

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/enrol"
	"github.com/headgate-io/headgate/sync/wire"
)

// replayer hears what gateways send, as a controller, and sends it again in
// their names: some time later, some of it, in another order.
type replayer struct {
	h      *harness
	client mqtt.Client

	mu    sync.Mutex
	heard map[string][][]byte
}

// clock is this machine's.
type clock struct{}

func (clock) Now() time.Time                            { return time.Now() }
func (clock) Trust() event.Trust                        { return event.TimeSynchronised }
func (clock) Estimate(context.Context, time.Time) error { return nil }

func (h *harness) connect(id string, c *tls.Config) (mqtt.Client, error) {
	o := mqtt.NewClientOptions().AddBroker("ssl://" + h.cloud.broker).SetClientID(id).SetTLSConfig(c).SetCleanSession(true).
		SetAutoReconnect(false).SetConnectTimeout(10 * time.Second).SetProtocolVersion(4)
	client := mqtt.NewClient(o)
	t := client.Connect()
	t.WaitTimeout(15 * time.Second)
	return client, t.Error()
}

// listen connects where it is not connected: the embedded broker dies with its
// controller.
func (r *replayer) listen() {
	if r.client != nil && r.client.IsConnected() {
		return
	}
	own, err := r.h.cloud.authority.Client("controller")
	if err != nil {
		return
	}
	client, err := r.h.connect("replayer", &tls.Config{
		MinVersion: tls.VersionTLS12, RootCAs: r.h.cloud.authority.Roots(), Certificates: []tls.Certificate{*own},
	})
	if err != nil {
		return // the next time
	}
	r.client = client
	client.Subscribe(wire.UpTopic("+"), 1, func(_ mqtt.Client, m mqtt.Message) {
		gateway, ok := wire.Speaker(m.Topic())
		if !ok {
			return
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if list := r.heard[gateway]; len(list) < 1000 {
			r.heard[gateway] = append(list, m.Payload())
		}
	}).WaitTimeout(10 * time.Second)
}

// again sends, for one gateway, what was heard of it, shuffled. Its own
// connection may end by that: the broker knows one of a name.
func (r *replayer) again(random *rand.Rand, stateDir string) (sent int) {
	s, err := enrol.Load(stateDir)
	if err != nil || s == nil {
		return 0
	}
	r.mu.Lock()
	list := append([][]byte{}, r.heard[s.Gateway]...)
	r.mu.Unlock()
	random.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	list = list[:min(len(list), 20)]
	client, err := r.h.connect(s.Gateway, s.TLS(clock{})("127.0.0.1"))
	if err != nil {
		return 0
	}
	defer client.Disconnect(100)
	for _, b := range list {
		if t := client.Publish(wire.UpTopic(s.Gateway), 1, false, b); t.WaitTimeout(5*time.Second) && t.Error() == nil {
			sent++
		}
	}
	return sent
}

func (r *replayer) close() {
	if r.client != nil {
		r.client.Disconnect(100)
	}
}
