package broker

import (
	"fmt"
	"strings"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func TestConformSubscribe(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": {Publish: []string{"#"}, Subscribe: []string{"a/#", "+"}}}})
		p, _ := connected(t, addr, version, "p", login("ann", "secret ann"))
		p.write([]byte(wire(0x82, "\x12\x34", props(version), text("a/1"), "\x02", text("no/1"), "\x01", text("b"), "\x00", text("a/2"), "\x01")))
		want := "\x90\x12\x34" + map[byte]string{4: "\x02\x80\x00\x01", 5: props(5, "\x1f"+text(`"no/1" is not allowed`)) + "\x02\x87\x00\x01"}[version]
		if got := p.rawNext(); got != want {
			t.Errorf("SUBACK %q, want %q", got, want)
		}
		shows(t, version, "3.8.4-1", "3.8.4-2", "3.8.4-4", "3.8.4-5", "3.9.3-1", "3.9.3-2")
		for granted, topic := range map[byte]string{2: "a/1", 0: "b", 1: "a/2"} {
			for qos := range byte(3) {
				p.publish(topic, "x", qos, uint16(10*granted+qos+1))
				var m packets.Packet
				for got := 0; got < 1+min(int(qos), 1); got++ { // the message and its acknowledgement, in any order
					pk, err := p.next()
					if err != nil {
						t.Fatal(err)
					}
					if pk.FixedHeader.Type == packets.Publish {
						m = pk
					}
				}
				if m.FixedHeader.Qos != min(qos, granted) || m.TopicName != topic {
					t.Errorf("QoS %d on a subscription of %d came with %d on %s", qos, granted, m.FixedHeader.Qos, m.TopicName)
				}
			}
		}
		if version == 4 {
			shows(t, version, "3.8.4-6", "2.3.1-7", "3.3.2-3", "4.7.1-3")
		} else {
			shows(t, version, "3.8.4-6", "3.8.4-7", "3.8.4-8", "2.2.1-6", "3.3.2-3", "4.7.1-2")
		}
	})
}

// TestConformResubscribe replaces a subscription: its options change, retained
// messages come again, nothing is lost and nothing comes twice.
func TestConformResubscribe(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		p.send(retainedPacket("a", "kept", 1, 1))
		p.expect(packets.Puback)
		pub, _ := connected(t, addr, version, "pub", nil)
		n := 0
		for _, qos := range []byte{0, 1, 0} {
			p.send(packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9,
				Filters: packets.Subscriptions{{Filter: "a", Qos: qos}},
			})
			p.expect(packets.Suback)
			if m := p.expectMessage("kept"); m.FixedHeader.Qos != qos || !m.FixedHeader.Retain {
				t.Errorf("retained with QoS %d", m.FixedHeader.Qos)
			}
			pub.publish("a", fmt.Sprint(n), 1, 1)
			pub.expectAck(packets.Puback, 1, Success)
			if m := p.expectMessage(fmt.Sprint(n)); m.FixedHeader.Qos != qos {
				t.Errorf("live with QoS %d, not %d", m.FixedHeader.Qos, qos)
			}
			p.quiet() // once
			n++
		}
		shows(t, version, "3.8.4-3")
		if version == 5 {
			shows(t, version, "3.8.4-4", "3.3.1-9")
		}
	})
}

// TestConformReplaceLosesNothing publishes while the subscription is replaced
// again and again.
func TestConformReplaceLosesNothing(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		sub, _ := connected(t, addr, version, "sub", nil)
		sub.subscribe(1, "a")
		pub, _ := connected(t, addr, version, "pub", nil)
		const n = 200
		for i := range n {
			pub.publish("a", fmt.Sprint(i), 0, 0)
			sub.send(packets.Packet{
				FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: uint16(i + 1),
				Filters: packets.Subscriptions{{Filter: "a", Qos: byte(i % 3)}},
			})
		}
		for next, acks := 0, 0; next < n || acks < n; {
			pk, err := sub.next()
			switch {
			case err != nil:
				t.Fatal(err)
			case pk.FixedHeader.Type == packets.Suback:
				acks++
			case string(pk.Payload) != fmt.Sprint(next):
				t.Fatalf("got %q, want %d", pk.Payload, next)
			default:
				next++
			}
		}
		sub.quiet()
		shows(t, version, "3.8.4-3")
		if version == 5 {
			shows(t, version, "3.8.4-4")
		}
	})
}

func TestConformUnsubscribe(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		_, addr := startServer(t, cfg, Deps{})
		sub, _ := connected(t, addr, version, "sub", nil)
		sub.subscribe(2, "a/+", "a/b", "A/b", "c/#")
		pub, _ := connected(t, addr, version, "pub", nil)
		pub.publish("c/d", "begun", 2, 1)
		pub.expectAck(packets.Pubrec, 1, Success)
		begun := sub.expectMessage("begun")
		unsubscribe := func(id string, filters ...string) {
			t.Helper()
			var all []string
			codes := ""
			for _, f := range filters {
				code := "\x00"
				if strings.HasPrefix(f, "!") {
					f, code = f[1:], "\x11"
				}
				all = append(all, text(f))
				codes += code
			}
			sub.write([]byte(wire(0xa2, id, props(version), strings.Join(all, ""))))
			want := "\xb0" + id + props(version) + codes
			if version == 4 {
				want = "\xb0" + id
			}
			if got := sub.rawNext(); got != want {
				t.Errorf("UNSUBACK %q, want %q", got, want)
			}
		}
		unsubscribe("\x12\x34", "c/#", "!nothing", "a/b", "!a/#", "!a/B")
		unsubscribe("\x12\x35", "!c/#")
		pub.publish("c/d", "late", 1, 2)
		pub.expectAck(packets.Puback, 2, Success)
		pub.publish("a/b", "still", 0, 0) // by a/+, which is not a/b
		sub.expectMessage("still")
		pub.publish("A/b", "other case", 0, 0)
		sub.expectMessage("other case")
		sub.ack(packets.Pubrec, begun.PacketID) // what has begun goes on
		sub.expectAck(packets.Pubrel, begun.PacketID, Success)
		sub.ack(packets.Pubcomp, begun.PacketID)
		sub.quiet()
		shows(t, version, "3.10.4-1", "3.10.4-2", "3.10.4-3", "3.10.4-4", "3.10.4-5", "3.10.4-6")
		if version == 4 {
			shows(t, version, "2.3.1-7")
		} else {
			shows(t, version, "2.2.1-6", "3.11.3-1", "3.11.3-2", "3.14.4-1")
		}
	})
}

// TestConformFilters: what is no filter is refused, in its place, or ends the
// connection where it is no string.
func TestConformFilters(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		cfg.Topics.Length, cfg.Topics.Levels = 65535, 65535 // MQTT's own bounds
		_, addr := startServer(t, cfg, Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		refused := byte(TopicFilterInvalid)
		if version == 4 {
			refused = 0x80
		}
		v5 := map[string]string{"4.7.1-2": "4.7.1-1", "4.7.1-3": "4.7.1-2"}
		for filter, id := range map[string]string{
			"": "4.7.3-1", "a#": "4.7.1-2", "a/#/b": "4.7.1-2", "#/b": "4.7.1-2", "a/#b": "4.7.1-2",
			"a+": "4.7.1-3", "+a/b": "4.7.1-3", "a/b+/c": "4.7.1-3", "a/++": "4.7.1-3",
		} {
			if code := p.subscribe(0, filter)[0]; code != refused {
				t.Errorf("%q: SUBACK %#x", filter, code)
			}
			if version == 5 && v5[id] != "" {
				id = v5[id]
			}
			shows(t, version, id)
		}
		if codes := p.subscribe(0, "+", "+/#", "a/+/b", "/+", "#"); string(codes) != "\x00\x00\x00\x00\x00" {
			t.Errorf("SUBACK %v", codes)
		}
		for filter, ids := range map[string][2][]string{
			"a\x00":              {{"4.7.3-2", "1.5.3-2"}, {"4.7.3-2", "1.5.4-2"}},
			"a\xff":              {{"3.8.3-1", "1.5.3-1"}, {"3.8.3-1", "1.5.4-1"}},
			"a\xed\xa0\x80/\x01": {{"1.5.3-1"}, {"1.5.4-1"}},
		} {
			p, _ := connected(t, addr, version, "q", nil)
			p.write([]byte(wire(0x82, "\x00\x01", props(version), text(filter), "\x00")))
			p.expectClosed()
			shows(t, version, ids[version-4]...)
		}
		p, _ = connected(t, addr, version, "q", nil)
		p.write([]byte(wire(0xa2, "\x00\x01", props(version), text("\xff"))))
		p.expectClosed()
		shows(t, version, "3.10.3-1")
		for _, tc := range []struct {
			bytes string
			ids   [2]string
		}{
			{wire(0x82, "\x00\x01", props(version)), [2]string{"3.8.3-3", "3.8.3-2"}},
			{wire(0xa2, "\x00\x01", props(version)), [2]string{"3.10.3-2", "3.10.3-2"}},
			{wire(0x80, "\x00\x01", props(version), text("a"), "\x00"), [2]string{"3.8.1-1", "3.8.1-1"}},
			{wire(0xa0, "\x00\x01", props(version), text("a")), [2]string{"3.10.1-1", "3.10.1-1"}},
			{wire(0x82, "\x00\x01", props(version), text("a"), "\x40"), [2]string{"3.8.3-4", "3.8.3-5"}},
			{wire(0x82, "\x00\x01", props(version), text("a"), "\x03"), [2]string{"3.8.3-4", "4.13.1-1"}},
			{wire(0x82, "\x00\x00", props(version), text("a"), "\x00"), [2]string{"2.3.1-1", "2.2.1-3"}},
			{wire(0xa2, "\x00\x00", props(version), text("a")), [2]string{"2.3.1-1", "2.2.1-3"}},
		} {
			p, _ := connected(t, addr, version, "q", nil)
			p.write([]byte(tc.bytes))
			if code := p.expectClosed(); code.Failed() != (version == 5) {
				t.Errorf("%q: closed with %v", tc.bytes, code)
			}
			shows(t, version, tc.ids[version-4])
		}
	})
}

// TestConformMatching: topics are what their bytes are.
func TestConformMatching(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		cfg.Topics.Length = 65535
		srv, addr := startServer(t, cfg, Deps{})
		sub, _ := connected(t, addr, version, "sub", nil)
		sub.subscribe(0, "é", "\ufeffx", "finance", "a//b", "+/tail", "deep/#")
		pub, _ := connected(t, addr, version, "pub", nil)
		long := "deep/" + strings.Repeat("x", 65535-5)
		for topic, matches := range map[string]bool{
			"é": true, "e\u0301": false, "\ufeffx": true, "x": false, "finance": true, "Finance": false, "/finance": false, "finance/": false,
			"a//b": true, "a/b": false, "/tail": true, "tail": false, "deep": true, "deep/": true, "deep/er": true, long: true,
		} {
			pub.publish(topic, "x", 0, 0)
			pub.quiet() // it has been routed
			if matches {
				if m := sub.expectMessage("x"); m.TopicName != topic {
					t.Errorf("%q became %q", topic, m.TopicName)
				}
			}
			sub.quiet()
		}
		shows(t, version, "4.7.3-3", "4.7.3-4", map[byte]string{4: "1.5.3-3", 5: "1.5.4-3"}[version])

		wild, _ := connected(t, addr, version, "wild", nil)
		wild.subscribe(0, "#", "+/x", "+", "+/#")
		srv.Publish(&Message{Topic: "$SYS/x", Payload: []byte("sys"), Retain: true})
		pub.publish("$other/x", "other", 0, 0)
		pub.publish("$", "dollar", 0, 0)
		pub.quiet()
		wild.quiet()
		wild.subscribe(0, "+/x", "#") // nor what is retained
		wild.quiet()
		wild.subscribe(0, "$SYS/+")
		wild.expectMessage("sys")
		shows(t, version, "4.7.2-1")
	})
}

func TestConformSubscribeOptions(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	pub, _ := connected(t, addr, 5, "pub", nil)
	pub.send(retainedPacket("a", "kept", 0, 0))
	pub.quiet()
	sub, _ := connected(t, addr, 5, "sub", nil)
	with := func(s packets.Subscription, want string) {
		t.Helper()
		sub.subscribeWith(packets.Subscriptions{s}, 0)
		if want != "" {
			sub.expectMessage(want)
		}
		sub.quiet()
	}
	with(packets.Subscription{Filter: "a", RetainHandling: 2}, "")
	with(packets.Subscription{Filter: "a", RetainHandling: 1}, "")
	with(packets.Subscription{Filter: "+", RetainHandling: 1}, "kept")
	with(packets.Subscription{Filter: "+", RetainHandling: 1}, "")
	with(packets.Subscription{Filter: "+", RetainHandling: 0}, "kept")
	shows5(t, "3.3.1-9", "3.3.1-10", "3.3.1-11")
	for _, asPublished := range []bool{false, true} {
		p, _ := connected(t, addr, 5, "flags", nil)
		p.subscribeWith(packets.Subscriptions{{Filter: "r", RetainAsPublished: asPublished, RetainHandling: 2}}, 0)
		for _, retain := range []bool{false, true} {
			pk := publishPacket("r", "x", 0, 0)
			pk.FixedHeader.Retain = retain
			pub.send(pk)
			if m := p.expectMessage("x"); m.FixedHeader.Retain != (retain && asPublished) {
				t.Errorf("retain as published %v: RETAIN %v came as %v", asPublished, retain, m.FixedHeader.Retain)
			}
		}
	}
	shows5(t, "3.3.1-12", "3.3.1-13")
	local, _ := connected(t, addr, 5, "local", nil)
	local.subscribeWith(packets.Subscriptions{{Filter: "l", NoLocal: true}}, 0)
	local.publish("l", "mine", 0, 0)
	local.quiet()
	pub.publish("l", "theirs", 0, 0)
	local.expectMessage("theirs")
	shows5(t, "3.8.3-3")
	local.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
		Filters: packets.Subscriptions{{Filter: "$share/g/l", NoLocal: true}},
	})
	if code := local.expectClosed(); code != ProtocolError {
		t.Errorf("closed with %v", code)
	}
	shows5(t, "3.8.3-4")
}

func TestConformOverlap(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		id := func(n int) int { return n * int(version-4) } // 3.1.1 has none
		p.subscribeWith(packets.Subscriptions{{Filter: "a/+", Qos: 2}}, id(300))
		p.subscribeWith(packets.Subscriptions{{Filter: "a/b", Qos: 0}}, id(7))
		p.subscribeWith(packets.Subscriptions{{Filter: "#", Qos: 1}}, 0)
		pub, _ := connected(t, addr, version, "pub", nil)
		pub.publish("a/b", "x", 2, 1)
		m := p.expectMessage("x")
		if m.FixedHeader.Qos != 2 {
			t.Errorf("QoS %d", m.FixedHeader.Qos)
		}
		p.quiet() // one copy
		if version == 4 {
			shows(t, version, "3.3.5-1")
			return
		}
		if ids := fmt.Sprint(m.Properties.SubscriptionIdentifier); ids != "[300 7]" && ids != "[7 300]" {
			t.Errorf("identifiers %s", ids)
		}
		shows(t, version, "3.3.4-2", "3.3.4-3", "3.3.4-4")
	})
}

func TestConformShared(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	member := func(name string, qos byte) *peer {
		p, _ := connected(t, addr, 5, name, durable)
		p.subscribe(qos, "$share/g/s")
		return p
	}
	p, _ := connected(t, addr, 5, "p", nil)
	for filter, id := range map[string]string{
		"$share//a": "4.8.2-1", "$share/": "4.8.2-1", "$share/g": "4.8.2-2", "$share/g/": "4.8.2-2", "$share/g+/a": "4.8.2-2", "$share/#/a": "4.8.2-2",
	} {
		if code := p.subscribe(0, filter)[0]; code != byte(TopicFilterInvalid) {
			t.Errorf("%s: SUBACK %#x", filter, code)
		}
		shows5(t, id)
	}
	publish := func(payload string, qos byte) { srv.Publish(&Message{Topic: "s", Payload: []byte(payload), QoS: qos}) }
	for qos := range byte(3) { // alone in the group
		one := member("one", qos)
		publish("x", 2)
		if m := one.expectMessage("x"); m.FixedHeader.Qos != qos {
			t.Errorf("granted %d, sent with %d", qos, m.FixedHeader.Qos)
		}
		one, _ = connected(t, addr, 5, "one", nil) // an end to its session
		one.disconnect()
	}
	shows5(t, "4.8.2-3")
	eventually(t, "the group is empty", func() bool { return srv.Stats().Subscriptions == 0 })

	one := member("one", 2)
	publish("two", 2)
	m := one.expectMessage("two")
	other := member("other", 2)
	_ = one.nc.Close()
	one, _ = connected(t, addr, 5, "one", durable)
	if again := one.expectMessage("two"); again.PacketID != m.PacketID {
		t.Errorf("sent again with id %d, not %d", again.PacketID, m.PacketID)
	}
	other.quiet()
	shows5(t, "4.8.2-4")
	one, _ = connected(t, addr, 5, "one", nil) // clean start: its session ends
	other.quiet()
	shows5(t, "4.8.2-5")
	one.disconnect()

	for qos, kind := range map[byte]byte{1: packets.Puback, 2: packets.Pubrec} {
		publish("no", qos)
		m := other.expectMessage("no")
		third := member("third", 2)
		other.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: m.PacketID, ReasonCode: byte(QuotaExceeded)})
		other.quiet()
		third.quiet()
		third, _ = connected(t, addr, 5, "third", nil)
		third.disconnect()
		eventually(t, "the third is gone", func() bool { return clientOf(srv, "third").ID == "" })
	}
	shows5(t, "4.8.2-6")
}
