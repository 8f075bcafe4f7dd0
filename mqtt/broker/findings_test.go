package broker

import (
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// What the conversations of firmware-tests/conversation have found.

// TestHoleBehindAShortWindow resumes with a receive maximum that leaves out
// what was acknowledged behind the first message.
func TestHoleBehindAShortWindow(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", durable)
	sub.subscribe(1, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	var ids []uint16
	for i, payload := range []string{"1", "2", "3"} {
		pub.publish("a", payload, 1, uint16(i+1))
		pub.expectAck(packets.Puback, uint16(i+1), Success)
		ids = append(ids, sub.expectMessage(payload).PacketID)
	}
	sub.ack(packets.Puback, ids[1])
	sub.quiet()
	_ = sub.nc.Close()
	sub, _ = connected(t, addr, 5, "sub", func(pk *packets.Packet) {
		durable(pk)
		pk.Properties.ReceiveMaximum = 1
	})
	sub.expectMessage("1")
	sub.ack(packets.Puback, ids[0])
	sub.expectMessage("3")
	sub.ack(packets.Puback, ids[2])
	sub.quiet()
}

// TestExpiredIsNotReturned ends a session that has an expired message of a
// shared subscription in flight.
func TestExpiredIsNotReturned(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	one, _ := connected(t, addr, 5, "one", nil)
	one.subscribe(1, "$share/g/a")
	srv.Publish(&Message{Topic: "a", Payload: []byte("late"), QoS: 1, Expires: time.Now().Add(time.Hour)})
	one.expectMessage("late")
	two, _ := connected(t, addr, 5, "two", nil)
	two.subscribe(1, "$share/g/a")
	expire(t, srv, "one")
	one.disconnect()
	eventually(t, "the session ended", func() bool { return srv.Stats().Sessions == 1 })
	two.quiet()
	if n := srv.Stats().DroppedExpired; n != 1 {
		t.Errorf("%d dropped as expired", n)
	}
}

// TestWillOfARemovedSession is out only when its session has been removed, for
// a clean start, and must not bring the record back.
func TestWillOfARemovedSession(t *testing.T) {
	store := newMemStore()
	srv, addr := startServer(t, quietConfig(), Deps{Sessions: store})
	c, _ := connected(t, addr, 5, "c", durable)
	c.disconnect()
	srv.mu.Lock()
	sess := srv.sessions["c"]
	srv.mu.Unlock()
	eventually(t, "the client is gone", func() bool { return srv.offline(sess) })
	w := &will{msg: Message{Topic: "w"}}
	sess.mu.Lock()
	sess.leaving = w
	sess.mu.Unlock()
	if !srv.unlink(sess) {
		t.Fatal("somebody was faster")
	}
	sess.willIsOut(w)
	if _, _, ok := store.get("c"); ok {
		t.Error("the session is stored again")
	}
}
