package broker_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/controller/broker"
	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/sync/wire"
)

// rig is a broker that knows all gateways but one that was revoked.
type rig struct {
	*testing.T
	authority *ca.Authority
	address   string
}

const (
	ann     = "aaaaaaaaaaaaaaaa"
	bob     = "bbbbbbbbbbbbbbbb"
	revoked = "rrrrrrrrrrrrrrrr"
)

func newRig(t *testing.T) *rig {
	t.Helper()
	authority, err := ca.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	server, err := authority.Server([]string{"127.0.0.1"})
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Config{
		Certificate: server.Certificate, Roots: authority.Roots(), Logger: slog.New(slog.DiscardHandler),
		Identify: func(_ context.Context, c *x509.Certificate) (string, error) {
			if c.Subject.CommonName == revoked {
				return "", errors.New("revoked")
			}
			return c.Subject.CommonName, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Serve(l); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return &rig{t, authority, l.Addr().String()}
}

// connect connects with a certificate for name, as the client called id.
func (r *rig) connect(name, id string) (mqtt.Client, error) {
	r.Helper()
	pair, err := r.authority.Client(name)
	if err != nil {
		r.Fatal(err)
	}
	return r.connectWith(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.authority.Roots(), Certificates: []tls.Certificate{*pair}}, id)
}

func (r *rig) connectWith(c *tls.Config, id string) (mqtt.Client, error) {
	r.Helper()
	o := mqtt.NewClientOptions().AddBroker("ssl://" + r.address).SetClientID(id).SetTLSConfig(c).SetAutoReconnect(false).
		SetConnectTimeout(time.Minute).SetProtocolVersion(4)
	client := mqtt.NewClient(o)
	r.Cleanup(func() { client.Disconnect(0) })
	t := client.Connect()
	if !t.WaitTimeout(30 * time.Second) {
		return nil, errors.New("no answer")
	}
	return client, t.Error()
}

func (r *rig) must(name, id string) mqtt.Client {
	r.Helper()
	c, err := r.connect(name, id)
	if err != nil {
		r.Fatal(err)
	}
	return c
}

// subscribe reports whether a filter is granted; what comes goes to the channel.
func (r *rig) subscribe(c mqtt.Client, filter string) (heard chan string, granted bool) {
	r.Helper()
	heard = make(chan string, 16)
	t := c.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) { heard <- m.Topic() + " " + string(m.Payload()) }).(*mqtt.SubscribeToken)
	if !t.WaitTimeout(30 * time.Second) {
		r.Fatal("no SUBACK")
	}
	for _, code := range t.Result() { // by a name without its $share
		return heard, code < 0x80
	}
	r.Fatal("an empty SUBACK")
	return nil, false
}

func (r *rig) publish(c mqtt.Client, topic, payload string) {
	r.Helper()
	if t := c.Publish(topic, 1, false, payload); !t.WaitTimeout(30*time.Second) || t.Error() != nil {
		r.Fatalf("publish to %s: %v", topic, t.Error())
	}
}

func (r *rig) next(heard chan string, want string) {
	r.Helper()
	select {
	case got := <-heard:
		if got != want {
			r.Errorf("heard %q, want %q", got, want)
		}
	case <-time.After(30 * time.Second):
		r.Fatalf("nothing heard, want %q", want)
	}
}

// A gateway's certificate is good for its own topics alone, whatever it calls
// itself.
func TestAGatewaySpeaksForItselfAlone(t *testing.T) {
	r := newRig(t)
	controller := r.must(broker.Controller, "controller-1")
	heard, ok := r.subscribe(controller, wire.AllUp)
	if !ok {
		t.Fatal("the controller may not hear gateways")
	}
	a := r.must(ann, ann)
	for _, filter := range []string{wire.DownTopic(bob), wire.UpTopic(ann), wire.UpTopic(bob), wire.AllUp, "headgate/1/+/down", "headgate/#", "#", "$SYS/#"} {
		if _, ok := r.subscribe(a, filter); ok {
			t.Errorf("a gateway may listen to %s", filter)
		}
	}
	down, ok := r.subscribe(a, wire.DownTopic(ann))
	if !ok {
		t.Fatal("a gateway may not listen to what is for it")
	}
	for _, topic := range []string{wire.UpTopic(ann), wire.DownTopic(ann), wire.DownTopic(bob), "headgate/1/" + bob} {
		// 3.1.1 has no word for a refusal: the connection may end. Bob calls
		// himself ann.
		r.must(bob, ann).Publish(topic, 1, false, "by bob for ann").WaitTimeout(30 * time.Second)
	}
	b := r.must(bob, ann)
	r.publish(b, wire.UpTopic(bob), "bob")
	r.publish(a, wire.UpTopic(ann), "ann")
	got := map[string]bool{}
	for range 2 {
		select {
		case m := <-heard:
			got[m] = true
		case <-time.After(30 * time.Second):
			t.Fatal("the controller hears too little")
		}
	}
	if !got[wire.UpTopic(bob)+" bob"] || !got[wire.UpTopic(ann)+" ann"] {
		t.Errorf("the controller heard %v", got)
	}
	r.publish(controller, wire.DownTopic(ann), "for ann")
	r.next(down, wire.DownTopic(ann)+" for ann")
	if !a.IsConnected() {
		t.Error("the gateway that another one called itself lost its connection")
	}
}

func TestWhoIsLetIn(t *testing.T) {
	r := newRig(t)
	if _, err := r.connect(revoked, revoked); err == nil {
		t.Error("a revoked gateway is connected")
	}
	if _, err := r.connectWith(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.authority.Roots()}, ann); err == nil {
		t.Error("who shows no certificate is connected")
	}
	other, err := ca.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{ann, broker.Controller} {
		pair, err := other.Client(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.connectWith(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.authority.Roots(), Certificates: []tls.Certificate{*pair}}, name); err == nil {
			t.Errorf("%s of another authority is connected", name)
		}
	}
}
