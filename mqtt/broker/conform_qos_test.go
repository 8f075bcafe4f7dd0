package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestConformReceiving takes the receiver's part of QoS 1 and 2, apart from the
// duplicates of resumed sessions.
func TestConformReceiving(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		sub, _ := connected(t, addr, version, "sub", nil)
		sub.subscribe(2, "a")
		pub, _ := connected(t, addr, version, "pub", nil)
		pub.publish("a", "zero", 0, 0)
		pub.quiet() // QoS 0 is not answered
		sub.expectMessage("zero")
		for _, dup := range []bool{false, false, true} { // the id is free again after its PUBACK
			if dup {
				pub.redeliver("a", "one", 1, 0x1234)
			} else {
				pub.publish("a", "one", 1, 0x1234)
			}
			if got := pub.rawNext(); got != "\x40\x12\x34" {
				t.Fatalf("PUBACK %q", got)
			}
			sub.ack(packets.Puback, sub.expectMessage("one").PacketID)
		}
		shows(t, version, "3.3.4-1", map[byte]string{4: "4.3.2-2", 5: "4.3.2-5"}[version])
		for range 2 {
			pub.publish("a", "two", 2, 0x1235)
			if got := pub.rawNext(); got != "\x50\x12\x35" {
				t.Fatalf("PUBREC %q", got)
			}
			pub.redeliver("a", "two", 2, 0x1235)
			if got := pub.rawNext(); got != "\x50\x12\x35" {
				t.Fatalf("second PUBREC %q", got)
			}
			pub.ack(packets.Pubrel, 0x1235)
			if got := pub.rawNext(); got != "\x70\x12\x35" {
				t.Fatalf("PUBCOMP %q", got)
			}
			m := sub.expectMessage("two")
			sub.quiet() // once
			sub.ack(packets.Pubrec, m.PacketID)
			if got := sub.rawNext(); got != "\x62"+string([]byte{byte(m.PacketID >> 8), byte(m.PacketID)}) {
				t.Fatalf("PUBREL %q", got)
			}
			sub.ack(packets.Pubcomp, m.PacketID)
		}
		if version == 4 {
			shows(t, version, "4.3.3-2", "2.3.1-6", "2.3.1-5")
		} else {
			shows(t, version, "4.3.2-4", "4.3.3-8", "4.3.3-10", "4.3.3-11", "4.3.3-12", "4.3.3-4", "2.2.1-5", "2.2.1-2")
		}
		pub.write([]byte(wire(0x60, "\x00\x01"))) // PUBREL without its flags
		if code := pub.expectClosed(); version == 5 && code != MalformedPacket {
			t.Errorf("closed with %v", code)
		}
		shows(t, version, "3.6.1-1", map[byte]string{4: "2.2.2-2", 5: "2.1.3-1"}[version])
	})
}

// TestConformSending loses the connection at every step of the sender's part.
func TestConformSending(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		pub, _ := connected(t, addr, version, "pub", nil)
		sub, _ := connected(t, addr, version, "sub", durable)
		sub.subscribe(2, "#")
		for i := range 4 {
			pub.publish("a", fmt.Sprint(i), 2, uint16(i+1))
			pub.expectAck(packets.Pubrec, uint16(i+1), Success)
		}
		var ids []uint16
		for i := range 4 {
			ids = append(ids, sub.expectMessage(fmt.Sprint(i)).PacketID)
		}
		again := func() {
			t.Helper()
			_ = sub.nc.Close()
			var ack packets.Packet
			if sub, ack = connected(t, addr, version, "sub", durable); !ack.SessionPresent {
				t.Fatal("no session present")
			}
		}
		again()
		for i := range 4 {
			if m := sub.expectMessage(fmt.Sprint(i)); m.PacketID != ids[i] || !m.FixedHeader.Dup {
				t.Errorf("%d came again with id %d, not %d", i, m.PacketID, ids[i])
			}
		}
		for _, id := range ids[:2] { // PUBREL in the order of PUBREC
			sub.ack(packets.Pubrec, id)
		}
		for _, id := range ids[:2] {
			sub.expectAck(packets.Pubrel, id, Success)
		}
		again()
		for _, id := range ids[:2] { // PUBREL again, and no PUBLISH
			sub.expectAck(packets.Pubrel, id, Success)
		}
		for i := 2; i < 4; i++ {
			sub.expectMessage(fmt.Sprint(i))
		}
		sub.ack(packets.Pubcomp, ids[0])
		sub.quiet() // it was taken: who loses the connection now has no right to that
		again()
		sub.expectAck(packets.Pubrel, ids[1], Success)
		sub.expectMessage("2")
		sub.expectMessage("3")
		sub.quiet()
		shows(t, version, "4.4.0-1", "4.5.0-1", "4.6.0-6", "4.1.0-1")
		if version == 4 {
			shows(t, version, "4.3.3-1", "4.3.2-1", "3.1.2-4", "3.1.2-5")
			return
		}
		shows(t, version, "4.3.3-3", "4.3.3-5", "4.3.3-6", "3.1.2-5", "3.1.2-23")
		sub.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pubrec}, PacketID: ids[2], ReasonCode: byte(QuotaExceeded)})
		sub.quiet() // neither PUBREL
		again()
		sub.expectAck(packets.Pubrel, ids[1], Success)
		sub.expectMessage("3") // nor the message again
		shows(t, version, "4.4.0-2")
	})
}

// TestConformRefusedID: after a PUBREC that refuses, the id means a new message.
func TestConformRefusedID(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	pub, _ := connected(t, addr, 5, "pub", nil)
	for _, code := range []ReasonCode{QuotaExceeded, Success} {
		pub.redeliver("a", "x", 2, 1)
		h.take(t).Release(code)
		pub.expectAck(packets.Pubrec, 1, code)
	}
	shows5(t, "4.3.3-9", "3.5.2-1")
}

// TestConformOrder: messages of one QoS arrive as they were published, through
// a window of one, an absence and a redelivery.
func TestConformOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		cfg.MaxInflight = 2
		_, addr := startServer(t, cfg, Deps{})
		sub, _ := connected(t, addr, version, "sub", durable)
		sub.subscribe(2, "a")
		pub, _ := connected(t, addr, version, "pub", nil)
		for i := range 10 {
			pub.publish("a", fmt.Sprint(i), 1, uint16(i+1))
		}
		for i := range 10 {
			pub.expectAck(packets.Puback, uint16(i+1), Success)
		}
		sub.expectMessage("0")
		sub.expectMessage("1")
		sub, _ = connected(t, addr, version, "sub", durable)
		for i := range 10 {
			sub.ack(packets.Puback, sub.expectMessage(fmt.Sprint(i)).PacketID)
		}
		sub.quiet()
		shows(t, version, "4.6.0-5", "4.6.0-6")
	})
}

func TestConformFlow(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", func(pk *packets.Packet) { pk.Properties.ReceiveMaximum = 1 })
	sub.subscribe(1, "a")
	for i := range 3 {
		sub.publish("a", fmt.Sprint(i), 1, uint16(i+1)) // its own messages come back
	}
	first := sub.expectMessage("0")
	for i := range 3 { // other packets do not wait
		sub.expectAck(packets.Puback, uint16(i+1), Success)
	}
	sub.quiet()
	if codes := sub.subscribe(0, "b"); codes[0] != 0 {
		t.Errorf("SUBACK %v", codes)
	}
	shows5(t, "3.3.4-9", "3.3.4-10", "4.9.0-1", "4.9.0-2", "4.9.0-3")
	sub.ack(packets.Puback, first.PacketID)
	sub.expectMessage("1")
	sub.quiet()
	shows5(t, "4.9.0-2")
}
