package broker

import (
	"bytes"
	"fmt"
	"net"
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
