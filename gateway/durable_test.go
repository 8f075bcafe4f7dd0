package gateway_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// subscriber makes a durable session with one subscription and leaves.
func (h *hub) subscriber(name string, qos byte, filters ...string) {
	h.Helper()
	n := join(h.TB, h.addr, name, false)
	n.subscribe(qos, filters...)
	n.disconnect()
	waitUntil(h.TB, name+" is offline", func() bool {
		for _, c := range h.broker.Clients() {
			if c.ID == name {
				return !c.Connected
			}
		}
		return false
	})
}

// What was acknowledged is there after a kill: once, in order, for everybody
// who was away, and one body for all of them.
func TestOfflineMessagesSurviveAKill(t *testing.T) {
	h := openHub(t, t.TempDir())
	const subscribers, messages = 20, 30
	for i := range subscribers {
		h.subscriber(fmt.Sprint("sub-", i), 2, "a/#")
	}
	pub := join(t, h.addr, "pub", false)
	for i := range messages {
		pub.publish("a/b", fmt.Sprint(i), byte(1+i%2), false)
	}
	if st := h.store.Stats(); st.MessagesStored != messages || st.OutgoingRows != subscribers*messages {
		t.Errorf("%d messages and %d rows are stored, want %d and %d", st.MessagesStored, st.OutgoingRows, messages, subscribers*messages)
	}
	h = h.crashed()
	for i := range subscribers {
		sub, present := joined(t, h.addr, fmt.Sprint("sub-", i), false, nil)
		if !present {
			t.Fatal("no session present")
		}
		for m := range messages {
			if p := sub.get(fmt.Sprint(m)); p.Qos != byte(1+m%2) || p.TopicName != "a/b" {
				t.Fatalf("message %+v", p)
			}
		}
		sub.nothing()
	}
	h.sync()
	if st := h.store.Stats(); st.OutgoingRows != 0 || st.MessageBytes != 0 {
		t.Errorf("%d rows and %d bytes are left", st.OutgoingRows, st.MessageBytes)
	}
	if st := h.broker.Stats(); st.QueuedMessages != 0 || st.QueuedBytes != 0 {
		t.Errorf("%d messages, %d bytes queued", st.QueuedMessages, st.QueuedBytes)
	}
	h = h.crashed()
	sub := join(t, h.addr, "sub-0", false)
	sub.nothing()
	if st := h.store.Stats(); st.DamagedRows != 0 {
		t.Errorf("%d damaged rows", st.DamagedRows)
	}
}

// QoS 2 is exactly once, wherever in the exchange the gateway dies.
func TestExactlyOnceOutgoing(t *testing.T) {
	h := openHub(t, t.TempDir())
	h.subscriber("sub", 2, "a")
	pub := join(t, h.addr, "pub", true)
	pub.publish("a", "x", 2, false)
	h = h.crashed()
	sub := join(t, h.addr, "sub", false)
	first := sub.take("x")
	h = h.crashed() // it has the message, and has not said so
	sub = join(t, h.addr, "sub", false)
	again := sub.take("x")
	if !again.Dup || again.MessageID != first.MessageID {
		t.Errorf("redelivered with id %d dup %v, was %d", again.MessageID, again.Dup, first.MessageID)
	}
	sub.ack(packets.Pubrec, again.MessageID)
	rel := sub.next()
	if kindOf(rel) != packets.Pubrel {
		t.Fatalf("%v after PUBREC", rel)
	}
	h = h.crashed() // between PUBREC and PUBCOMP: PUBREL again, and no PUBLISH
	sub = join(t, h.addr, "sub", false)
	if rel := sub.next(); kindOf(rel) != packets.Pubrel || rel.Details().MessageID != first.MessageID {
		t.Fatalf("%v, want PUBREL %d", rel, first.MessageID)
	}
	sub.ack(packets.Pubcomp, first.MessageID)
	sub.nothing()
	h.sync()
	pub = join(t, h.addr, "pub", true)
	pub.publish("a", "y", 2, false)
	sub.get("y")
	h.sync()
	h = h.crashed()
	join(t, h.addr, "sub", false).nothing()
}

// What retained messages were acknowledged, and QoS 0 ones after a while, are
// there after a kill, and what was cleared is not.
func TestRetainedSurvivesAKill(t *testing.T) {
	h := openHub(t, t.TempDir())
	pub := join(t, h.addr, "pub", true)
	pub.publish("r/1", "one", 1, true)
	pub.publish("r/2", "two", 2, true)
	for i := range 50 {
		pub.publish("r/0", fmt.Sprint(i), 0, true)
	}
	pub.publish("r/gone", "x", 1, true)
	pub.publish("r/gone", "", 1, true)
	h.sync()
	if st := h.store.Stats(); st.RetainedRows != 3 || h.broker.Stats().RetainedMessages != 3 {
		t.Errorf("%d retained", st.RetainedRows)
	}
	h = h.crashed()
	sub := join(t, h.addr, "sub", false)
	sub.subscribe(1, "r/#")
	for _, want := range []string{"49", "one", "two"} {
		if p := sub.get(want); !p.Retain {
			t.Errorf("%q without RETAIN", want)
		}
	}
	pub = join(t, h.addr, "pub", true)
	pub.publish("r/2", "", 0, true)
	h.sync()
	h = h.crashed()
	sub = join(t, h.addr, "other", true)
	sub.subscribe(0, "r/#")
	sub.get("49")
	sub.get("one")
	sub.nothing()
}

// A subscriber that is there and fast costs the disk nothing, when the
// committer has not got to it yet.
func TestAcknowledgedBeforeTheCommitIsNotWritten(t *testing.T) {
	hold := make(chan struct{})
	var on atomic.Bool
	h := openHub(t, t.TempDir(), func(s *store.Config, _ *broker.Config) {
		s.Inject = func(step store.Step) error {
			if on.Load() && step == store.StepBegin {
				<-hold
			}
			return nil
		}
	})
	sub, pub := join(t, h.addr, "sub", false), join(t, h.addr, "pub", true)
	sub.subscribe(1, "a")
	h.sync()
	on.Store(true)
	// What the committer is at while the messages come.
	go func() { _ = h.store.SetMeta(context.Background(), "busy", nil) }()
	waitUntil(t, "the committer is busy", func() bool { st := h.store.Stats(); return st.Sealed > st.Committed && st.PendingUnits == 0 })
	before := h.store.Stats()
	const n = 20
	for i := range n {
		pub.id++
		pub.send(message("a", fmt.Sprint(i), 1, pub.id, false))
		sub.get(fmt.Sprint(i)) // before its publisher hears of it
	}
	sub.nothing() // the acknowledgements have been read
	close(hold)
	pub.acked(packets.Puback)
	after := h.store.Stats()
	if after.MessagesElided-before.MessagesElided != n || after.MessagesStored != before.MessagesStored {
		t.Errorf("%d elided, %d stored; want %d and none", after.MessagesElided-before.MessagesElided, after.MessagesStored-before.MessagesStored, n)
	}
}
