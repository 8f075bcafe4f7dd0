package broker

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/mochi-mqtt/server/v2/packets"
)

func TestConformPing(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		for range 3 {
			p.write([]byte("\xc0\x00"))
			if got := p.rawNext(); got != "\xd0" {
				t.Errorf("PINGRESP %q", got)
			}
		}
		shows(t, version, "3.12.4-1")
		for head, ids := range map[string][2]string{
			"\xc1\x00": {"2.2.2-2", "2.1.3-1"}, "\xe1\x00": {"3.14.1-1", "3.14.1-1"}, "\x41\x02\x00\x01": {"2.2.2-2", "2.1.3-1"},
		} {
			p, _ := connected(t, addr, version, "flags", nil)
			p.write([]byte(head))
			if code := p.expectClosed(); version == 5 && code != MalformedPacket {
				t.Errorf("%q: closed with %v", head, code)
			}
			shows(t, version, ids[version-4])
		}
	})
}

// TestConformDisconnect: after DISCONNECT the broker neither reads nor writes.
func TestConformDisconnect(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		srv, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		p.subscribe(0, "#")
		_ = p.nc.SetDeadline(time.Now().Add(patience))
		p.write([]byte("\xe0\x00" + wire(0x31, text("a"), props(version), "x") + "\xc0\x00"))
		if b, err := io.ReadAll(p.nc); err != nil && !strings.Contains(err.Error(), "reset") || len(b) > 0 {
			t.Errorf("after DISCONNECT: %q, %v", b, err)
		}
		srv.Retained("#", func(m *Message) bool { t.Errorf("%s was published", m.Topic); return true })
		if version == 4 {
			shows(t, version, "3.14.4-2")
		} else {
			shows(t, version, "3.14.4-1")
		}
	})
	t.Run("by the server", func(t *testing.T) {
		srv, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, 5, "p", durable)
		p.subscribe(1, "a")
		srv.Disconnect("", AdministrativeAction)
		if got := p.rawNext(); got != "\xe0\x98\x00" && got != "\xe0\x98" {
			t.Errorf("DISCONNECT %q", got)
		}
		srv.Publish(&Message{Topic: "a", Payload: []byte("x"), QoS: 1})
		_ = p.nc.SetDeadline(time.Now().Add(patience))
		if b, err := io.ReadAll(p.nc); err != nil || len(b) > 0 {
			t.Errorf("after DISCONNECT: %q, %v", b, err)
		}
		shows5(t, "3.14.4-1", "3.14.4-2", "3.14.2-1", "3.14.2-2", "4.13.2-1")
	})
}

// TestConformAuth: no method of enhanced authentication is offered, and none is
// asked for.
func TestConformAuth(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	method := wire(0x10, text("MQTT"), "\x05\x02\x00\x00", props(5, "\x15"+text("SCRAM-SHA-1")), text("x"))
	if got := answerTo(t, addr, method); len(got) < 4 || got[0] != 0x20 || got[2:4] != "\x00\x8c" {
		t.Errorf("answered %q", got)
	}
	shows5(t, "4.12.0-1")
	for version, plain := range map[byte]string{4: rawConnect(4, 2, text("x")), 5: rawConnect(5, 2, text("x"))} {
		p := dial(t, addr, version)
		p.write([]byte(plain))
		if got := p.rawNext(); got[0] != 0x20 || strings.Contains(got, "\x15\x00") {
			t.Errorf("CONNACK %q", got)
		}
		p.write([]byte("\xf0\x00"))
		p.expectClosed()
	}
	shows5(t, "4.12.0-6", "4.12.0-7")
	p, _ := connected(t, addr, 5, "p", nil)
	p.write([]byte("\xf1\x00"))
	if code := p.expectClosed(); code != MalformedPacket {
		t.Errorf("AUTH with flags: closed with %v", code)
	}
	shows5(t, "3.15.1-1")
}

// TestConformInformation: response information is not sent, nor are reason
// strings to those who do not want them.
func TestConformInformation(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	for _, section := range []string{"", "\x19\x00", "\x19\x01"} {
		p := dial(t, addr, 5)
		p.write([]byte(wire(0x10, text("MQTT"), "\x05\x02\x00\x00", props(5, section), text("x"))))
		if ack := p.expect(packets.Connack); ack.Properties.ResponseInfo != "" {
			t.Errorf("response information %q", ack.Properties.ResponseInfo)
		}
	}
	shows5(t, "3.1.2-28")
	p := dial(t, addr, 5)
	p.write([]byte(wire(0x10, text("MQTT"), "\x05\x02\x00\x00", props(5, "\x17\x00"), text("x"))))
	p.expect(packets.Connack)
	p.write([]byte(wire(0x82, "\x00\x01", props(5), text("a/#/b"), "\x00")))
	if got := p.rawNext(); got != "\x90\x00\x01\x00\x8f" {
		t.Errorf("SUBACK %q", got)
	}
	p.ack(packets.Pubrel, 9)
	if got := p.rawNext(); got != "\x70\x00\x09\x92" {
		t.Errorf("PUBCOMP %q", got)
	}
	shows5(t, "3.1.2-29", "3.7.2-1", "3.9.3-2")
}

// TestConformLengths: lengths and identifiers take as few bytes as they can.
func TestConformLengths(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	p, _ := connected(t, addr, 5, "p", nil)
	for _, id := range []int{1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455} {
		p.subscribeWith(packets.Subscriptions{{Filter: "a"}}, id)
		for _, size := range []int{0, 100, 130, 16370, 16400} {
			p.publish("a", strings.Repeat("x", size), 0, 0)
			section := "\x0b" + string(appendVarint(nil, id))
			want := wire(0x30, text("a"), props(5, section), strings.Repeat("x", size))
			got := make([]byte, len(want))
			_ = p.nc.SetDeadline(time.Now().Add(patience))
			if _, err := io.ReadFull(p.nc, got); err != nil || string(got) != want {
				t.Fatalf("identifier %d, %d bytes: got %q...", id, size, got[:min(len(got), 20)])
			}
		}
	}
	shows5(t, "1.5.5-1", "2.2.2-1")
}

// TestConformTooLarge: a message that a client cannot take is, for its session,
// as good as sent.
func TestConformTooLarge(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{})
	sub, _ := connected(t, addr, 5, "sub", func(pk *packets.Packet) {
		durable(pk)
		pk.Properties.MaximumPacketSize, pk.Properties.ReceiveMaximum = 60, 1
	})
	sub.subscribe(2, "a")
	pub, _ := connected(t, addr, 5, "pub", nil)
	for i, payload := range []string{strings.Repeat("x", 80), "first", strings.Repeat("x", 80), "second"} {
		pub.publish("a", payload, 1+byte(i%2), uint16(i+1))
	}
	first := sub.expectMessage("first")
	sub.ack(packets.Pubrec, first.PacketID)
	sub.expectAck(packets.Pubrel, first.PacketID, Success)
	sub.ack(packets.Pubcomp, first.PacketID)
	sub.expectMessage("second")
	sub.quiet()
	large, _ := connected(t, addr, 5, "sub", durable) // takes all sizes, and gets none of what is gone
	large.expectMessage("second")
	large.quiet()
	shows5(t, "3.1.2-24", "3.1.2-25")
}

// TestConformTransientError: what the broker cannot do for now ends the
// connection of who asked, and of nobody else.
func TestConformTransientError(t *testing.T) {
	h := newHolder()
	cfg := quietConfig()
	cfg.RefusedLimit = 1
	_, addr := startServer(t, cfg, Deps{Handler: h})
	other, _ := connected(t, addr, 4, "other", nil)
	p, _ := connected(t, addr, 4, "p", nil)
	p.publish("a", "x", 1, 1)
	h.take(t).Release(QuotaExceeded)
	p.expectClosed()
	other.quiet()
	shows3(t, "4.8.0-2")
}

// TestConformSessionEnd: a session lasts as long as its connection, and as its
// expiry after that.
func TestConformSessionEnd(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		srv, addr := startServer(t, quietConfig(), Deps{})
		for _, clean := range []bool{true, false} {
			change := durable
			if clean {
				change = nil
			}
			p, _ := connected(t, addr, version, "p", change)
			p.subscribe(1, "a")
			srv.Publish(&Message{Topic: "a", Payload: []byte("x"), QoS: 1})
			p.expectMessage("x")
			p.disconnect()
			if clean {
				eventually(t, "the session is gone", func() bool { return clientOf(srv, "p").ID == "" && srv.Stats().Subscriptions == 0 })
			}
		}
		p, ack := connected(t, addr, version, "p", durable)
		if !ack.SessionPresent {
			t.Error("the session is gone")
		}
		p.expectMessage("x")
		if version == 4 {
			shows(t, version, "4.1.0-1", "4.1.0-2", "3.1.2-6", "3.1.2-5")
			return
		}
		shows(t, version, "4.1.0-1", "3.1.2-23")
		brief, _ := connected(t, addr, version, "brief", func(pk *packets.Packet) {
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 1, true
		})
		brief.subscribe(0, "a")
		brief.disconnect()
		eventually(t, "it has expired", func() bool { return clientOf(srv, "brief").ID == "" })
		if _, ack := connected(t, addr, version, "brief", durable); ack.SessionPresent {
			t.Error("an expired session is present")
		}
		shows(t, version, "4.1.0-2")
	})
}

// TestConformWebSocket repeats the rules of chapter 6 for both versions.
func TestConformWebSocket(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		srv, _ := startServer(t, quietConfig(), Deps{})
		addr, err := srv.Listen(context.Background(), ListenerConfig{Name: "ws", Network: "ws", Address: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		url := "ws://" + addr.String()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		open := func() *websocket.Conn {
			//nolint:bodyclose // an upgrade has none
			ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"other", "mqtt"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = ws.CloseNow() })
			if ws.Subprotocol() != "mqtt" {
				t.Errorf("subprotocol %q", ws.Subprotocol())
			}
			return ws
		}
		stream := []byte(rawConnect(version, 2, text("p")) + wire(0x30, text("a"), props(version), "x") + "\xc0\x00")
		for _, size := range []int{1, 5, len(stream)} { // frames of one byte, of some, and one for all
			ws := open()
			for rest := stream; len(rest) > 0; {
				n := min(len(rest), size)
				if err := ws.Write(ctx, websocket.MessageBinary, rest[:n]); err != nil {
					t.Fatal(err)
				}
				rest = rest[n:]
			}
			var got []byte
			for !bytes.HasSuffix(got, []byte("\xd0\x00")) {
				kind, b, err := ws.Read(ctx)
				if err != nil || kind != websocket.MessageBinary {
					t.Fatalf("frame of kind %v: %v", kind, err)
				}
				got = append(got, b...)
			}
			if got[0] != 0x20 {
				t.Errorf("answered %q", got)
			}
		}
		shows(t, version, "6.0.0-2", "6.0.0-4")
		ws := open()
		if err := ws.Write(ctx, websocket.MessageText, []byte(rawConnect(version, 2, text("q")))); err != nil {
			t.Fatal(err)
		}
		if _, _, err := ws.Read(ctx); err == nil || ctx.Err() != nil {
			t.Errorf("a text frame: %v", err)
		}
		shows(t, version, "6.0.0-1")
		if ws, resp, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"other"}}); err == nil {
			_ = ws.CloseNow()
			t.Error("a client without the subprotocol was let in")
		} else {
			_ = resp.Body.Close() // the status says it all
		}
		shows(t, version, "6.0.0-3")
	})
}

// TestConformTransport passes more than any buffer holds, both ways at once.
func TestConformTransport(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		cfg.MaxQueuedBytes = 64 << 20
		_, addr := startServer(t, cfg, Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		p.subscribe(1, "a")
		const n = 200
		for i := range n {
			p.publish("a", fmt.Sprintf("%d %s", i, strings.Repeat("x", 10_000)), 1, uint16(i+1))
			for got := 0; got < 2; got++ {
				pk, err := p.next()
				if err != nil {
					t.Fatal(err)
				}
				if pk.FixedHeader.Type == packets.Publish {
					if !bytes.HasPrefix(pk.Payload, fmt.Appendf(nil, "%d ", i)) || len(pk.Payload) < 10_000 {
						t.Fatalf("message %d: %q...", i, pk.Payload[:10])
					}
					p.ack(packets.Puback, pk.PacketID)
				}
			}
		}
		if version == 4 {
			shows(t, version, "7.1.1-1")
		} else {
			shows(t, version, "4.2.0-1")
		}
	})
}
