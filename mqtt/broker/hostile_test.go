package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/headgate-io/headgate/internal/slow"
)

// TestHostilePackets sends each of these after a CONNECT. The connection ends,
// and the broker and its other clients go on.
func TestHostilePackets(t *testing.T) {
	name := func(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }
	slashes := strings.Repeat("/", 65000)
	packet := func(head byte, body string) string {
		return string(appendVarint([]byte{head}, len(body))) + body
	}
	for _, tc := range []struct {
		name    string
		version byte
		bytes   string
	}{
		{"SUBSCRIBE cut before its options", 5, packet(0x82, "\x00\x01\x00"+name("a"))},
		{"SUBSCRIBE cut in a filter", 5, packet(0x82, "\x00\x01\x00\x00\x09a")},
		{"SUBSCRIBE without filter", 5, packet(0x82, "\x00\x01\x00")},
		{"SUBSCRIBE cut before its QoS", 4, packet(0x82, "\x00\x01"+name("a"))},
		{"SUBSCRIBE with QoS 3", 4, packet(0x82, "\x00\x01"+name("a")+"\x03")},
		{"SUBSCRIBE with reserved option bits", 5, packet(0x82, "\x00\x01\x00"+name("a")+"\xc0")},
		{"SUBSCRIBE with retain handling 3", 5, packet(0x82, "\x00\x01\x00"+name("a")+"\x30")},
		{"SUBSCRIBE with id 0", 4, packet(0x82, "\x00\x00"+name("a")+"\x00")},
		{"SUBSCRIBE with identifier 0", 5, packet(0x82, "\x00\x01\x02\x0b\x00"+name("a")+"\x00")},
		{"SUBSCRIBE with two identifiers", 5, packet(0x82, "\x00\x01\x04\x0b\x01\x0b\x02"+name("a")+"\x00")},
		{"SUBSCRIBE with endless identifier", 5, packet(0x82, "\x00\x01\x06\x0b\x80\x80\x80\x80\x01"+name("a")+"\x00")},
		{"SUBSCRIBE with wrong flags", 4, packet(0x80, "\x00\x01"+name("a")+"\x00")},
		{"UNSUBSCRIBE cut short", 5, packet(0xa2, "\x00\x01\x00\x00\x05a")},
		{"UNSUBSCRIBE without filter", 4, packet(0xa2, "\x00\x01")},
		{"deep topic", 4, packet(0x30, name(slashes)+"x")},
		{"topic with wildcard", 4, packet(0x30, name("a/#")+"x")},
		{"topic with NUL", 4, packet(0x30, name("a\x00")+"x")},
		{"topic not UTF-8", 4, packet(0x30, name("a\xff")+"x")},
		{"empty topic", 4, packet(0x30, name("")+"x")},
		{"empty topic without alias", 5, packet(0x30, name("")+"\x00x")},
		{"topic cut short", 4, packet(0x30, "\x00\x09a")},
		{"PUBLISH with QoS 3", 4, packet(0x36, name("a")+"\x00\x01x")},
		{"PUBLISH with DUP and QoS 0", 4, packet(0x38, name("a")+"x")},
		{"PUBLISH with id 0", 4, packet(0x32, name("a")+"\x00\x00x")},
		{"PUBLISH cut before its id", 4, packet(0x32, name("a")+"\x00")},
		{"PUBLISH with unknown property", 5, packet(0x30, name("a")+"\x02\x7f\x00x")},
		{"PUBLISH with subscription identifier", 5, packet(0x30, name("a")+"\x02\x0b\x01x")},
		{"PUBLISH with alias 0", 5, packet(0x30, name("a")+"\x03\x23\x00\x00x")},
		{"PUBLISH with property twice", 5, packet(0x30, name("a")+"\x04\x01\x01\x01\x01x")},
		{"PUBLISH with property past its section", 5, packet(0x30, name("a")+"\x03\x03\x00\x09aaaaaaaaa")},
		{"PUBLISH with properties past its end", 5, packet(0x30, name("a")+"\x7fx")},
		{"PUBLISH with long property length", 5, packet(0x30, name("a")+"\x80\x80\x80\x80\x00x")},
		{"PUBLISH with payload format 2", 5, packet(0x30, name("a")+"\x02\x01\x02x")},
		{"PUBLISH with wildcard response topic", 5, packet(0x30, name("a")+"\x06\x08\x00\x03a/#x")},
		{"PUBACK cut short", 4, packet(0x40, "\x00")},
		{"PUBACK too long", 4, packet(0x40, "\x00\x01\x00")},
		{"PUBREL with wrong flags", 4, packet(0x60, "\x00\x01")},
		{"second CONNECT", 4, packet(0x10, name("MQTT")+"\x04\x02\x00\x00"+name("x"))},
		{"CONNACK from a client", 4, packet(0x20, "\x00\x00")},
		{"packet type 0", 4, packet(0x00, "")},
		{"AUTH", 5, packet(0xf0, "\x18\x00")},
		{"AUTH in 3.1.1", 4, packet(0xf0, "")},
		{"PINGREQ with body", 4, packet(0xc0, "x")},
		{"DISCONNECT with body", 4, packet(0xe0, "x")},
		{"256 MB announced", 4, "\x30\xff\xff\xff\x7f"},
		{"length of five bytes", 4, "\x30\xff\xff\xff\xff\x01"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv, addr := startServer(t, quietConfig(), Deps{})
			other, _ := connected(t, addr, 5, "other", nil)
			p, _ := connected(t, addr, tc.version, "hostile", nil)
			p.write([]byte(tc.bytes))
			code := p.expectClosed()
			if (tc.version == 5) != code.Failed() {
				t.Errorf("closed with %v", code)
			}
			other.quiet()
			if srv.Stats().ProtocolErrors != 1 {
				t.Errorf("%d protocol errors counted", srv.Stats().ProtocolErrors)
			}
		})
	}
	shows3(t, "4.8.0-1")
	shows5(t, "4.13.1-1")
}

func TestHostileConnects(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	for _, tc := range []struct {
		name, bytes string
		answer      string
	}{
		{"3.1", "\x10\x0f\x00\x06MQIsdp\x03\x02\x00\x00\x00\x01x", "\x20\x02\x00\x01"},
		{"level 6", "\x10\x0d\x00\x04MQTT\x06\x02\x00\x00\x00\x01x", "\x20\x02\x00\x01"},
		{"other protocol", "\x10\x0d\x00\x04HTTP\x04\x02\x00\x00\x00\x01x", ""},
		{"HTTP", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", ""},
		{"PUBLISH first", "\x30\x04\x00\x01ax", ""},
		{"reserved flag", "\x10\x0d\x00\x04MQTT\x04\x03\x00\x00\x00\x01x", ""},
		{"empty id without clean session", "\x10\x0c\x00\x04MQTT\x04\x00\x00\x00\x00\x00", "\x20\x02\x00\x02"},
		{"will QoS 3", "\x10\x13\x00\x04MQTT\x04\x1e\x00\x00\x00\x01x\x00\x01a\x00\x01b", ""},
		{"will retain without will", "\x10\x0d\x00\x04MQTT\x04\x22\x00\x00\x00\x01x", ""},
		{"password without user", "\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01x\x00\x01p", ""},
		{"cut short", "\x10\x06\x00\x04MQTT", ""},
		{"user name not UTF-8", "\x10\x10\x00\x04MQTT\x04\x82\x00\x00\x00\x01x\x00\x01\xff", ""},
		{"256 MB announced", "\x10\xff\xff\xff\x7f\x00\x04MQTT\x04", ""},
		{"enhanced authentication", "\x10\x13\x00\x04MQTT\x05\x02\x00\x00\x05\x15\x00\x02me\x00\x01x", "\x20"},
		{"receive maximum 0", "\x10\x11\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x01x", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer nc.Close()
			_ = nc.SetDeadline(time.Now().Add(patience))
			if _, err := nc.Write([]byte(tc.bytes)); err != nil {
				t.Fatal(err)
			}
			var got bytes.Buffer
			if _, err := got.ReadFrom(nc); err != nil && !strings.Contains(err.Error(), "reset") {
				t.Fatal(err)
			}
			if got.String() != tc.answer && (tc.answer != "\x20" || got.Len() < 4 || got.Bytes()[3] != byte(BadAuthenticationMethod)) {
				t.Errorf("answer %q, want %q", got.Bytes(), tc.answer)
			}
		})
	}
	if st := srv.Stats(); st.Sessions != 0 || st.BadConnects == 0 {
		t.Errorf("%d sessions, %d bad CONNECTs", st.Sessions, st.BadConnects)
	}
}

// TestAnnouncedLengthAllocatesNothing: 12 bytes that claim 256 MB, from many
// connections at once.
func TestAnnouncedLengthAllocatesNothing(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 50 {
		p := dial(t, addr, 4)
		p.write([]byte("\x10\xff\xff\xff\x7f\x00\x04MQTT\x04"))
		p.expectClosed()
		p, _ = connected(t, addr, 4, "x", nil)
		p.write([]byte("\x30\xff\xff\x0f")) // within the limit, never sent
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 8<<20 {
		t.Errorf("%d bytes allocated", got)
	}
}

// TestSlowReader subscribes and then reads nothing, while publishers go on. The
// others are served, memory stays bounded, and what was dropped is counted.
func TestSlowReader(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxOutBuffer, cfg.MaxQueuedMessages, cfg.MaxQueuedBytes = 64<<10, 100, 64<<10
	srv, addr := startServer(t, cfg, Deps{})
	slow, _ := connected(t, addr, 4, "slow", durable)
	slow.subscribe(1, "#")
	_ = slow.nc.(*net.TCPConn).SetReadBuffer(4096)
	good, _ := connected(t, addr, 4, "good", nil)
	good.subscribe(0, "#")
	pub, _ := connected(t, addr, 4, "pub", nil)
	payload := strings.Repeat("x", 8<<10)
	for i := range 2000 {
		pub.publish("a", payload, byte(i%2), uint16(i%2))
		if i%2 == 1 {
			pub.expectAck(packets.Puback, 1, Success)
		}
		good.expectMessage(payload)
	}
	st := srv.Stats()
	if st.DroppedQueueFull == 0 {
		t.Error("nothing was dropped")
	}
	if limit := int64(cfg.MaxQueuedBytes + cfg.MaxInflight*(9<<10)); st.QueuedBytes > limit {
		t.Errorf("%d bytes queued, bound %d", st.QueuedBytes, limit)
	}
	// Its takeover does not wait for it either.
	again, ack := connected(t, addr, 4, "slow", durable)
	if !ack.SessionPresent {
		t.Error("no session present")
	}
	again.expect(packets.Publish)
}

func TestSlowReaderIsClosed(t *testing.T) {
	cfg := quietConfig()
	cfg.WriteTimeout = 50 * time.Millisecond
	srv, addr := startServer(t, cfg, Deps{})
	slow, _ := connected(t, addr, 4, "slow", nil)
	slow.subscribe(0, "#")
	m := &Message{Topic: "a", Payload: make([]byte, 64<<10)}
	eventually(t, "closed", func() bool {
		srv.Publish(m)
		return srv.Stats().SlowClients == 1
	})
	eventually(t, "ended", func() bool { return srv.Stats().Connections == 0 && srv.Stats().Sessions == 0 })
}

// TestPingFlood sends pings and reads no answer: its own connection suffers.
func TestPingFlood(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxOutBuffer = 4 << 10
	srv, addr := startServer(t, cfg, Deps{})
	p, _ := connected(t, addr, 4, "p", nil)
	pings := bytes.Repeat([]byte{packets.Pingreq << 4, 0}, 32<<10)
	eventually(t, "closed", func() bool {
		_ = p.nc.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
		_, _ = p.nc.Write(pings)
		return srv.Stats().Connections == 0
	})
}

func TestKeepAlive(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	p, _ := connected(t, addr, 5, "p", func(pk *packets.Packet) { pk.Connect.Keepalive = 1 })
	if code := p.expectClosed(); code != KeepAliveTimeout { // [MQTT-3.1.2-22]
		t.Errorf("closed with %v", code)
	}
	if srv.Stats().KeepAliveTimeouts != 1 {
		t.Error("not counted")
	}
	cfg := quietConfig()
	cfg.MaxKeepAlive = time.Minute
	_, addr = startServer(t, cfg, Deps{})
	for asked, want := range map[uint16]uint16{0: 60, 30: 0, 61: 60} {
		_, ack := connected(t, addr, 5, "p", func(pk *packets.Packet) { pk.Connect.Keepalive = asked })
		if ack.Properties.ServerKeepAlive != want { // [MQTT-3.2.2-21]
			t.Errorf("asked for %d, told %d", asked, ack.Properties.ServerKeepAlive)
		}
	}
}

func TestAssignedClientID(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	_, ack := connected(t, addr, 5, "", nil)
	if ack.Properties.AssignedClientID == "" || clientOf(srv, ack.Properties.AssignedClientID).ID == "" { // [MQTT-3.2.2-16]
		t.Errorf("assigned %q", ack.Properties.AssignedClientID)
	}
	cfg := quietConfig()
	cfg.MaxSessionExpiry = time.Minute
	_, addr = startServer(t, cfg, Deps{})
	if _, ack := connected(t, addr, 5, "p", durable); ack.Properties.SessionExpiryInterval != 60 {
		t.Errorf("session expiry %d, want the capped one", ack.Properties.SessionExpiryInterval)
	}
}

func TestConnectionBounds(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxConnectionsPerAddress = 2
	srv, addr := startServer(t, cfg, Deps{})
	one, _ := connected(t, addr, 4, "1", nil)
	connected(t, addr, 4, "2", nil)
	dial(t, addr, 4).expectClosed()
	if srv.Stats().RefusedConnections != 1 {
		t.Error("not counted")
	}
	one.disconnect()
	eventually(t, "its place is free", func() bool {
		srv.mu.Lock()
		defer srv.mu.Unlock()
		return srv.admitted == 1
	})
	connected(t, addr, 4, "3", nil)
}

func TestSubscriptionBounds(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxSubscriptions = 2
	srv, addr := startServer(t, cfg, Deps{})
	p, _ := connected(t, addr, 5, "p", nil)
	codes := p.subscribe(0, "a", "b", "c", "a", "x/#/y", strings.Repeat("/", 40))
	want := []byte{0, 0, byte(QuotaExceeded), 0, byte(TopicFilterInvalid), byte(TopicFilterInvalid)}
	if !bytes.Equal(codes, want) {
		t.Errorf("SUBACK %x, want %x", codes, want)
	}
	if st := srv.Stats(); st.RefusedSubscriptions != 1 || st.Subscriptions != 2 {
		t.Errorf("%d refused, %d there", st.RefusedSubscriptions, st.Subscriptions)
	}
}

// TestHalfOpen holds 10 000 connections that say nothing, or half a CONNECT,
// from another process. A client connects meanwhile, and everything is given
// back.
func TestHalfOpen(t *testing.T) {
	slow.Emulated(t, "ten thousand connections are slow there")
	count := 10_000
	if limit := descriptors(); limit < count+200 {
		count = limit - 200
		t.Logf("only %d connections: the hard limit of descriptors is %d", count, limit)
	}
	cfg := quietConfig()
	cfg.MaxConnections, cfg.MaxConnectionsPerAddress = count+10, count+10
	cfg.ConnectTimeout = 4 * time.Second
	srv, addr := startServer(t, cfg, Deps{})
	goroutines := runtime.NumGoroutine()
	count, stop := startHalfOpen(t, addr, count)
	p, _ := connected(t, addr, 5, "p", nil)
	p.quiet()
	eventually(t, "only the client is left", func() bool { return srv.Stats().Connections == 1 })
	if n := srv.Stats().ConnectTimeouts; n != uint64(count) {
		t.Errorf("%d of %d timed out", n, count)
	}
	stop()
	eventually(t, "goroutines are gone", func() bool { return runtime.NumGoroutine() < goroutines+20 })
	p.quiet()
}

// TestManyClients lets clients of all kinds loose on each other; with -race it
// is the hammer of the locks.
func TestManyClients(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Handler: releaser{}, Sessions: newMemStore()})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for round := range 40 {
				if err := rampage(addr, i, round); err != nil {
					t.Error(err)
				}
				srv.Publish(&Message{Topic: "t/0", Payload: []byte("y"), QoS: 1, Retain: true})
				_ = srv.Clients()
			}
		})
	}
	wg.Wait()
	eventually(t, "all have left", func() bool { return srv.Stats().Connections == 0 })
	st := srv.Stats()
	if st.PendingBytes != 0 || st.Takeovers == 0 || st.MessagesReceived == 0 {
		t.Errorf("%d bytes pending, %d takeovers, %d messages", st.PendingBytes, st.Takeovers, st.MessagesReceived)
	}
}

// rampage connects, publishes, subscribes, acknowledges what comes and goes
// away, under a client id that others use too.
func rampage(addr string, i, round int) error {
	nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		return err
	}
	defer nc.Close()
	version := byte(4 + i%2)
	change := func(*packets.Packet) {}
	if round%2 == 0 {
		change = durable
	}
	all := []packets.Packet{connectPacket(version, fmt.Sprintf("c%d", i/2), change), {
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 99,
		Filters: packets.Subscriptions{{Filter: fmt.Sprintf("t/%d", round%3), Qos: 2}, {Filter: "$share/g/#", Qos: 1}},
	}}
	for n := range 20 {
		pk := publishPacket(fmt.Sprintf("t/%d", n%3), "x", byte(n%3), 0)
		if n%3 > 0 {
			pk.PacketID = uint16(n + 1)
		}
		all = append(all, pk)
	}
	all = append(all, packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	for _, pk := range all {
		pk.ProtocolVersion = version
		b, err := encodeAny(&pk)
		if err != nil {
			return err
		}
		if _, err := nc.Write(b); err != nil {
			return nil // taken over
		}
	}
	_ = nc.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, nc) // to its end, or the takeover
	return nil
}
