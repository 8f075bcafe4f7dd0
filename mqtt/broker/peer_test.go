package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// patience bounds every wait of a test that would otherwise hang; no test
// depends on its value.
const patience = time.Minute

// quietConfig is the default without $SYS traffic.
func quietConfig() Config {
	cfg := DefaultConfig()
	cfg.SysInterval, cfg.RefusalDelay = 0, 0
	cfg.ConnectTimeout, cfg.WriteTimeout = patience, patience // a busy machine's clients
	return cfg
}

// startServer runs a server on a loopback port until the test ends.
func startServer(t testing.TB, cfg Config, deps Deps) (*Server, string) {
	t.Helper()
	if deps.Authenticator == nil {
		deps.Authenticator = AllowAll{}
	}
	if deps.Logger == nil {
		deps.Logger = slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	s, err := New(cfg, deps)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Close(ctx); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	addr, err := s.Listen(context.Background(), ListenerConfig{Name: "test", Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	return s, addr.String()
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", bytes.TrimSpace(p))
	return len(p), nil
}

// peer is a client that speaks in packets and does nothing by itself.
type peer struct {
	t       testing.TB
	nc      net.Conn
	in      reader
	version byte
}

func dial(t testing.TB, addr string, version byte) *peer {
	t.Helper()
	nc, err := new(net.Dialer).DialContext(context.Background(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return newPeer(t, nc, version)
}

func newPeer(t testing.TB, nc net.Conn, version byte) *peer {
	return &peer{t: t, nc: nc, version: version, in: reader{src: nc, limit: maxRemaining, held: &held{total: newBudget(maxRemaining)}}}
}

// connected dials and connects as client; change may alter the CONNECT.
func connected(t testing.TB, addr string, version byte, client string, change func(*packets.Packet)) (*peer, packets.Packet) {
	t.Helper()
	p := dial(t, addr, version)
	return p, p.connect(client, change)
}

func (p *peer) connect(client string, change func(*packets.Packet)) packets.Packet {
	p.t.Helper()
	p.send(connectPacket(p.version, client, change))
	ack := p.expect(packets.Connack)
	return ack
}

func connectPacket(version byte, client string, change func(*packets.Packet)) packets.Packet {
	pk := packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Connect}, ProtocolVersion: version,
		Connect: packets.ConnectParams{ProtocolName: []byte("MQTT"), ClientIdentifier: client, Clean: true},
	}
	if change != nil {
		change(&pk)
	}
	return pk
}

// durable makes a CONNECT resume or start a session that lasts.
func durable(pk *packets.Packet) {
	pk.Connect.Clean = false
	pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 3600, true
}

func encodeAny(pk *packets.Packet) ([]byte, error) {
	var buf bytes.Buffer
	pk.Mods.AllowResponseInfo = true
	var err error
	switch pk.FixedHeader.Type {
	case packets.Connect:
		err = pk.ConnectEncode(&buf)
	case packets.Publish:
		err = pk.PublishEncode(&buf)
	case packets.Puback:
		err = pk.PubackEncode(&buf)
	case packets.Pubrec:
		err = pk.PubrecEncode(&buf)
	case packets.Pubrel:
		pk.FixedHeader.Qos = 1
		err = pk.PubrelEncode(&buf)
	case packets.Pubcomp:
		err = pk.PubcompEncode(&buf)
	case packets.Subscribe:
		pk.FixedHeader.Qos = 1
		err = pk.SubscribeEncode(&buf)
	case packets.Unsubscribe:
		pk.FixedHeader.Qos = 1
		err = pk.UnsubscribeEncode(&buf)
	case packets.Pingreq:
		err = pk.PingreqEncode(&buf)
	case packets.Disconnect:
		err = pk.DisconnectEncode(&buf)
	case packets.Auth:
		err = pk.AuthEncode(&buf)
	default:
		err = fmt.Errorf("packet type %d", pk.FixedHeader.Type)
	}
	return buf.Bytes(), err
}

func (p *peer) send(pk packets.Packet) {
	p.t.Helper()
	pk.ProtocolVersion = p.version
	b, err := encodeAny(&pk)
	if err != nil {
		p.t.Fatal(err)
	}
	p.write(b)
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

// next reads one packet, or returns the error that ended the connection.
func (p *peer) next() (packets.Packet, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	head, body, err := p.in.packet()
	if err != nil {
		return packets.Packet{}, err
	}
	pk := packets.Packet{ProtocolVersion: p.version}
	if err := pk.FixedHeader.Decode(head); err != nil {
		return pk, err
	}
	pk.FixedHeader.Remaining = len(body)
	body = bytes.Clone(body)
	switch pk.FixedHeader.Type {
	case packets.Connack:
		err = pk.ConnackDecode(body)
	case packets.Publish:
		err = pk.PublishDecode(body)
	case packets.Puback:
		err = pk.PubackDecode(body)
	case packets.Pubrec:
		err = pk.PubrecDecode(body)
	case packets.Pubrel:
		err = pk.PubrelDecode(body)
	case packets.Pubcomp:
		err = pk.PubcompDecode(body)
	case packets.Suback:
		err = pk.SubackDecode(body)
	case packets.Unsuback:
		err = pk.UnsubackDecode(body)
	case packets.Disconnect:
		err = pk.DisconnectDecode(body)
	}
	return pk, err
}

// expect reads the next packet, which must be of this kind.
func (p *peer) expect(kind byte) packets.Packet {
	p.t.Helper()
	pk, err := p.next()
	if err != nil {
		p.t.Fatalf("waiting for %s: %v", packets.PacketNames[kind], err)
	}
	if pk.FixedHeader.Type != kind {
		p.t.Fatalf("got %s (code %#x, topic %q), want %s",
			packets.PacketNames[pk.FixedHeader.Type], pk.ReasonCode, pk.TopicName, packets.PacketNames[kind])
	}
	return pk
}

// expectAck reads an acknowledgement of id with code.
func (p *peer) expectAck(kind byte, id uint16, code ReasonCode) {
	p.t.Helper()
	if pk := p.expect(kind); pk.PacketID != id || pk.ReasonCode != byte(code) {
		p.t.Fatalf("%s id %d code %#x, want id %d code %#x", packets.PacketNames[kind], pk.PacketID, pk.ReasonCode, id, byte(code))
	}
}

// expectMessage reads a PUBLISH with this payload and acknowledges nothing.
func (p *peer) expectMessage(payload string) packets.Packet {
	p.t.Helper()
	pk := p.expect(packets.Publish)
	if string(pk.Payload) != payload {
		p.t.Fatalf("got payload %q on %q, want %q", pk.Payload, pk.TopicName, payload)
	}
	return pk
}

// quiet proves that nothing else is on its way: the answer to a ping comes
// next.
func (p *peer) quiet() {
	p.t.Helper()
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	p.expect(packets.Pingresp)
}

// expectClosed reads to the end of the connection. It returns the code of a
// DISCONNECT before it, if there was one.
func (p *peer) expectClosed() ReasonCode {
	p.t.Helper()
	var code ReasonCode
	for {
		pk, err := p.next()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				p.t.Fatal("the connection stayed open")
			}
			return code
		}
		if pk.FixedHeader.Type == packets.Disconnect {
			code = ReasonCode(pk.ReasonCode)
		}
	}
}

func (p *peer) subscribe(qos byte, filters ...string) []byte {
	p.t.Helper()
	subs := packets.Subscriptions{}
	for _, f := range filters {
		subs = append(subs, packets.Subscription{Filter: f, Qos: qos})
	}
	return p.subscribeWith(subs, 0)
}

func (p *peer) subscribeWith(subs packets.Subscriptions, id int) []byte {
	p.t.Helper()
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 9999, Filters: subs}
	if id > 0 {
		pk.Properties.SubscriptionIdentifier = []int{id}
	}
	p.send(pk)
	return p.expect(packets.Suback).ReasonCodes
}

func publishPacket(topic, payload string, qos byte, id uint16) packets.Packet {
	return packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Publish, Qos: qos}, TopicName: topic, Payload: []byte(payload), PacketID: id,
	}
}

func (p *peer) publish(topic, payload string, qos byte, id uint16) {
	p.t.Helper()
	p.send(publishPacket(topic, payload, qos, id))
}

func (p *peer) redeliver(topic, payload string, qos byte, id uint16) {
	p.t.Helper()
	pk := publishPacket(topic, payload, qos, id)
	pk.FixedHeader.Dup = true
	p.send(pk)
}

func (p *peer) ack(kind byte, id uint16) {
	p.t.Helper()
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: id})
}

// disconnect says goodbye and waits until the server has closed.
func (p *peer) disconnect() {
	p.t.Helper()
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}})
	_, _ = io.Copy(io.Discard, p.nc)
}

// eventually waits for something that another goroutine does.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}
