package uplink_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/internal/testmosquitto"
	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

const gatewayID = "abcdefghijklmnop"

// outbox is one in memory.
type outbox struct {
	mu      sync.Mutex
	stream  usage.Stream
	batches []usage.Batch
	next    uint64
	sealed  int
}

func newOutbox(batches int) *outbox {
	o := &outbox{stream: usage.Stream{Gateway: gatewayID, Hardware: "hw", Epoch: 1}, next: 1}
	for range batches {
		o.add()
	}
	return o
}

func (o *outbox) add() {
	o.batches = append(o.batches, usage.Batch{Stream: o.stream, Seq: o.next, Data: []byte("rows")})
	o.next++
}

func (o *outbox) UsageHeld(context.Context) ([]usage.Held, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return []usage.Held{{Stream: o.stream, First: o.next - uint64(len(o.batches)), Next: o.next}}, nil
}

func (o *outbox) UsageBatches(_ context.Context, epoch, seq uint64, limit int) (out []usage.Batch, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, b := range o.batches {
		if len(out) < limit && (b.Epoch > epoch || b.Epoch == epoch && b.Seq > seq) {
			out = append(out, b)
		}
	}
	return out, nil
}

func (o *outbox) UsageAcknowledged(stream usage.Stream, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.batches = slices.DeleteFunc(o.batches, func(b usage.Batch) bool { return b.Stream == stream && b.Seq <= seq })
}

// SealUsage makes another batch.
func (o *outbox) SealUsage(context.Context) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sealed++
	o.add()
	return int64(len(o.batches)), nil
}

func (o *outbox) left() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.batches)
}

// rig is an uplink, Mosquitto, and a controller that a test plays.
type rig struct {
	*testing.T
	outbox *outbox
	broker *testmosquitto.Broker
	ca     *testca.Authority
	key    *ecdsa.PrivateKey
	codec  *wire.Codec
	client mqtt.Client
	up     chan any
	uplink *uplink.Uplink
}

func newRig(t *testing.T, o *outbox, change func(*uplink.Config)) *rig {
	t.Helper()
	r := &rig{T: t, outbox: o, ca: testca.New(t), up: make(chan any, 1000)}
	dir := t.TempDir()
	ca := filepath.Join(dir, "ca.crt")
	r.ca.WriteCA(ca)
	crt, key := r.ca.Write(dir, "broker", r.ca.Issue("broker"))
	r.broker = testmosquitto.Start(t, "cafile "+ca, "certfile "+crt, "keyfile "+key, "require_certificate true", "use_identity_as_username true", "allow_anonymous false")
	own := r.ca.Issue(gatewayID)
	r.key = own.PrivateKey.(*ecdsa.PrivateKey)
	var err error
	if r.codec, err = wire.NewCodec(); err != nil {
		t.Fatal(err)
	}
	r.listen()
	_, port, _ := net.SplitHostPort(r.broker.Address)
	cfg := uplink.Config{
		Outbox: o, Interval: time.Hour, RetryMin: 10 * time.Millisecond, RetryMax: 50 * time.Millisecond, Window: 3,
		Credentials: func() (uplink.Credentials, error) {
			return uplink.Credentials{
				Gateway: gatewayID, Addresses: []string{"ssl://127.0.0.1:" + port}, Key: r.key,
				TLS: func(host string) *tls.Config {
					return &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: r.ca.Pool(), Certificates: []tls.Certificate{own}}
				},
			}, nil
		},
	}
	if change != nil {
		change(&cfg)
	}
	if r.uplink, err = uplink.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); r.uplink.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return r
}

// listen plays the controller.
func (r *rig) listen() {
	r.Helper()
	o := mqtt.NewClientOptions().AddBroker("ssl://" + r.broker.Address).SetClientID("controller").SetAutoReconnect(false).
		SetTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: r.ca.Pool(), Certificates: []tls.Certificate{r.ca.Issue("controller")}})
	r.client = mqtt.NewClient(o)
	r.done(r.client.Connect())
	r.done(r.client.Subscribe(wire.AllUp, 1, func(_ mqtt.Client, m mqtt.Message) {
		message, err := r.codec.Decode(m.Payload())
		if err != nil {
			r.Error(err)
		}
		r.up <- message
	}))
	r.Cleanup(func() { r.client.Disconnect(0) })
}

func (r *rig) done(t mqtt.Token) {
	r.Helper()
	if !t.WaitTimeout(30*time.Second) || t.Error() != nil {
		r.Fatalf("broker: %v", t.Error())
	}
}

func next[T any](r *rig) T {
	r.Helper()
	deadline := time.After(30 * time.Second)
	for {
		select {
		case m := <-r.up:
			if got, ok := m.(T); ok {
				return got
			}
			if _, health := m.(*wire.Health); !health {
				r.Fatalf("the gateway sends %T %+v", m, m)
			}
		case <-deadline:
			var want T
			r.Fatalf("no %T comes; %+v", want, r.uplink.Status())
		}
	}
}

func (r *rig) answer(message any) {
	r.Helper()
	b, err := r.codec.Encode(message)
	if err != nil {
		r.Fatal(err)
	}
	r.done(r.client.Publish(wire.DownTopic(gatewayID), 1, false, b))
}

func (r *rig) welcome(h *wire.Hello, upTo uint64) {
	r.Helper()
	r.answer(&wire.Welcome{Session: h.Session, Time: time.Now().UnixMicro(), Marks: []wire.Mark{{Stream: h.Streams[0].Stream, UpTo: upTo}}})
}

func (r *rig) ack(upTo uint64) {
	r.Helper()
	r.answer(&wire.Ack{Marks: []wire.Mark{{Stream: wire.StreamOf(r.outbox.stream), UpTo: upTo}}})
}

// wants takes the next batches, in order, and checks their signatures.
func (r *rig) wants(seqs ...uint64) {
	r.Helper()
	for _, seq := range seqs {
		m := next[*wire.Usage](r)
		b, err := m.Batch(gatewayID)
		if err != nil || m.Seq != seq {
			r.Fatalf("batch %d comes (%v), want %d", m.Seq, err, seq)
		}
		// The rows of these tests are none; who signed is what counts.
		if _, err := b.Verify(&r.key.PublicKey); err != nil && err.Error() == usage.ErrForeignKey.Error() {
			r.Errorf("batch %d: %v", seq, err)
		}
	}
}

// nothing wants no batch for a moment.
func (r *rig) nothing() {
	r.Helper()
	select {
	case m := <-r.up:
		if _, ok := m.(*wire.Usage); ok {
			r.Errorf("a batch comes: %+v", m)
		}
	case <-time.After(100 * time.Millisecond):
	}
}

func (r *rig) until(what string, ok func() bool) {
	r.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.Fatalf("it does not come to it: %s; %+v", what, r.uplink.Status())
		}
	}
}

// What the controller lacks goes in order, a window at a time, and leaves with
// its acknowledgement.
func TestDrainsInOrder(t *testing.T) {
	today := time.Now() // which does not end meanwhile
	r := newRig(t, newOutbox(7), func(c *uplink.Config) { c.Now = func() time.Time { return today } })
	h := next[*wire.Hello](r)
	if h.Streams[0].First != 1 || h.Streams[0].Next != 8 || h.Streams[0].Hardware != "hw" {
		t.Fatalf("hello %+v", h)
	}
	r.answer(&wire.Welcome{Session: h.Session + 1}) // for another connection
	r.nothing()
	r.welcome(h, 2) // it has two already
	r.wants(3, 4, 5)
	r.nothing()
	if n := r.outbox.left(); n != 5 {
		t.Errorf("%d batches are left after the welcome, want 5", n)
	}
	r.ack(4)
	r.wants(6, 7)
	r.ack(7)
	r.until("an empty outbox", func() bool { return r.outbox.left() == 0 })
	r.uplink.Send()
	r.wants(8)
	if s := r.uplink.Status(); !s.Connected || s.LastError != "" || s.BytesToday < 3000 {
		t.Errorf("status %+v", s)
	}
}

// What is not acknowledged goes again: on the same connection after a while, and
// on the next one.
func TestWhatIsNotAcknowledgedGoesAgain(t *testing.T) {
	r := newRig(t, newOutbox(2), func(c *uplink.Config) { c.AnswerWithin = 300 * time.Millisecond })
	r.welcome(next[*wire.Hello](r), 0)
	r.wants(1, 2)
	h := next[*wire.Hello](r) // it asks
	r.welcome(h, 1)
	r.wants(2)
	r.client.Disconnect(0)
	r.broker.Stop()
	r.until("a lost connection", func() bool { return !r.uplink.Status().Connected })
	r.broker.Restart()
	for len(r.up) > 0 {
		<-r.up
	}
	r.listen()
	r.until("another hello", func() bool {
		h, ok := (<-r.up).(*wire.Hello)
		if ok {
			r.welcome(h, 1)
		}
		return ok
	})
	r.until("the batch again", func() bool { u, ok := (<-r.up).(*wire.Usage); return ok && u.Seq == 2 })
}

func TestARefusedBatchStays(t *testing.T) {
	r := newRig(t, newOutbox(2), nil)
	r.welcome(next[*wire.Hello](r), 0)
	r.wants(1, 2)
	r.answer(&wire.Ack{Refused: []wire.Refusal{{Stream: wire.StreamOf(r.outbox.stream), Seq: 1, Reason: "foreign"}}})
	r.until("the refusal in the status", func() bool { return r.uplink.Stats().Refused == 1 && r.uplink.Status().LastError != "" })
	if n := r.outbox.left(); n != 2 {
		t.Errorf("%d batches are left, want 2", n)
	}
}

// When the day's bytes are spent nothing goes, until there is another day.
func TestBytesPerDay(t *testing.T) {
	var mu sync.Mutex
	now := time.Now()
	r := newRig(t, newOutbox(1), func(c *uplink.Config) {
		c.BytesPerDay = 16 << 10
		c.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	})
	for i := range r.outbox.batches {
		r.outbox.batches[i].Data = make([]byte, 16<<10)
	}
	r.welcome(next[*wire.Hello](r), 0)
	r.wants(1)
	r.uplink.Send()
	r.until("the end of the budget", func() bool { return r.uplink.Stats().OverBudget > 0 && r.uplink.Status().OverBudget })
	r.nothing()
	mu.Lock()
	now = now.Add(24 * time.Hour)
	mu.Unlock()
	r.uplink.Send()
	r.wants(2)
}

func TestConfigIsComplete(t *testing.T) {
	if _, err := uplink.New(uplink.Config{}); err == nil {
		t.Error("an uplink without anything was made")
	}
}
