package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// willOf gives a CONNECT a will on topic.
func willOf(topic, payload string, qos byte, retain bool) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, topic, []byte(payload)
		pk.Connect.WillQos, pk.Connect.WillRetain = qos, retain
	}
}

func TestConformWill(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		srv, addr := startServer(t, quietConfig(), Deps{})
		watcher, _ := connected(t, addr, version, "watcher", nil)
		watcher.subscribe(2, "will/#")
		for qos := range byte(3) {
			p, _ := connected(t, addr, version, "p", willOf("will/a", fmt.Sprint(qos), qos, false))
			_ = p.nc.Close()
			m := watcher.expectMessage(fmt.Sprint(qos))
			if m.FixedHeader.Qos != qos || m.FixedHeader.Retain {
				t.Errorf("will of QoS %d: %+v", qos, m.FixedHeader)
			}
			srv.Retained("#", func(m *Message) bool { t.Errorf("%s is retained", m.Topic); return true })
		}
		shows(t, version, "3.1.2-8", "3.1.2-9", map[byte]string{4: "3.1.2-14", 5: "3.1.2-12"}[version], map[byte]string{4: "3.1.2-16", 5: "3.1.2-14"}[version])
		p, _ := connected(t, addr, version, "p", willOf("will/r", "kept", 1, true))
		_ = p.nc.Close()
		watcher.expectMessage("kept")
		late, _ := connected(t, addr, version, "late", nil)
		late.subscribe(0, "will/#")
		late.expectMessage("kept")
		shows(t, version, map[byte]string{4: "3.1.2-17", 5: "3.1.2-15"}[version])

		p, _ = connected(t, addr, version, "p", willOf("will/n", "never", 0, true))
		p.disconnect()
		p, _ = connected(t, addr, version, "p", nil) // nothing is left of the will
		_ = p.nc.Close()
		eventually(t, "it is gone", func() bool { return clientOf(srv, "p").ID == "" })
		watcher.quiet()
		if version == 4 {
			shows(t, version, "3.1.2-12")
		}
		shows(t, version, "3.1.2-10", "3.14.4-3")
	})
}

// TestConformWillOfVersion5: only DISCONNECT 0x00 removes a will; its delay and
// the session's end decide when it is published.
func TestConformWillOfVersion5(t *testing.T) {
	t.Parallel()
	_, addr := startServer(t, quietConfig(), Deps{})
	watcher, _ := connected(t, addr, 5, "watcher", nil)
	watcher.subscribe(0, "will")
	for _, code := range []ReasonCode{DisconnectWithWill, UnspecifiedError, QuotaExceeded, AdministrativeAction} {
		p, _ := connected(t, addr, 5, "p", willOf("will", code.String(), 0, false))
		p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: byte(code)})
		watcher.expectMessage(code.String())
	}
	delayed := func(delay, expiry uint32) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			willOf("will", fmt.Sprintf("delay %d, expiry %d", delay, expiry), 0, false)(pk)
			pk.Connect.Clean = false
			pk.Connect.WillProperties.WillDelayInterval = delay
			pk.Connect.WillProperties.User = []packets.UserProperty{{Key: "b", Val: "1"}, {Key: "a", Val: "2"}, {Key: "b", Val: "3"}}
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = expiry, true
		}
	}
	p, _ := connected(t, addr, 5, "back", delayed(1000, 2000))
	_ = p.nc.Close()
	p, _ = connected(t, addr, 5, "back", durable)
	p.disconnect()
	p, _ = connected(t, addr, 5, "short", delayed(1, 2000))
	_ = p.nc.Close()
	m := watcher.expectMessage("delay 1, expiry 2000")
	if got := fmt.Sprint(m.Properties.User); got != "[{b 1} {a 2} {b 3}]" {
		t.Errorf("user properties %s", got)
	}
	shows5(t, "3.1.3-10", "3.1.3-9")
	p, _ = connected(t, addr, 5, "ends", delayed(2000, 1))
	_ = p.nc.Close()
	watcher.expectMessage("delay 2000, expiry 1")
	p, _ = connected(t, addr, 5, "replaced", delayed(2000, 2000))
	_ = p.nc.Close()
	connected(t, addr, 5, "replaced", nil) // clean start ends the session
	watcher.expectMessage("delay 2000, expiry 2000")
	watcher.quiet()
	shows5(t, "3.1.2-7", "3.1.2-8", "3.1.2-10")
}

// TestConformWillAtShutdown: no will is lost to an orderly shutdown. One of a
// session that ends with it is published before, others at the next start.
func TestConformWillAtShutdown(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		store := newMemMessages()
		srv, addr := startServer(t, quietConfig(), Deps{Sessions: store, Messages: store})
		watcher, _ := connected(t, addr, version, "watcher", durable)
		watcher.subscribe(1, "will/#")
		watcher.disconnect()
		connected(t, addr, version, "ends", willOf("will/ends", "x", 1, false))
		connected(t, addr, version, "stays", func(pk *packets.Packet) { durable(pk); willOf("will/stays", "x", 1, false)(pk) })
		if err := srv.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
		next := store.killed()
		_, addr = startServer(t, quietConfig(), Deps{Sessions: next, Messages: next})
		watcher, ack := connected(t, addr, version, "watcher", durable)
		if !ack.SessionPresent {
			t.Fatal("no session present")
		}
		got := map[string]bool{}
		for range 2 {
			m := watcher.expect(packets.Publish)
			watcher.ack(packets.Puback, m.PacketID)
			got[m.TopicName] = true
		}
		watcher.quiet()
		if !got["will/ends"] || !got["will/stays"] {
			t.Errorf("wills %v", got)
		}
		shows(t, version, "3.1.2-8")
	})
}
