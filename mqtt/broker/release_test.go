package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestReleaseInOrder releases in random order from many goroutines:
// acknowledgements [MQTT-4.6.0-2] and deliveries keep the order of arrival.
func TestReleaseInOrder(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(0, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	const n = 100
	for i := range n {
		pub.publish("a", fmt.Sprint(i), 1, uint16(i+1))
	}
	all := make([]*Inbound, n)
	for i := range all {
		all[i] = h.take(t)
	}
	pub.quiet() // nothing is acknowledged before its release
	var wg sync.WaitGroup
	order := rand.Perm(n)
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < n; i += 4 {
				all[order[i]].Release(Success)
				all[order[i]].Release(QuotaExceeded) // only the first counts
			}
		})
	}
	wg.Wait()
	for i := range n {
		pub.expectAck(packets.Puback, uint16(i+1), Success)
		sub.expectMessage(fmt.Sprint(i))
	}
}

func TestLateHeadHoldsTheOthers(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	pub, _ := connected(t, addr, 4, "pub", nil)
	pub.subscribe(1, "a")
	pub.publish("a", "first", 1, 1)
	pub.publish("a", "second", 0, 0)
	pub.publish("a", "third", 2, 3)
	first, second, third := h.take(t), h.take(t), h.take(t)
	if first.Client != "pub" || first.Record != nil || second.Record != nil || third.Record != nil {
		t.Errorf("a session that ends with its connection has records: %+v", third.Record)
	}
	third.Release(Success)
	second.Release(Success)
	pub.quiet()
	first.Release(Success)
	pub.expectMessage("first")
	pub.expectAck(packets.Puback, 1, Success)
	pub.expectMessage("second")
	pub.expectMessage("third")
	pub.expectAck(packets.Pubrec, 3, Success)
}

func TestRefusedByHandler(t *testing.T) {
	t.Run("v5", func(t *testing.T) {
		h := newHolder()
		srv, addr := startServer(t, quietConfig(), Deps{Handler: h})
		pub, _ := connected(t, addr, 5, "pub", nil)
		pub.subscribe(0, "a")
		pub.publish("a", "x", 1, 1)
		pub.publish("a", "y", 2, 2)
		h.take(t).Release(QuotaExceeded)
		h.take(t).Release(QuotaExceeded)
		pub.expectAck(packets.Puback, 1, QuotaExceeded)
		pub.expectAck(packets.Pubrec, 2, QuotaExceeded)
		pub.quiet()                 // not routed
		pub.publish("a", "z", 2, 2) // the id is free again [MQTT-4.3.3-9]
		h.take(t).Release(Success)
		pub.expectMessage("z")
		pub.expectAck(packets.Pubrec, 2, Success)
		if n := srv.Stats().RefusedMessages; n != 2 {
			t.Errorf("%d refused", n)
		}
	})
	t.Run("v3.1.1", func(t *testing.T) {
		h := newHolder()
		cfg := quietConfig()
		cfg.RefusedLimit = 3
		srv, addr := startServer(t, cfg, Deps{Handler: h})
		pub, _ := connected(t, addr, 4, "pub", nil)
		pub.publish("a", "x", 1, 1)
		h.take(t).Release(QuotaExceeded)
		pub.quiet() // unacknowledged
		// What comes behind it must not overtake it: it is refused too, without
		// the handler.
		pub.publish("a", "y", 1, 2)
		pub.quiet()
		pub.publish("a", "z", 1, 3)
		pub.expectClosed()
		if st := srv.Stats(); st.RefusedMessages != 1 || st.PendingRefused != 2 {
			t.Errorf("%d refused by the handler, %d behind it", st.RefusedMessages, st.PendingRefused)
		}
	})
	t.Run("v3.1.1 time", func(t *testing.T) {
		h := newHolder()
		cfg := quietConfig()
		cfg.RefusedTimeout = 1
		_, addr := startServer(t, cfg, Deps{Handler: h})
		pub, _ := connected(t, addr, 4, "pub", nil)
		pub.publish("a", "x", 1, 1)
		h.take(t).Release(QuotaExceeded)
		pub.expectClosed()
	})
}

// TestReleaseAfterThePublisherLeft still routes, in order.
func TestReleaseAfterThePublisherLeft(t *testing.T) {
	h := newHolder()
	srv, addr := startServer(t, quietConfig(), Deps{Handler: h})
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(0, "#")
	pub, _ := connected(t, addr, 5, "pub", nil)
	pub.publish("a", "1", 1, 1)
	pub.publish("a", "2", 1, 2)
	one, two := h.take(t), h.take(t)
	pub.disconnect()
	eventually(t, "the session ended", func() bool { return srv.Stats().Sessions == 1 })
	pub, _ = connected(t, addr, 5, "pub", nil) // another session, same order
	pub.publish("a", "3", 1, 1)
	three := h.take(t)
	three.Release(Success)
	two.Release(Success)
	pub.quiet()
	one.Release(Success)
	for _, want := range []string{"1", "2", "3"} {
		sub.expectMessage(want)
	}
	pub.expectAck(packets.Puback, 1, Success) // for "3" only
	pub.quiet()
	srv.mu.Lock()
	lanes := len(srv.lanes)
	srv.mu.Unlock()
	if lanes != 0 || srv.Stats().PendingBytes != 0 {
		t.Errorf("%d lanes and %d pending bytes left", lanes, srv.Stats().PendingBytes)
	}
}

func TestPendingBounds(t *testing.T) {
	t.Run("one client waits", func(t *testing.T) {
		h := newHolder()
		cfg := quietConfig()
		cfg.MaxPendingMessages = 10
		srv, addr := startServer(t, cfg, Deps{Handler: h})
		pub, _ := connected(t, addr, 4, "pub", nil)
		for range 50 {
			pub.publish("a", "x", 0, 0)
		}
		eventually(t, "reading paused", func() bool { return srv.Stats().PendingStalls > 0 })
		if n := h.count(); n != 10 {
			t.Errorf("%d pending, want 10", n)
		}
		for range 50 {
			h.take(t).Release(Success)
		}
		pub.quiet()
	})
	t.Run("all clients are refused", func(t *testing.T) {
		h := newHolder()
		cfg := quietConfig()
		cfg.MaxPendingBytesTotal = 1000
		srv, addr := startServer(t, cfg, Deps{Handler: h})
		pub, _ := connected(t, addr, 5, "pub", nil)
		pub.publish("a", string(make([]byte, 2000)), 1, 1)
		pub.publish("a", "x", 1, 2)
		first := h.take(t)
		eventually(t, "the second was refused", func() bool { return srv.Stats().PendingRefused == 1 })
		first.Release(Success)
		pub.expectAck(packets.Puback, 1, Success)
		pub.expectAck(packets.Puback, 2, QuotaExceeded)
	})
}

func TestPublishRate(t *testing.T) {
	cfg := quietConfig()
	cfg.PublishRate = 1000
	srv, addr := startServer(t, cfg, Deps{})
	pub, _ := connected(t, addr, 4, "pub", nil)
	for range 300 {
		pub.publish("a", "x", 0, 0)
	}
	pub.quiet()
	if st := srv.Stats(); st.RateStalls == 0 || st.MessagesReceived != 300 {
		t.Errorf("%d stalls, %d messages", st.RateStalls, st.MessagesReceived)
	}
}
