package gateway_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// receiver is a subscriber that keeps MQTT's rules, remembers across its own
// connections what they ask it to, and answers when it pleases.
type receiver struct {
	name string
	qos  byte
	node *node
	// held are the ids of QoS 2 messages that it has, up to their PUBREL.
	held map[uint16]bool
	got  []string
	want []string
}

// world is several receivers, a publisher and a broker that dies now and then.
type world struct {
	*testing.T
	rnd       *rand.Rand
	hub       *hub
	armed     atomic.Int32 // commits that fail
	step      atomic.Value // the step at which
	receivers []*receiver
	pub       *node
	sent      int
	died      int
}

func (w *world) configure(c *store.Config, b *broker.Config) {
	c.Inject = func(s store.Step) error {
		if s == w.step.Load() && w.armed.Add(-1) >= 0 {
			return errors.New("disk I/O error (injected)")
		}
		return nil
	}
	b.MaxInflight = 4
}

func (w *world) publish() {
	r := w.receivers[w.rnd.IntN(len(w.receivers))]
	payload := fmt.Sprint(w.sent)
	w.sent++
	if w.rnd.IntN(3) == 0 { // for all
		w.pub.publish("all", payload, r.qos, false)
		for _, r := range w.receivers {
			r.want = append(r.want, payload)
		}
		return
	}
	w.pub.publish("to/"+r.name, payload, 2, false)
	r.want = append(r.want, payload)
}

// listen lets a receiver take what is there; it answers with the given
// probability, in percent.
func (w *world) listen(r *receiver, answers int) {
	if r.node == nil {
		r.node = join(w.T, w.hub.addr, r.name, false)
	}
	r.node.send(packets.NewControlPacket(packets.Pingreq))
	for {
		p := r.node.next()
		if _, end := p.(*packets.PingrespPacket); end {
			return
		}
		r.take(p, w.rnd.IntN(100) < answers)
	}
}

func (r *receiver) take(p packets.ControlPacket, answer bool) {
	id := p.Details().MessageID
	switch p := p.(type) {
	case *packets.PublishPacket:
		if p.Qos == 1 {
			if !slices.Contains(r.got, string(p.Payload)) {
				r.got = append(r.got, string(p.Payload))
			} else if !p.Dup {
				r.node.Errorf("%s got %s again without DUP", r.name, p.Payload)
			}
			if answer {
				r.node.ack(packets.Puback, id)
			}
			return
		}
		if !r.held[id] {
			r.held[id] = true
			r.got = append(r.got, string(p.Payload))
		}
		if answer {
			r.node.ack(packets.Pubrec, id)
		}
	case *packets.PubrelPacket:
		if answer {
			delete(r.held, id)
			r.node.ack(packets.Pubcomp, id)
		}
	}
}

// crash goes on with what is on disk at this moment.
func (w *world) crash() {
	w.died++
	old := w.hub
	w.hub = old.crashed(w.configure)
	for _, r := range w.receivers {
		r.drop()
	}
	w.pub.leave()
	old.close()
	w.pub = join(w.T, w.hub.addr, "pub", true)
}

func (r *receiver) drop() {
	if r.node != nil {
		r.node.leave()
		r.node = nil
	}
}

// check takes the rest and compares. Order counts, and that nothing is missing
// or there twice.
func (w *world) check() {
	w.armed.Store(0)
	for _, r := range w.receivers {
		r.drop()
		for end := time.Now().Add(30 * time.Second); len(r.got) < len(r.want) && time.Now().Before(end); {
			w.listen(r, 100)
		}
		if !slices.Equal(r.got, r.want) {
			w.Fatalf("%s (QoS %d) after %d crashes got\n%v, want\n%v", r.name, r.qos, w.died, r.got, r.want)
		}
		for len(r.held) > 0 {
			w.listen(r, 100)
		}
		r.node.nothing()
	}
	w.hub.sync()
	waitUntil(w, "nothing is queued", func() bool { return w.hub.broker.Stats().QueuedMessages == 0 })
	w.hub.sync()
	if st := w.hub.store.Stats(); st.OutgoingRows != 0 || st.MessageBytes != 0 || st.DamagedRows != 0 || st.OrphanDeliveries != 0 {
		w.Errorf("left on disk: %d rows, %d bytes; %d damaged, %d orphans", st.OutgoingRows, st.MessageBytes, st.DamagedRows, st.OrphanDeliveries)
	}
}

// Several sessions that come, go and answer at random, a broker that dies and a
// disk that fails: QoS 1 and 2 keep what they promise, in order.
func TestDurableSessionsModel(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			t.Parallel()
			w := &world{T: t, rnd: rand.New(rand.NewPCG(seed, 1))}
			w.step.Store(store.StepCommit)
			w.hub = openHub(t, t.TempDir(), w.configure)
			for i := range 4 {
				r := &receiver{name: fmt.Sprint("r", i), qos: byte(1 + i%2), held: map[uint16]bool{}}
				w.hub.subscriber(r.name, r.qos, "all", "to/"+r.name)
				w.receivers = append(w.receivers, r)
			}
			w.pub = join(t, w.hub.addr, "pub", true)
			for range 150 {
				r := w.receivers[w.rnd.IntN(len(w.receivers))]
				switch n := w.rnd.IntN(100); {
				case n < 45:
					w.publish()
				case n < 75:
					w.listen(r, []int{0, 50, 100}[w.rnd.IntN(3)])
				case n < 85:
					r.drop()
				case n < 95:
					steps := []store.Step{store.StepBegin, store.StepWrite, store.StepCommit, store.StepAfterCommit}
					w.step.Store(steps[w.rnd.IntN(len(steps))])
					w.armed.Store(1)
				default:
					w.crash()
				}
			}
			w.crash()
			w.check()
		})
	}
}
