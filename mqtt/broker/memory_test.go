package broker

import (
	"bytes"
	"fmt"
	"net"
	"sync"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestUnfinishedPackets lets many clients begin large packets that they never
// finish: each is within its bound, together they are not. Those that hold most
// are closed, the client that sends small ones never notices.
func TestUnfinishedPackets(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxBufferedBytesTotal = 1 << 20
	srv, addr := startServer(t, cfg, Deps{})
	good, _ := connected(t, addr, 4, "good", nil)
	begun := append([]byte{0x30, 0xff, 0xff, 0x0e}, make([]byte, 200<<10)...)
	const clients = 30
	for i := range clients {
		p, _ := connected(t, addr, 5, fmt.Sprint("bad", i), nil)
		if _, err := p.nc.Write(begun); err != nil {
			t.Log(err) // closed already
		}
	}
	eventually(t, "within the bound", func() bool {
		st := srv.Stats()
		return st.ShedConnections >= clients-8 && st.BufferedBytes <= int64(cfg.MaxBufferedBytesTotal)
	})
	good.publish("a", "x", 1, 1)
	good.expectAck(packets.Puback, 1, Success)
}

// TestLargePacketsAtOnce: who sends a large packet waits while the others hold
// too much, so that not even a moment takes far more than the bound.
func TestLargePacketsAtOnce(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxBufferedBytesTotal = 1 << 20
	srv, addr := startServer(t, cfg, Deps{})
	const clients, size = 40, 200 << 10
	var peers []*peer
	for i := range clients {
		p, _ := connected(t, addr, 5, fmt.Sprint("bad", i), nil)
		peers = append(peers, p)
	}
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		var peak int64
		for {
			select {
			case <-stop:
				most <- peak
				return
			default:
				peak = max(peak, srv.Stats().BufferedBytes)
			}
		}
	}()
	var wg sync.WaitGroup
	for _, p := range peers {
		wg.Go(func() { // never whole
			_, _ = p.nc.Write(append([]byte{0x30, 0xff, 0xff, 0x0e}, make([]byte, size)...))
		})
	}
	eventually(t, "within the bound", func() bool {
		st := srv.Stats()
		return st.ShedConnections > 0 && st.BufferedBytes <= int64(cfg.MaxBufferedBytesTotal)
	})
	close(stop)
	if peak := <-most; peak > 4*int64(cfg.MaxBufferedBytesTotal) {
		t.Errorf("at its peak %d bytes, bound %d", peak, cfg.MaxBufferedBytesTotal)
	}
	for _, p := range peers {
		_ = p.nc.Close()
	}
	wg.Wait()
	good, _ := connected(t, addr, 4, "good", nil)
	good.publish("a", string(make([]byte, size)), 1, 1)
	good.expectAck(packets.Puback, 1, Success)
}

// TestManyStoppedReaders lets many clients subscribe and read nothing. What
// waits for their sockets is bounded for all of them together.
func TestManyStoppedReaders(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxBufferedBytesTotal = 512 << 10
	srv, addr := startServer(t, cfg, Deps{})
	for i := range 20 {
		p, _ := connected(t, addr, 4, fmt.Sprint("stopped", i), nil)
		_ = p.nc.(*net.TCPConn).SetReadBuffer(4096)
		p.subscribe(0, "flood")
	}
	good, _ := connected(t, addr, 4, "good", nil)
	good.subscribe(0, "flood")
	payload := string(bytes.Repeat([]byte{'x'}, 8<<10))
	pub, _ := connected(t, addr, 4, "pub", nil)
	eventually(t, "connections are shed", func() bool {
		pub.publish("flood", payload, 0, 0)
		good.expectMessage(payload)
		st := srv.Stats()
		return st.ShedConnections > 0 && st.BufferedBytes <= int64(cfg.MaxBufferedBytesTotal)
	})
	good.quiet()
}

// TestBuffersAreGivenBack sees nothing held once clients of all kinds left.
func TestBuffersAreGivenBack(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Handler: releaser{}})
	for i := range 20 {
		p, _ := connected(t, addr, byte(4+i%2), fmt.Sprint("c", i), nil)
		p.subscribe(1, "a/#")
		p.publish(fmt.Sprint("a/", i), string(make([]byte, 1000*i*i/4)), 0, 0)
		p.expect(packets.Publish)
		if i%3 == 0 {
			p.write([]byte("\x30\xff\xff\x0e and no more"))
		}
		_ = p.nc.Close()
	}
	eventually(t, "nothing is held", func() bool { return srv.Stats().Connections == 0 && srv.Stats().BufferedBytes == 0 })
}

// TestUnacknowledged reads everything and acknowledges nothing: what is in
// flight counts against the bound of the session's queue.
func TestUnacknowledged(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxQueuedBytes = 512 << 10
	srv, addr := startServer(t, cfg, Deps{})
	p, _ := connected(t, addr, 4, "p", nil)
	p.subscribe(1, "a")
	for range 50 {
		srv.Publish(&Message{Topic: "a", Payload: make([]byte, 100<<10), QoS: 1})
	}
	if n := srv.Stats().QueuedBytes; n > int64(cfg.MaxQueuedBytes) {
		t.Errorf("%d bytes are kept, bound %d", n, cfg.MaxQueuedBytes)
	}
	for range 5 {
		p.expect(packets.Publish)
	}
}

// TestQueueShare lets one client fill the space of all queues with what nobody
// fetches. Another one that is away for a while loses nothing.
func TestQueueShare(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxQueuedBytes, cfg.MaxQueuedBytesTotal = 512<<10, 1<<20
	srv, addr := startServer(t, cfg, Deps{})
	for i := range 5 {
		hog, _ := connected(t, addr, 4, fmt.Sprint("hog", i), durable)
		hog.subscribe(1, fmt.Sprint("hog/", i))
		hog.disconnect()
	}
	away, _ := connected(t, addr, 4, "away", durable)
	away.subscribe(1, "a")
	away.disconnect()
	for i := range 500 {
		srv.Publish(&Message{Topic: fmt.Sprint("hog/", i%5), Payload: make([]byte, 10<<10), QoS: 1})
	}
	for range 20 {
		srv.Publish(&Message{Topic: "a", Payload: make([]byte, 1<<10), QoS: 1})
	}
	if n := srv.Stats().QueuedBytes; n > 2*int64(cfg.MaxQueuedBytesTotal) {
		t.Errorf("%d bytes are kept", n)
	}
	if n := clientOf(srv, "away").Queued; n != 20 {
		t.Errorf("%d of 20 messages wait for the client that is away", n)
	}
}

// TestFanOutCountsOnce keeps one message for many sessions, which is one
// message's memory.
func TestFanOutCountsOnce(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	for i := range 10 {
		p, _ := connected(t, addr, 4, fmt.Sprint("c", i), durable)
		p.subscribe(1, "a")
		p.disconnect()
	}
	srv.Publish(&Message{Topic: "a", Payload: make([]byte, 50<<10), QoS: 1})
	if st := srv.Stats(); st.QueuedBytes > 60<<10 || st.QueuedMessages != 10 {
		t.Errorf("%d messages of %d bytes", st.QueuedMessages, st.QueuedBytes)
	}
	for i := range 10 {
		p, _ := connected(t, addr, 4, fmt.Sprint("c", i), nil)
		p.disconnect()
	}
	eventually(t, "nothing is kept", func() bool { return srv.Stats().QueuedBytes == 0 && srv.Stats().QueuedMessages == 0 })
}
