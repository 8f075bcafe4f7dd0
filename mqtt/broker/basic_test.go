package broker

import (
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func versions(t *testing.T, f func(t *testing.T, version byte)) {
	for _, v := range []byte{4, 5} {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, v) })
	}
}

func TestPublishSubscribe(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		sub, _ := connected(t, addr, version, "sub", nil)
		if codes := sub.subscribe(2, "farm/+/moisture", "other/#"); string(codes) != "\x02\x02" {
			t.Fatalf("SUBACK %v", codes)
		}
		pub, _ := connected(t, addr, version, "pub", nil)
		pub.publish("farm/3/moisture", "zero", 0, 0)
		pub.publish("farm/3/moisture", "one", 1, 7)
		pub.expectAck(packets.Puback, 7, Success)
		pub.publish("farm/3/moisture", "two", 2, 8)
		pub.expectAck(packets.Pubrec, 8, Success)
		pub.ack(packets.Pubrel, 8)
		pub.expectAck(packets.Pubcomp, 8, Success)

		if m := sub.expectMessage("zero"); m.FixedHeader.Qos != 0 || m.TopicName != "farm/3/moisture" {
			t.Errorf("QoS %d on %q", m.FixedHeader.Qos, m.TopicName)
		}
		one := sub.expectMessage("one")
		sub.ack(packets.Puback, one.PacketID)
		two := sub.expectMessage("two")
		if one.FixedHeader.Qos != 1 || two.FixedHeader.Qos != 2 || one.PacketID == two.PacketID {
			t.Errorf("QoS %d and %d, ids %d and %d", one.FixedHeader.Qos, two.FixedHeader.Qos, one.PacketID, two.PacketID)
		}
		sub.ack(packets.Pubrec, two.PacketID)
		sub.expectAck(packets.Pubrel, two.PacketID, Success)
		sub.ack(packets.Pubcomp, two.PacketID)
		sub.quiet()
		sub.send(packets.Packet{
			FixedHeader: packets.FixedHeader{Type: packets.Unsubscribe}, PacketID: 3,
			Filters: packets.Subscriptions{{Filter: "farm/+/moisture"}},
		})
		sub.expect(packets.Unsuback)
		pub.publish("farm/3/moisture", "late", 1, 9)
		pub.expectAck(packets.Puback, 9, Success)
		sub.quiet()
	})
}

func TestRetained(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	pub, _ := connected(t, addr, 5, "pub", nil)
	retain := func(topic, payload string) {
		pk := publishPacket(topic, payload, 1, 1)
		pk.FixedHeader.Retain = true
		pub.send(pk)
		pub.expectAck(packets.Puback, 1, Success)
	}
	retain("a/1", "old")
	retain("a/1", "new")
	retain("a/2", "gone")
	retain("a/2", "") // [MQTT-3.3.1-6]
	retain("b", "x")
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(1, "a/#")
	m := sub.expectMessage("new")
	if !m.FixedHeader.Retain { // [MQTT-3.3.1-8]
		t.Error("a stored message came without RETAIN")
	}
	sub.ack(packets.Puback, m.PacketID)
	sub.quiet()
	retain("a/1", "live")
	if m := sub.expectMessage("live"); m.FixedHeader.Retain { // [MQTT-3.3.1-12]
		t.Error("a live message came with RETAIN")
	}
	var topics []string
	srv.Retained("#", func(m *Message) bool { topics = append(topics, m.Topic); return true })
	if fmt.Sprint(topics) != "[a/1 b]" {
		t.Errorf("retained topics %q", topics)
	}
	t.Run("handling", func(t *testing.T) {
		p, _ := connected(t, addr, 5, "handling", nil)
		one := packets.Subscription{Filter: "b", RetainHandling: 1, RetainAsPublished: true}
		p.subscribeWith(packets.Subscriptions{one}, 0)
		p.expectMessage("x")
		p.subscribeWith(packets.Subscriptions{one}, 0) // [MQTT-3.3.1-10]
		p.quiet()
		p.subscribeWith(packets.Subscriptions{{Filter: "b", RetainHandling: 2}}, 0) // [MQTT-3.3.1-11]
		p.quiet()
		p.subscribeWith(packets.Subscriptions{{Filter: "b", RetainAsPublished: true, RetainHandling: 2}}, 0)
		retain("b", "y")
		if m := p.expectMessage("y"); !m.FixedHeader.Retain { // [MQTT-3.3.1-13]
			t.Error("retain as published was forgotten")
		}
	})
}

func TestRetainedBound(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxRetainedMessages = 3
	srv, _ := startServer(t, cfg, Deps{})
	for i := range 5 {
		srv.Publish(&Message{Topic: fmt.Sprintf("t/%d", i), Payload: []byte("x"), Retain: true})
	}
	var topics []string
	srv.Retained("#", func(m *Message) bool { topics = append(topics, m.Topic); return true })
	if fmt.Sprint(topics) != "[t/2 t/3 t/4]" || srv.Stats().DroppedRetained != 2 {
		t.Errorf("kept %q, dropped %d", topics, srv.Stats().DroppedRetained)
	}
}

// TestManyRetained subscribes to more retained messages than a queue holds.
func TestManyRetained(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxQueuedMessages = 10
	srv, addr := startServer(t, cfg, Deps{})
	const n = 3000
	for i := range n {
		srv.Publish(&Message{Topic: fmt.Sprintf("t/%04d", i), Payload: make([]byte, 200), QoS: byte(i % 2), Retain: true})
	}
	sub, _ := connected(t, addr, 4, "sub", nil)
	sub.subscribe(1, "#")
	got := map[string]bool{}
	for range n {
		m := sub.expect(packets.Publish)
		got[m.TopicName] = true
		if m.FixedHeader.Qos == 1 {
			sub.ack(packets.Puback, m.PacketID)
		}
	}
	if len(got) != n {
		t.Errorf("got %d of %d topics", len(got), n)
	}
}

func TestNoLocalAndIdentifiers(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	p, _ := connected(t, addr, 5, "p", nil)
	p.subscribeWith(packets.Subscriptions{{Filter: "mine", NoLocal: true}}, 0)
	p.subscribeWith(packets.Subscriptions{{Filter: "x/+", Qos: 0}}, 5)
	p.subscribeWith(packets.Subscriptions{{Filter: "x/#", Qos: 1}}, 6)
	p.publish("mine", "no", 0, 0) // [MQTT-3.8.3-3]
	p.quiet()
	p.publish("x/1", "both", 1, 1)
	m := p.expectMessage("both")
	p.expectAck(packets.Puback, 1, Success)
	if ids := fmt.Sprint(m.Properties.SubscriptionIdentifier); (ids != "[5 6]" && ids != "[6 5]") || m.FixedHeader.Qos != 1 {
		t.Errorf("identifiers %s, QoS %d", ids, m.FixedHeader.Qos) // [MQTT-3.3.4-3], [MQTT-3.3.4-2]
	}
	p.quiet()
}

func TestPropertiesTravel(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	p, _ := connected(t, addr, 5, "p", nil)
	p.subscribe(0, "a")
	pk := publishPacket("a", "x", 0, 0)
	pk.Properties = packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "application/json", ResponseTopic: "answers/1",
		CorrelationData: []byte("c1"), User: []packets.UserProperty{{Key: "k", Val: "1"}, {Key: "k", Val: "2"}},
		MessageExpiryInterval: 100,
	}
	p.send(pk)
	got := p.expectMessage("x").Properties
	if got.PayloadFormat != 1 || got.ContentType != "application/json" || got.ResponseTopic != "answers/1" ||
		string(got.CorrelationData) != "c1" || fmt.Sprint(got.User) != "[{k 1} {k 2}]" {
		t.Errorf("properties %+v", got)
	}
	if got.MessageExpiryInterval == 0 || got.MessageExpiryInterval > 100 { // [MQTT-3.3.2-6]
		t.Errorf("message expiry %d", got.MessageExpiryInterval)
	}
}

func TestTopicAliases(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	sub, ack := connected(t, addr, 5, "sub", func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = 1 })
	if ack.Properties.TopicAliasMaximum == 0 {
		t.Fatal("no topic alias maximum announced")
	}
	sub.subscribe(0, "#")
	pub, _ := connected(t, addr, 5, "pub", nil)
	aliased := func(topic, payload string, alias uint16) {
		pk := publishPacket(topic, payload, 0, 0)
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = alias, true
		pub.send(pk)
	}
	aliased("long/topic", "1", 3)
	aliased("", "2", 3)
	pub.publish("another", "3", 0, 0)
	m1, m2, m3 := sub.expectMessage("1"), sub.expectMessage("2"), sub.expectMessage("3")
	if m1.TopicName != "long/topic" || m1.Properties.TopicAlias != 1 {
		t.Errorf("first: %q alias %d", m1.TopicName, m1.Properties.TopicAlias)
	}
	if m2.TopicName != "" || m2.Properties.TopicAlias != 1 {
		t.Errorf("second: %q alias %d", m2.TopicName, m2.Properties.TopicAlias)
	}
	if m3.TopicName != "another" || m3.Properties.TopicAlias != 0 { // [MQTT-3.1.2-26]
		t.Errorf("third: %q alias %d", m3.TopicName, m3.Properties.TopicAlias)
	}
	aliased("", "4", 4)
	if code := pub.expectClosed(); code != ProtocolError {
		t.Errorf("unset alias: %v", code)
	}
	again, _ := connected(t, addr, 5, "again", nil)
	pk := publishPacket("x", "5", 0, 0)
	pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 9999, true
	again.send(pk)
	if code := again.expectClosed(); code != TopicAliasInvalid { // [MQTT-3.3.2-9]
		t.Errorf("alias out of range: %v", code)
	}
}

func TestClientMaximumPacketSize(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", func(pk *packets.Packet) { pk.Properties.MaximumPacketSize = 60 })
	sub.subscribe(1, "a")
	srv.Publish(&Message{Topic: "a", Payload: make([]byte, 100), QoS: 1})
	srv.Publish(&Message{Topic: "a", Payload: make([]byte, 100)})
	srv.Publish(&Message{Topic: "a", Payload: []byte("small"), QoS: 1})
	sub.expectMessage("small") // [MQTT-3.1.2-24]
	if n := srv.Stats().DroppedTooLarge; n != 2 {
		t.Errorf("%d counted as too large", n)
	}
	shows5(t, "3.1.2-24")
}

func TestReceiveMaximumOfClient(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 2 })
	sub.subscribe(2, "a")
	for i := range 5 {
		srv.Publish(&Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1 + byte(i)%2})
	}
	m0, m1 := sub.expectMessage("0"), sub.expectMessage("1")
	srv.Publish(&Message{Topic: "a", Payload: []byte("q0")})
	sub.expectMessage("q0") // QoS 0 is not held up
	sub.quiet()             // [MQTT-3.3.4-9]
	sub.ack(packets.Puback, m0.PacketID)
	m2 := sub.expectMessage("2")
	sub.ack(packets.Pubrec, m1.PacketID)
	sub.expectAck(packets.Pubrel, m1.PacketID, Success)
	sub.quiet() // QoS 2 gives its place back at PUBCOMP
	sub.ack(packets.Pubcomp, m1.PacketID)
	m3 := sub.expectMessage("3")
	sub.ack(packets.Puback, m2.PacketID)
	sub.expectMessage("4")
	sub.quiet()
	sub.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: m3.PacketID, ReasonCode: byte(QuotaExceeded),
	})
	sub.quiet()
	eventually(t, "one message in flight", func() bool { return srv.Clients()[0].InFlight == 1 })
}

func TestReceiveMaximumOfServer(t *testing.T) {
	cfg := quietConfig()
	cfg.ReceiveMaximum = 3
	h := newHolder()
	_, addr := startServer(t, cfg, Deps{Handler: h})
	t.Run("v5", func(t *testing.T) {
		p, ack := connected(t, addr, 5, "p5", nil)
		if ack.Properties.ReceiveMaximum != 3 {
			t.Errorf("announced %d", ack.Properties.ReceiveMaximum)
		}
		for id := range uint16(4) {
			p.publish("a", "x", 1, id+1)
		}
		if code := p.expectClosed(); code != ReceiveMaximumExceeded { // [MQTT-3.3.4-7]
			t.Errorf("closed with %v", code)
		}
		shows5(t, "3.3.4-7")
	})
	t.Run("v3.1.1", func(t *testing.T) { // it cannot know: it is only read more slowly
		h.reset()
		p, _ := connected(t, addr, 4, "p4", nil)
		for id := range uint16(20) {
			p.publish("a", "x", 1, id+1)
		}
		for id := range uint16(20) {
			h.take(t).Release(Success)
			p.expectAck(packets.Puback, id+1, Success)
		}
	})
}

func TestMessageExpiry(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribe(1, "a")
	sub.disconnect()
	srv.Publish(&Message{Topic: "a", Payload: []byte("stale"), QoS: 1, Expires: time.Now().Add(-time.Second)})
	srv.Publish(&Message{Topic: "a", Payload: []byte("short"), QoS: 1, Expires: time.Now().Add(30 * time.Millisecond)})
	srv.Publish(&Message{Topic: "a", Payload: []byte("long"), QoS: 1, Expires: time.Now().Add(time.Hour)})
	time.Sleep(40 * time.Millisecond)
	sub, _ = connected(t, addr, 5, "sub", durable)
	if m := sub.expectMessage("long"); m.Properties.MessageExpiryInterval < 3590 { // [MQTT-3.3.2-5], [MQTT-3.3.2-6]
		t.Errorf("expiry %d", m.Properties.MessageExpiryInterval)
	}
	if n := srv.Stats().DroppedExpired; n != 2 {
		t.Errorf("%d expired", n)
	}
}

// TestSysTakesNobodysPlace fills the retained messages to their bound: the
// broker's own topics push none of them out.
func TestSysTakesNobodysPlace(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxRetainedMessages = 10
	srv, _ := startServer(t, cfg, Deps{})
	for i := range 10 {
		srv.Publish(&Message{Topic: fmt.Sprintf("r/%d", i), Payload: []byte("x"), Retain: true})
	}
	for range 3 {
		srv.publishStats()
	}
	if st := srv.Stats(); st.RetainedMessages != 10 || st.DroppedRetained != 0 {
		t.Errorf("%d retained, %d dropped", st.RetainedMessages, st.DroppedRetained)
	}
	found := 0
	srv.Retained("$SYS/#", func(*Message) bool { found++; return true })
	if found < 10 {
		t.Errorf("%d topics of the broker's own", found)
	}
}
