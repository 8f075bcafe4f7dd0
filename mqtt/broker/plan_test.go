package broker

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// QoS 2 leaves after its commit, PUBREL after that of the PUBREC, and both hold
// back nothing but themselves and what comes behind them.
func TestQoS2WaitsForTheDisk(t *testing.T) {
	store := newMemMessages()
	_, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribe(2, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	t.Cleanup(func() { store.setHold(false); store.commit() })
	store.setHold(true)
	pub.publish("a", "two", 2, 1)
	pub.publish("a", "one", 1, 2)
	eventually(t, "both are being stored", func() bool { return store.waiting() == 2 })
	sub.quiet() // QoS 1 might leave, but order comes first
	pub.quiet()
	store.commit()
	first := sub.expectMessage("two")
	second := sub.expectMessage("one")
	pub.expectAck(packets.Pubrec, 1, Success)
	pub.expectAck(packets.Puback, 2, Success)
	sub.ack(packets.Puback, second.PacketID)
	sub.ack(packets.Pubrec, first.PacketID)
	eventually(t, "PUBREC is being stored", func() bool { return store.waiting() == 1 })
	sub.quiet()
	store.commit()
	sub.expectAck(packets.Pubrel, first.PacketID, Success)
	store.setHold(false)
	sub.ack(packets.Pubcomp, first.PacketID)
	eventually(t, "no row is left", func() bool { return store.stored() == 0 })
}

// A client's QoS 1 message reaches a subscriber that is there before its
// publisher is acknowledged.
func TestQoS1IsSentBeforeItsCommit(t *testing.T) {
	store := newMemMessages()
	_, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
	sub, _ := connected(t, addr, 4, "sub", durable)
	sub.subscribe(1, "a")
	pub, _ := connected(t, addr, 4, "pub", nil)
	t.Cleanup(func() { store.setHold(false); store.commit() })
	store.setHold(true)
	pub.publish("a", "x", 1, 1)
	m := sub.expectMessage("x")
	pub.quiet()
	sub.ack(packets.Puback, m.PacketID)
	eventually(t, "it is being stored", func() bool { return store.waiting() == 1 })
	store.commit()
	pub.expectAck(packets.Puback, 1, Success)
	store.setHold(false)
}

// A plan that is given up leaves a hole: what waited behind it goes on, and ids
// are never shared.
func TestCancelledPlanLeavesAHole(t *testing.T) {
	store := newMemMessages()
	srv, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
	sub, _ := connected(t, addr, 4, "sub", durable)
	sub.subscribe(1, "a")
	seen := map[uint16]bool{}
	for i := range 300 {
		lost := srv.Plan(&Message{Topic: "a", Payload: []byte("lost"), QoS: 1}, false)
		kept := srv.Plan(&Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1}, false)
		srv.Deliver(kept, nil)
		if i%3 == 0 {
			sub.quiet()
		}
		lost.Cancel()
		m := sub.expectMessage(fmt.Sprint(i))
		if seen[m.PacketID] {
			t.Fatalf("id %d is in flight twice", m.PacketID)
		}
		if i%7 > 0 { // some stay in flight
			sub.ack(packets.Puback, m.PacketID)
		} else {
			seen[m.PacketID] = true
		}
	}
	for id := range seen {
		sub.ack(packets.Puback, id)
	}
	eventually(t, "all is done", func() bool { return srv.Stats().QueuedMessages == 0 && store.stored() == 0 })
}

// Everything that version 5 says about a message outlives the process, and its
// expiry runs on meanwhile.
func TestStoredMessagesOfVersion5(t *testing.T) {
	store := newMemMessages()
	_, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribeWith(packets.Subscriptions{{Filter: "a/#", Qos: 2, RetainAsPublished: true}}, 7)
	sub.subscribeWith(packets.Subscriptions{{Filter: "a/b", Qos: 1}}, 300)
	sub.disconnect()
	pub, _ := connected(t, addr, 5, "pub", nil)
	pk := publishPacket("a/b", "x", 2, 1)
	pk.FixedHeader.Retain = true
	pk.Properties = packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, MessageExpiryInterval: 1000, ContentType: "text/plain", ResponseTopic: "answer",
		CorrelationData: []byte{0, 1}, User: []packets.UserProperty{{Key: "k", Val: "1"}, {Key: "k", Val: "2"}},
	}
	pub.send(pk)
	pub.expectAck(packets.Pubrec, 1, Success)
	pk = publishPacket("a/b", "short-lived", 1, 2)
	pk.Properties.MessageExpiryInterval = 1
	pub.send(pk)
	pub.expectAck(packets.Puback, 2, Success)
	time.Sleep(1100 * time.Millisecond) // MQTT counts in seconds
	next := store.killed()
	srv, addr := startServer(t, quietConfig(), Deps{Sessions: next, Messages: next})
	sub, ack := connected(t, addr, 5, "sub", durable)
	if !ack.SessionPresent {
		t.Fatal("no session present")
	}
	m := sub.expectMessage("x")
	p := m.Properties
	if m.FixedHeader.Qos != 2 || !m.FixedHeader.Retain || p.PayloadFormat != 1 || p.ContentType != "text/plain" || p.ResponseTopic != "answer" ||
		string(p.CorrelationData) != "\x00\x01" || len(p.User) != 2 || p.User[1].Val != "2" {
		t.Errorf("message %+v", m)
	}
	if p.MessageExpiryInterval == 0 || p.MessageExpiryInterval > 999 {
		t.Errorf("expires in %d s", p.MessageExpiryInterval)
	}
	if ids := fmt.Sprint(p.SubscriptionIdentifier); ids != "[7 300]" && ids != "[300 7]" {
		t.Errorf("subscription identifiers %s", ids)
	}
	sub.quiet()
	if n := srv.Stats().DroppedExpired; n != 1 {
		t.Errorf("%d expired", n)
	}
	late, _ := connected(t, addr, 5, "late", nil)
	late.subscribe(0, "a/b")
	if m := late.expectMessage("x"); !m.FixedHeader.Retain || m.Properties.ContentType != "text/plain" {
		t.Errorf("retained %+v", m)
	}
}

// A will whose delay runs when the gateway dies is published when it is over,
// and not at all when its client is back before that.
func TestStoredWillKeepsItsDelay(t *testing.T) {
	store := newMemMessages()
	_, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
	withWill := func(topic string, delay uint32) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			durable(pk)
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload, pk.Connect.WillQos = true, topic, []byte("bye"), 1
			pk.Connect.WillProperties.WillDelayInterval = delay
		}
	}
	connected(t, addr, 5, "long", withWill("will/long", 1000))
	connected(t, addr, 5, "short", withWill("will/short", 1))
	back, _ := connected(t, addr, 5, "back", withWill("will/back", 1))
	_ = back.nc.Close()
	eventually(t, "back is away", func() bool { rec, _, _ := store.get("back"); return !rec.Disconnected.IsZero() && len(rec.Will) > 0 })
	next := store.killed()
	_, addr = startServer(t, quietConfig(), Deps{Sessions: next, Messages: next})
	connected(t, addr, 5, "back", durable)
	watcher, _ := connected(t, addr, 5, "watcher", nil)
	watcher.subscribe(1, "will/#")
	if m := watcher.expectMessage("bye"); m.TopicName != "will/short" {
		t.Errorf("will %s", m.TopicName)
	}
	watcher.quiet()
	eventually(t, "it is out", func() bool { rec, _, _ := next.get("short"); return len(rec.Will) == 0 })
	if rec, _, _ := next.get("long"); len(rec.Will) == 0 {
		t.Error("a will that waits is not stored")
	}
}

// Everything survives its encoding, and no bytes at all break the decoders.
func FuzzStoredMessage(f *testing.F) {
	m := &Message{Topic: "a/b", Payload: []byte("x"), QoS: 2, Retain: true, Expires: time.UnixMilli(1700000000000), Properties: &Properties{
		UTF8Payload: true, ContentType: "c", ResponseTopic: "r", CorrelationData: []byte{}, User: []UserProperty{{"k", "v"}},
	}}
	f.Add(AppendMessage(nil, m, m.Expires), (&Row{q: queued{qos: 1, retain: true, subID: 7, subIDs: []int{300}, group: &shareGroup{filter: "$share/g/a"}}}).AppendOptions(nil))
	f.Add(AppendMessage(nil, &Message{Topic: "t"}, time.Time{}), (&Row{q: queued{qos: 2}}).AppendOptions(nil))
	f.Fuzz(func(t *testing.T, body, options []byte) {
		if m, err := decodeMessage(body); err == nil {
			again, err := decodeMessage(AppendMessage(nil, m, m.Expires))
			if err != nil || !reflect.DeepEqual(m, again) {
				t.Fatalf("%+v became %+v, %v", m, again, err)
			}
		}
		if q, share, err := decodeOptions(options); err == nil {
			if share != "" {
				q.group = &shareGroup{filter: share}
			}
			p, name, err := decodeOptions((&Row{q: q}).AppendOptions(nil))
			p.group = q.group
			if err != nil || name != share || !reflect.DeepEqual(p, q) {
				t.Fatalf("%+v became %+v %q, %v", q, p, name, err)
			}
		}
		_, _ = decodeWill(body)
	})
}

// Who subscribes between a message's arrival and its release gets it as well,
// and keeps it: else the older retained message would be the last it sees.
func TestSubscriberThatComesAfterThePlan(t *testing.T) {
	store, h := newMemMessages(), newHolder()
	srv, addr := startServer(t, quietConfig(), Deps{Handler: h, Sessions: store, Messages: store})
	srv.Publish(&Message{Topic: "a", Payload: []byte("old"), Retain: true})
	connected(t, addr, 4, "other", durable)
	pub, _ := connected(t, addr, 4, "pub", nil)
	pk := publishPacket("a", "new", 1, 1)
	pk.FixedHeader.Retain = true
	pub.send(pk)
	in := h.take(t)
	sub, _ := connected(t, addr, 4, "sub", durable)
	sub.subscribe(1, "a")
	sub.expectMessage("old")
	in.Release(Success)
	sub.expectMessage("new")
	pub.expectAck(packets.Puback, 1, Success)
	eventually(t, "it is stored", func() bool { return store.stored() == 1 })
	next := store.killed()
	_, addr = startServer(t, quietConfig(), Deps{Sessions: next, Messages: next})
	sub, _ = connected(t, addr, 4, "sub", durable)
	if m := sub.expectMessage("new"); !m.FixedHeader.Dup {
		t.Error("without DUP, though it was sent before")
	}
}

// A refused message leaves neither a place nor a row.
func TestRefusedMessageIsNotStored(t *testing.T) {
	store, h := newMemMessages(), newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h, Sessions: store, Messages: store})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribe(1, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	pub.publish("a", "no", 1, 1)
	pub.publish("a", "yes", 1, 2)
	refused, taken := h.take(t), h.take(t)
	taken.Release(Success)
	sub.quiet()
	refused.Release(QuotaExceeded)
	m := sub.expectMessage("yes")
	pub.expectAck(packets.Puback, 1, QuotaExceeded)
	pub.expectAck(packets.Puback, 2, Success)
	sub.ack(packets.Puback, m.PacketID)
	eventually(t, "nothing is stored", func() bool { return store.stored() == 0 })
}
