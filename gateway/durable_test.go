package gateway_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

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
	pub.publish("after", "x", 1, false) // acknowledged: the one before it has been taken
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

// A will whose client was connected when the gateway was killed is published at
// the next start, once.
func TestWillSurvivesAKill(t *testing.T) {
	h := openHub(t, t.TempDir())
	h.subscriber("watcher", 1, "gone/#")
	will := func(c *packets.ConnectPacket) {
		c.WillFlag, c.WillTopic, c.WillMessage, c.WillQos, c.WillRetain = true, "gone/probe", []byte("bye"), 1, true
	}
	joined(t, h.addr, "probe", false, will)
	h = h.crashed()
	watcher := join(t, h.addr, "watcher", false)
	watcher.get("bye")
	watcher.nothing() // its acknowledgement has been read
	h.sync()
	h.sync() // the will's own commit, then that it is out
	h = h.crashed()
	watcher = join(t, h.addr, "watcher", false)
	watcher.nothing()
	late := join(t, h.addr, "late", true)
	late.subscribe(0, "gone/#")
	late.get("bye")
	// A client that says goodbye leaves no will behind.
	probe, _ := joined(t, h.addr, "probe", false, will)
	probe.disconnect()
	waitUntil(t, "probe is away", func() bool { return h.store.Stats().Sessions == 2 && h.broker.Stats().Connections == 2 })
	h.sync()
	h = h.crashed()
	join(t, h.addr, "watcher", false).nothing()
}

// What waits for a member of a shared subscription that ends goes to another
// one, on disk too.
func TestSharedMessagesAreHandedOn(t *testing.T) {
	h := openHub(t, t.TempDir())
	h.subscriber("a", 1, "$share/g/in")
	h.subscriber("b", 1, "$share/g/in")
	pub := join(t, h.addr, "pub", true)
	const n = 20
	for i := range n {
		pub.publish("in", fmt.Sprint(i), 1, false)
	}
	h = h.crashed()
	if st := h.store.Stats(); st.OutgoingRows != n {
		t.Fatalf("%d rows, want %d", st.OutgoingRows, n)
	}
	join(t, h.addr, "a", true).disconnect() // a clean session ends the other one
	h.sync()
	if st := h.store.Stats(); st.OutgoingRows != n {
		t.Errorf("%d rows after one member ended, want %d", st.OutgoingRows, n)
	}
	h = h.crashed()
	b := join(t, h.addr, "b", false)
	got := map[string]bool{}
	for range n {
		p := b.wait(func(p packets.ControlPacket) bool { return kindOf(p) == packets.Publish }).(*packets.PublishPacket)
		got[string(p.Payload)] = true
		b.ack(packets.Puback, p.MessageID)
	}
	b.nothing()
	if len(got) != n {
		t.Errorf("%d different messages, want %d", len(got), n)
	}
}

// What bounds push out of memory leaves the disk as well.
func TestBoundsHoldOnDisk(t *testing.T) {
	bounds := func(_ *store.Config, b *broker.Config) {
		b.MaxQueuedMessages, b.MaxRetainedMessages = 10, 5
	}
	h := openHub(t, t.TempDir(), bounds)
	h.subscriber("sub", 1, "a/#")
	pub := join(t, h.addr, "pub", true)
	for i := range 30 {
		pub.publish(fmt.Sprint("a/", i), fmt.Sprint(i), 1, true)
	}
	h.sync()
	if st := h.store.Stats(); st.OutgoingRows != 10 || st.RetainedRows != 5 {
		t.Errorf("%d rows and %d retained on disk, want 10 and 5", st.OutgoingRows, st.RetainedRows)
	}
	h = h.crashed(bounds)
	sub := join(t, h.addr, "sub", false)
	for i := 20; i < 30; i++ {
		sub.get(fmt.Sprint(i))
	}
	sub.nothing()
	if n := h.broker.Stats().RetainedMessages; n != 5 {
		t.Errorf("%d retained", n)
	}
}

// Rows that cannot be read are left out and counted; the rest is served.
func TestDamagedMessagesAreLeftOut(t *testing.T) {
	h := openHub(t, t.TempDir())
	h.subscriber("sub", 1, "a")
	pub := join(t, h.addr, "pub", true)
	for i := range 4 {
		pub.publish("a", fmt.Sprint(i), 1, i == 3)
	}
	dir := copyDatabase(t, h.dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, "headgate.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{
		`UPDATE message SET body = x'ff00' WHERE id = (SELECT min(id) FROM message)`,
		`UPDATE outgoing SET options = x'' WHERE seq = (SELECT min(seq) + 1 FROM outgoing)`,
		`INSERT INTO outgoing VALUES (999, 1, 1, 0, x'01')`,
		`UPDATE retained SET body = x'01'`,
	} {
		if _, err := db.Exec(q); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	h = openHub(t, dir)
	if n, m := h.broker.Stats().DamagedMessages, h.store.Stats().DamagedRows; n != 4 || m != 1 {
		t.Errorf("%d damaged messages, %d damaged rows; want 4 and 1", n, m)
	}
	sub := join(t, h.addr, "sub", false)
	sub.get("2")
	sub.get("3")
	sub.nothing()
	h.sync()
	if st := h.store.Stats(); st.OutgoingRows != 0 || st.RetainedRows != 0 {
		t.Errorf("%d rows, %d retained are left", st.OutgoingRows, st.RetainedRows)
	}
}

// The lives of stored messages are on the steady scale: what the wall clock
// says at the next start is nothing to them, only the time that has passed.
func TestMessageExpiryOverAClockJump(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	steady := func(d time.Duration) func(*store.Config, *broker.Config) {
		return func(c *store.Config, _ *broker.Config) {
			now := at.Add(d)
			c.Steady = func() time.Time { return now }
		}
	}
	h := openHub(t, t.TempDir(), steady(0))
	join(t, h.addr, "sub", false).subscribe(1, "a/#")
	h.sync()
	h = h.crashed(steady(0))
	h.broker.Publish(&broker.Message{Topic: "a/queued", Payload: []byte("queued"), QoS: 1, Expires: time.Now().Add(time.Hour)})
	h.broker.Publish(&broker.Message{Topic: "a/kept", Payload: []byte("kept"), QoS: 1, Retain: true, Expires: time.Now().Add(time.Hour)})
	h.sync()

	soon := h.crashed(steady(30 * time.Minute))
	left := 0
	soon.broker.Retained("a/kept", func(m *broker.Message) bool {
		left++
		if d := time.Until(m.Expires); d < 29*time.Minute || d > 31*time.Minute {
			t.Errorf("after half an hour it has %v to live", d)
		}
		return true
	})
	if left != 1 {
		t.Errorf("%d retained after half an hour", left)
	}
	join(t, soon.addr, "sub", false).get("queued")

	late := h.crashed(steady(2 * time.Hour))
	late.broker.Retained("a/kept", func(*broker.Message) bool {
		t.Error("the retained message has outlived its expiry")
		return true
	})
	join(t, late.addr, "sub", false).nothing()
}
