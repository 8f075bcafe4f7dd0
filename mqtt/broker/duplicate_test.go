package broker

import (
	"context"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// restart closes the server and starts another one on the same store.
func restart(t *testing.T, srv *Server, store *memStore, h Handler) (*Server, string) {
	t.Helper()
	if err := srv.Close(context.Background()); err != nil {
		t.Fatal(err)
	}
	return startServer(t, quietConfig(), Deps{Handler: h, Sessions: store})
}

func TestDuplicateOfUnreleased(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		for _, qos := range []byte{1, 2} {
			h := newHolder()
			srv, addr := startServer(t, quietConfig(), Deps{Handler: h})
			kind := []byte{0, packets.Puback, packets.Pubrec}[qos]
			pub, _ := connected(t, addr, version, "pub", durable)
			pub.publish("a", "x", qos, 1)
			first := h.take(t)
			_ = pub.nc.Close()
			pub, ack := connected(t, addr, version, "pub", durable)
			if !ack.SessionPresent {
				t.Fatal("no session present")
			}
			pub.redeliver("a", "x", qos, 1)
			pub.quiet()
			if h.count() != 1 {
				t.Fatalf("QoS %d: the duplicate was processed", qos)
			}
			first.Release(Success)
			pub.expectAck(kind, 1, Success) // on the connection that asked last
			if srv.Stats().Duplicates != 1 {
				t.Errorf("%d duplicates counted", srv.Stats().Duplicates)
			}
		}
	})
}

func TestUnreleasedIsNotAcknowledgedUnasked(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	pub, _ := connected(t, addr, 5, "pub", durable)
	pub.publish("a", "x", 1, 1)
	first := h.take(t)
	_ = pub.nc.Close()
	// The client lost its memory: id 1 now means something else.
	pub, _ = connected(t, addr, 5, "pub", durable)
	pub.publish("a", "y", 1, 1)
	second := h.take(t)
	first.Release(Success)
	pub.quiet()
	second.Release(Success)
	pub.expectAck(packets.Puback, 1, Success)
}

// TestDuplicateOfReleased covers the rule of the settle: DUP, session present,
// same epoch, same id, same content.
func TestDuplicateOfReleased(t *testing.T) {
	h := newHolder()
	store := newMemStore()
	srv, addr := startServer(t, quietConfig(), Deps{Handler: h, Sessions: store})
	pub, _ := connected(t, addr, 4, "pub", durable)
	pub.publish("a", "x", 1, 1)
	in := h.take(t)
	if in.Record == nil || in.Record.Client != "pub" || in.Record.Epoch == 0 || in.Record.PacketID != 1 {
		t.Fatalf("record %+v", in.Record)
	}
	store.record(in.Record)
	in.Release(Success)
	pub.expectAck(packets.Puback, 1, Success)
	_ = pub.nc.Close()

	check := func(name string, p *peer, dup bool, payload string, processed bool) {
		t.Helper()
		before := h.count()
		if dup {
			p.redeliver("a", payload, 1, 1)
		} else {
			p.publish("a", payload, 1, 1)
		}
		if processed {
			h.take(t).Release(Success)
		}
		p.expectAck(packets.Puback, 1, Success)
		if got := h.count() > before; got != processed {
			t.Errorf("%s: processed %v", name, got)
		}
	}
	pub, _ = connected(t, addr, 4, "pub", durable)
	check("redelivery", pub, true, "x", false)
	check("other content", pub, true, "y", true)
	check("without DUP: a new equal reading", pub, false, "x", true)
	_ = pub.nc.Close()

	srv, addr = restart(t, srv, store, h)
	pub, ack := connected(t, addr, 4, "pub", durable)
	if !ack.SessionPresent {
		t.Fatal("the session did not survive the restart")
	}
	check("after a restart", pub, true, "x", false)
	_ = pub.nc.Close()
	pub, _ = connected(t, addr, 4, "pub", nil) // clean: another epoch
	pub.disconnect()
	pub, _ = connected(t, addr, 4, "pub", durable)
	check("another session", pub, true, "x", true)
	shows3(t, "4.3.2-2")
	_ = srv
}

func TestRefusedIsNotADuplicate(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	pub, _ := connected(t, addr, 5, "pub", durable)
	pub.publish("a", "x", 1, 1)
	h.take(t).Release(QuotaExceeded)
	pub.expectAck(packets.Puback, 1, QuotaExceeded)
	_ = pub.nc.Close()
	pub, _ = connected(t, addr, 5, "pub", durable)
	pub.redeliver("a", "x", 1, 1)
	h.take(t).Release(Success)
	pub.expectAck(packets.Puback, 1, Success)
}

func TestRingSlots(t *testing.T) {
	r := ring{size: 4}
	for id := range uint16(6) {
		r.next(id+1, uint64(id))
	}
	for id := range uint16(6) {
		if got, want := r.seen(id+1, uint64(id)), id >= 2; got != want {
			t.Errorf("id %d seen %v", id+1, got)
		}
	}
	// After a restart the slots' age is unknown. What is redelivered first
	// survives what comes then.
	var again ring
	again.size = 4
	for _, s := range r.slots {
		again.restore(InboundRecord{Slot: s.number, PacketID: s.id, Hash: s.hash})
	}
	if !again.seen(6, 5) || !again.seen(5, 4) {
		t.Fatal("restored records are not known")
	}
	used := map[uint32]bool{}
	for id := range uint16(2) {
		used[again.next(100+id, 7).number] = true
	}
	if !again.seen(6, 5) || !again.seen(5, 4) || again.seen(3, 2) || len(used) != 2 {
		t.Errorf("the wrong records were overwritten: %+v", again.slots)
	}
}

// TestQoS2ExactlyOnce loses every packet of the exchange once.
func TestQoS2ExactlyOnce(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		h := newHolder()
		store := newMemStore()
		srv, addr := startServer(t, quietConfig(), Deps{Handler: h, Sessions: store})
		pub, _ := connected(t, addr, version, "pub", durable)
		pub.publish("a", "x", 2, 5)
		in := h.take(t)
		store.record(in.Record)
		in.Release(Success)
		pub.expectAck(packets.Pubrec, 5, Success) // ... which the client never sees
		_ = pub.nc.Close()

		srv, addr = restart(t, srv, store, h)
		pub, _ = connected(t, addr, version, "pub", durable)
		pub.redeliver("a", "x", 2, 5)
		pub.expectAck(packets.Pubrec, 5, Success)
		if h.count() != 1 {
			t.Fatal("processed twice")
		}
		store.setHold(true)
		pub.ack(packets.Pubrel, 5)
		pub.quiet() // no PUBCOMP before the record is gone
		pub.ack(packets.Pubrel, 5)
		pub.quiet()
		store.setHold(false)
		if n := store.commit(); n != 1 {
			t.Errorf("%d commits for two PUBREL", n)
		}
		pub.expectAck(packets.Pubcomp, 5, Success)
		if _, inbound, _ := store.get("pub"); inbound != 0 {
			t.Error("the id's record is still there")
		}
		pub.ack(packets.Pubrel, 5)
		want := PacketIdentifierNotFound
		if version == 4 {
			want = Success
		}
		pub.expectAck(packets.Pubcomp, 5, want)
		pub.publish("a", "x", 2, 5) // a new exchange with the same id
		h.take(t).Release(Success)
		pub.expectAck(packets.Pubrec, 5, Success)
		_ = srv
	})
}

func TestQoS2SameConnection(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	pub, _ := connected(t, addr, 5, "pub", nil)
	pub.publish("a", "x", 2, 1)
	h.take(t).Release(Success)
	pub.expectAck(packets.Pubrec, 1, Success)
	pub.redeliver("a", "x", 2, 1) // [MQTT-4.3.3-10]
	pub.expectAck(packets.Pubrec, 1, Success)
	pub.ack(packets.Pubrel, 1)
	pub.expectAck(packets.Pubcomp, 1, Success)
	if h.count() != 1 {
		t.Errorf("processed %d times", h.count())
	}
	pub.publish("a", "y", 2, 1)
	h.take(t)
	pub.publish("a", "z", 1, 1)
	if code := pub.expectClosed(); code != PacketIdentifierInUse { // [MQTT-2.2.1-3]
		t.Errorf("closed with %v", code)
	}
}

// TestQoS2ToSubscriber loses the connection at every step towards a subscriber.
func TestQoS2ToSubscriber(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 4, "sub", durable)
	sub.subscribe(2, "a")
	srv.Publish(&Message{Topic: "a", Payload: []byte("x"), QoS: 2})
	m := sub.expectMessage("x")
	_ = sub.nc.Close()
	sub, _ = connected(t, addr, 4, "sub", durable)
	if again := sub.expectMessage("x"); !again.FixedHeader.Dup || again.PacketID != m.PacketID { // [MQTT-4.4.0-1]
		t.Errorf("redelivered with DUP %v, id %d for %d", again.FixedHeader.Dup, again.PacketID, m.PacketID)
	}
	sub.ack(packets.Pubrec, m.PacketID)
	sub.expectAck(packets.Pubrel, m.PacketID, Success)
	_ = sub.nc.Close()
	sub, _ = connected(t, addr, 4, "sub", durable)
	sub.expectAck(packets.Pubrel, m.PacketID, Success) // and no PUBLISH
	sub.ack(packets.Pubcomp, m.PacketID)
	sub.quiet()
	eventually(t, "nothing queued", func() bool { return srv.Stats().QueuedMessages == 0 && srv.Stats().QueuedBytes == 0 })
}

// TestPacketIDsWrap passes the end of the packet ids, which are 1 to 65 535.
func TestPacketIDsWrap(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 4, "sub", nil)
	sub.subscribe(1, "a")
	s := sessionOf(srv, "sub")
	s.mu.Lock()
	s.out.next = 0xFFFF - 50
	s.mu.Unlock()
	for i := range 100 {
		srv.Publish(&Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1})
		m := sub.expectMessage(fmt.Sprint(i))
		if want := (0xFFFF-50+i)%0xFFFF + 1; int(m.PacketID) != want {
			t.Fatalf("packet id %d, want %d", m.PacketID, want)
		}
		sub.ack(packets.Puback, m.PacketID)
	}
}

func sessionOf(srv *Server, client string) *session {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return srv.sessions[client]
}
