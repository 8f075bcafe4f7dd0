package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

func retainedPacket(topic, payload string, qos byte, id uint16) packets.Packet {
	pk := publishPacket(topic, payload, qos, id)
	pk.FixedHeader.Retain = true
	return pk
}

func TestConformRetain(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		pub, _ := connected(t, addr, version, "pub", durable)
		live, _ := connected(t, addr, version, "live", nil)
		live.subscribe(1, "r/#")
		for _, step := range []struct {
			pk   packets.Packet
			want string // what a new subscriber gets
			qos  byte
		}{
			{retainedPacket("r/a", "one", 1, 1), "one", 1},
			{publishPacket("r/a", "two", 1, 2), "one", 1},
			{publishPacket("r/a", "", 1, 3), "one", 1},
			{retainedPacket("r/a", "three", 0, 0), "three", 0},
			{retainedPacket("r/a", "", 1, 4), "", 0},
			{retainedPacket("r/a", "", 0, 0), "", 0},
			{retainedPacket("r/a", "four", 1, 5), "four", 1},
		} {
			pub.send(step.pk)
			if step.pk.FixedHeader.Qos > 0 {
				pub.expect(packets.Puback)
			}
			if m := live.expectMessage(string(step.pk.Payload)); m.FixedHeader.Retain || m.FixedHeader.Dup {
				t.Errorf("a live message has RETAIN or DUP: %+v", m.FixedHeader)
			}
			late, _ := connected(t, addr, version, "late", nil)
			late.subscribe(2, "r/+")
			if step.want != "" {
				m := late.expectMessage(step.want)
				if !m.FixedHeader.Retain || m.FixedHeader.Qos != step.qos || m.TopicName != "r/a" {
					t.Errorf("retained %q: %+v on %s", step.want, m.FixedHeader, m.TopicName)
				}
			}
			late.quiet()
			late.disconnect()
		}
		// The end of the publisher's session is not the end of what it retained.
		pub.disconnect()
		pub, _ = connected(t, addr, version, "pub", nil)
		pub.subscribe(0, "#")
		pub.expectMessage("four")
		if version == 4 {
			shows(t, version, "3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8", "3.3.1-9", "3.3.1-10", "3.3.1-11", "3.3.1-12", "3.1.2-7")
		} else {
			shows(t, version, "3.3.1-5", "3.3.1-6", "3.3.1-7", "3.3.1-8", "3.3.1-12")
		}
	})
}

// TestConformDup: DUP says that this PUBLISH was sent before, and nothing else
// does.
func TestConformDup(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		sub, _ := connected(t, addr, version, "sub", durable)
		sub.subscribe(2, "a")
		pub, _ := connected(t, addr, version, "pub", nil)
		pub.publish("a", "zero", 0, 0)
		pub.redeliver("a", "one", 1, 1)
		pub.redeliver("a", "two", 2, 2)
		pub.expectAck(packets.Puback, 1, Success)
		pub.expectAck(packets.Pubrec, 2, Success)
		ids := map[uint16]bool{0: true}
		for qos, payload := range []string{"zero", "one", "two"} {
			m := sub.expectMessage(payload)
			if m.FixedHeader.Dup || int(m.FixedHeader.Qos) != qos || qos > 0 && ids[m.PacketID] {
				t.Errorf("%s: %+v, id %d", payload, m.FixedHeader, m.PacketID)
			}
			ids[m.PacketID] = true
		}
		shows(t, version, "3.3.1-2", "3.3.1-3", "4.3.1-1", "4.3.2-1", "4.3.3-1")
		if version == 4 {
			shows(t, version, "2.3.1-4")
		} else {
			shows(t, version, "2.2.1-4", "4.3.2-2", "4.3.3-2")
		}
		sub.quiet() // nothing is sent again before the connection ends
		_ = sub.nc.Close()
		sub, _ = connected(t, addr, version, "sub", durable)
		for _, payload := range []string{"one", "two"} {
			if m := sub.expectMessage(payload); !m.FixedHeader.Dup || !ids[m.PacketID] {
				t.Errorf("%s came again with %+v, id %d", payload, m.FixedHeader, m.PacketID)
			}
		}
		sub.quiet()
		shows(t, version, "3.3.1-1", "4.4.0-1")
		if version == 5 {
			shows(t, version, "4.3.2-3", "4.3.3-3")
		}
		pub.write([]byte(wire(0x38, text("a"), props(version), "x"))) // DUP with QoS 0
		pub.expectClosed()
		shows(t, version, "3.3.1-2")
	})
}

// TestConformPublishFormat: PUBLISHes that break the rules end the connection,
// and reach nobody.
func TestConformPublishFormat(t *testing.T) {
	both := func(ids ...string) [2][]string { return [2][]string{ids, ids} }
	for _, tc := range []struct {
		name string
		head byte
		body string // with # for the property section
		ids  [2][]string
	}{
		{"QoS 3", 0x36, text("a") + "\x00\x01#x", both("3.3.1-4")},
		{"id 0", 0x32, text("a") + "\x00\x00#x", [2][]string{{"2.3.1-1"}, {"2.2.1-3"}}},
		{"no topic", 0x30, "", both("3.3.2-1")},
		{"empty topic", 0x30, text("") + "#x", both("4.7.3-1")},
		{"topic not UTF-8", 0x30, text("\xc3\x28") + "#x", [2][]string{{"3.3.2-1", "1.5.3-1"}, {"3.3.2-1", "1.5.4-1"}}},
		{"topic with a surrogate", 0x30, text("\xed\xbf\xbf") + "#x", [2][]string{{"1.5.3-1"}, {"1.5.4-1"}}},
		{"topic with U+0000", 0x30, text("a\x00b") + "#x", [2][]string{{"1.5.3-2", "4.7.3-2"}, {"1.5.4-2", "4.7.3-2"}}},
		{"wildcard +", 0x30, text("a/+") + "#x", [2][]string{{"3.3.2-2", "4.7.1-1"}, {"3.3.2-2", "4.7.0-1"}}},
		{"wildcard #", 0x30, text("#") + "#x", [2][]string{{"3.3.2-2", "4.7.1-1"}, {"3.3.2-2", "4.7.0-1"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			versions(t, func(t *testing.T, version byte) {
				_, addr := startServer(t, quietConfig(), Deps{})
				other, _ := connected(t, addr, version, "other", nil)
				other.subscribe(0, "#")
				p, _ := connected(t, addr, version, "p", nil)
				body := tc.body
				if i := strings.LastIndexByte(body, '#'); i >= 0 {
					body = body[:i] + props(version) + body[i+1:]
				}
				p.write([]byte(wire(tc.head, body)))
				if code := p.expectClosed(); code.Failed() != (version == 5) {
					t.Errorf("closed with %v", code)
				}
				other.quiet()
				shows(t, version, tc.ids[version-4]...)
			})
		})
	}
	shows3(t, "4.8.0-1")
	shows5(t, "4.13.1-1")
}

// TestConformPublishProperties: the properties of a PUBLISH reach subscribers
// as they came; those that break the rules end the connection.
func TestConformPublishProperties(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(0, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	section := "\x01\x01" + "\x03" + text("text/plain") + "\x08" + text("answer/\ufeff1") + "\x09" + text("\x00\xff") +
		"\x26" + text("b") + text("1") + "\x26" + text("a") + text("") + "\x26" + text("b") + text("1")
	pub.write([]byte(wire(0x30, text("a"), props(5, section), "x")))
	if got, want := sub.rawNext(), "\x30"+text("a")+props(5, section)+"x"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	shows5(t, "3.3.2-4", "3.3.2-15", "3.3.2-16", "3.3.2-17", "3.3.2-18", "3.3.2-20", "1.5.4-3")
	pub.write([]byte(wire(0x30, text("a"), props(5, "\x02\x00\x00\x00\x64"), "x")))
	if left := sub.expectMessage("x").Properties.MessageExpiryInterval; left < 50 || left > 100 {
		t.Errorf("%d seconds of 100 are left", left)
	}
	shows5(t, "3.3.2-6")
	for _, tc := range [...]struct{ section, id string }{
		{"\x08" + text("a/#"), "3.3.2-14"},
		{"\x08" + text("\xff"), "3.3.2-13"},
		{"\x03" + text("\xff"), "3.3.2-19"},
		{"\x26" + text("\xff") + text("v"), "1.5.7-1"},
		{"\x26" + text("k") + text("\x00"), "1.5.7-1"},
		{"\x0b\x01", "3.3.4-6"},
		{"\x23\x00\x00", "3.3.2-8"},
		{"\x11\x00\x00\x00\x01", "4.13.1-1"}, // a property of CONNECT
	} {
		p, _ := connected(t, addr, 5, "p", nil)
		p.write([]byte(wire(0x30, text("a"), props(5, tc.section), "x")))
		if code := p.expectClosed(); !code.Failed() {
			t.Errorf("%q: closed with %v", tc.section, code)
		}
		sub.quiet()
		shows5(t, tc.id)
	}
}

func TestConformTopicAlias(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	plain, _ := connected(t, addr, 5, "plain", nil)
	plain.subscribe(0, "#")
	aliasing, _ := connected(t, addr, 5, "aliasing", func(pk *packets.Packet) { pk.Properties.TopicAliasMaximum = 2 })
	aliasing.subscribe(0, "#")
	pub, ack := connected(t, addr, 5, "pub", nil)
	last := ack.Properties.TopicAliasMaximum
	for alias := uint16(1); alias <= last; alias++ {
		for _, topic := range []string{fmt.Sprint("t/", alias), ""} {
			pk := publishPacket(topic, fmt.Sprint(alias), 0, 0)
			pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = alias, true
			pub.send(pk)
			if m := plain.expectMessage(fmt.Sprint(alias)); m.TopicName != fmt.Sprint("t/", alias) || m.Properties.TopicAliasFlag {
				t.Fatalf("alias %d: %q, alias sent %d", alias, m.TopicName, m.Properties.TopicAlias)
			}
			if m := aliasing.expectMessage(fmt.Sprint(alias)); m.Properties.TopicAlias > 2 || m.TopicName == "" && m.Properties.TopicAlias == 0 {
				t.Errorf("alias %d was sent", m.Properties.TopicAlias)
			}
		}
	}
	shows5(t, "3.3.2-12", "3.3.2-11", "3.1.2-26", "3.1.2-27")
	beyond := publishPacket("x", "x", 0, 0)
	beyond.Properties.TopicAlias, beyond.Properties.TopicAliasFlag = last+1, true
	pub.send(beyond)
	if code := pub.expectClosed(); code != TopicAliasInvalid {
		t.Errorf("closed with %v", code)
	}
	shows5(t, "3.2.2-17", "3.3.2-9")
	// Neither side's aliases are there on the next connection.
	pub, _ = connected(t, addr, 5, "pub", nil)
	again := publishPacket("", "x", 0, 0)
	again.Properties.TopicAlias, again.Properties.TopicAliasFlag = 1, true
	pub.send(again)
	if code := pub.expectClosed(); code != ProtocolError {
		t.Errorf("closed with %v", code)
	}
	sub, _ := connected(t, addr, 5, "sub", func(pk *packets.Packet) { durable(pk); pk.Properties.TopicAliasMaximum = 2 })
	sub.subscribe(0, "s")
	pub, _ = connected(t, addr, 5, "pub", nil)
	for range 2 {
		pub.publish("s", "x", 0, 0)
		if m := sub.expectMessage("x"); m.TopicName != "s" || m.Properties.TopicAlias != 1 {
			t.Errorf("first on its connection: %q, alias %d", m.TopicName, m.Properties.TopicAlias)
		}
		sub, _ = connected(t, addr, 5, "sub", func(pk *packets.Packet) { durable(pk); pk.Properties.TopicAliasMaximum = 2 })
	}
	shows5(t, "3.3.2-7")
}

// TestConformExpiry: what is over is not delivered, and what remains is told.
func TestConformExpiry(t *testing.T) {
	t.Parallel()
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribe(2, "a")
	sub.disconnect()
	pub, _ := connected(t, addr, 5, "pub", nil)
	send := func(payload string, expiry uint32, id uint16) {
		pk := publishPacket("a", payload, 2, id)
		pk.Properties.MessageExpiryInterval = expiry
		pub.send(pk)
		pub.expectAck(packets.Pubrec, id, Success)
		pub.ack(packets.Pubrel, id)
		pub.expectAck(packets.Pubcomp, id, Success) // [MQTT-4.3.3-13]
	}
	send("soon over", 1, 1)
	send("lasts", 100, 2)
	time.Sleep(1100 * time.Millisecond) // an interval that has to pass
	sub, _ = connected(t, addr, 5, "sub", durable)
	if m := sub.expectMessage("lasts"); m.Properties.MessageExpiryInterval == 0 || m.Properties.MessageExpiryInterval > 99 {
		t.Errorf("%d seconds are left", m.Properties.MessageExpiryInterval)
	}
	shows5(t, "3.3.2-5", "3.3.2-6", "4.3.3-13")
	// One that was sent goes on, whatever its expiry.
	send("sent", 100, 3)
	sent := sub.expectMessage("sent")
	expire(t, srv, "sub")
	_ = sub.nc.Close()
	sub, _ = connected(t, addr, 5, "sub", durable)
	sub.expectMessage("lasts")
	if m := sub.expectMessage("sent"); m.PacketID != sent.PacketID {
		t.Errorf("sent again with id %d, not %d", m.PacketID, sent.PacketID)
	}
	sub.ack(packets.Pubrec, sent.PacketID)
	sub.expectAck(packets.Pubrel, sent.PacketID, Success)
	shows5(t, "4.3.3-7")
}
