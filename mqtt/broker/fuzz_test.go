package broker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// FuzzDecode feeds packets to the decoder. What is checked before mochi's
// decoders see it must keep them from panicking: the recover behind it is for
// what nobody has found yet. A PUBLISH that is accepted must survive encoding
// and decoding.
func FuzzDecode(f *testing.F) {
	for _, pk := range seedPackets(5) {
		if b, err := encodeAny(&pk); err == nil {
			_, at, _ := varint(b, 1)
			f.Add(b[0], byte(5), b[at:])
			f.Add(b[0], byte(4), b[at:])
		}
	}
	f.Fuzz(func(t *testing.T, head, version byte, body []byte) {
		version = 4 + version&1
		var pk packet
		err := decode(&pk, version, head, body)
		if err != nil && strings.Contains(err.Error(), "gave up") {
			t.Fatal(err)
		}
		if err != nil || pk.FixedHeader.Type != packets.Publish {
			return
		}
		var m Message
		messageOf(&m, &pk)
		m.Expires = time.Time{}
		d := delivery{msg: &m, qos: m.QoS, id: pk.PacketID, retain: m.Retain, dup: pk.FixedHeader.Dup}
		b := append(appendPublishHeader(nil, &d, version, m.Topic, 0, time.Time{}), m.Payload...)
		n, at, ok := varint(b, 1)
		if !ok || n != len(b)-at {
			t.Fatalf("encoded length %d of %d", n, len(b)-at)
		}
		var again packet
		if err := decode(&again, version, b[0], b[at:]); err != nil {
			t.Fatalf("own encoding is not decoded: %v", err)
		}
		var m2 Message
		messageOf(&m2, &again)
		if m2.Topic != m.Topic || string(m2.Payload) != string(m.Payload) || hashOf(&m2) != hashOf(&m) || again.PacketID != pk.PacketID {
			t.Fatalf("%+v became %+v", m, m2)
		}
	})
}

func seedPackets(version byte) []packets.Packet {
	full := publishPacket("a/b", "payload", 1, 7)
	full.Properties = packets.Properties{
		PayloadFormat: 1, PayloadFormatFlag: true, ContentType: "x", ResponseTopic: "r", CorrelationData: []byte("c"),
		User: []packets.UserProperty{{Key: "k", Val: "v"}}, MessageExpiryInterval: 5, TopicAlias: 1, TopicAliasFlag: true,
	}
	fixed := func(kind byte) packets.Packet {
		return packets.Packet{FixedHeader: packets.FixedHeader{Type: kind}, PacketID: 7, ProtocolVersion: version}
	}
	sub := fixed(packets.Subscribe)
	sub.Filters = packets.Subscriptions{{Filter: "a/+", Qos: 1}, {Filter: "$share/g/#", Qos: 2}}
	unsub := fixed(packets.Unsubscribe)
	unsub.Filters = packets.Subscriptions{{Filter: "a/+"}}
	will := connectPacket(version, "c", func(pk *packets.Packet) {
		durable(pk)
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "w", []byte("gone")
		pk.Connect.WillProperties.WillDelayInterval = 1
	})
	full.ProtocolVersion = version
	zero := publishPacket("a/b", "zero", 0, 0)
	two := publishPacket("a/b", "two", 2, 8)
	zero.ProtocolVersion, two.ProtocolVersion = version, version
	return []packets.Packet{
		will, full, zero, two, sub, unsub, fixed(packets.Puback), fixed(packets.Pubrec), fixed(packets.Pubrel),
		fixed(packets.Pubcomp), fixed(packets.Pingreq), fixed(packets.Disconnect), fixed(packets.Auth),
	}
}

// FuzzConversation plays whatever bytes as a client's side of a conversation,
// after a CONNECT if connect is set. The broker must stay up: another client is
// served afterwards, the connection's goroutines end, and nothing stays
// pending.
func FuzzConversation(f *testing.F) {
	for _, version := range []byte{4, 5} {
		var all []byte
		for _, pk := range seedPackets(version) {
			if b, err := encodeAny(&pk); err == nil {
				f.Add(b, true, version)
				all = append(all, b...)
			}
		}
		f.Add(all, false, version)
	}
	f.Add([]byte("\x82\x06\x00\x01\x00\x00\x01a"), true, byte(5))
	f.Add([]byte("\x30\xff\xff\xff\x7f"), true, byte(4))
	cfg := quietConfig()
	cfg.MaxSubscriptions, cfg.MaxQueuedMessages, cfg.MaxSessionExpiry = 10, 10, time.Millisecond
	srv, err := New(cfg, Deps{
		Handler: releaser{}, Authenticator: AllowAll{}, Sessions: newMemStore(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := srv.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, conversation []byte, connect bool, version byte) {
		converse(t, srv, conversation, connect, 4+version&1)
		p := pipePeer(t, srv)
		if ack := p.connect("witness", nil); ack.ReasonCode != 0 {
			t.Fatalf("CONNACK %#x", ack.ReasonCode)
		}
		p.subscribe(1, "w")
		p.publish("w", "alive", 1, 1)
		p.expectMessage("alive")
		p.expectAck(packets.Puback, 1, Success)
		_ = p.nc.Close()
		eventually(t, "both have ended", func() bool { return srv.Stats().Connections == 0 })
		if n := srv.Stats().PendingBytes; n != 0 {
			t.Fatalf("%d bytes pending", n)
		}
	})
}

// pipePeer connects without a socket: a fuzzer would run out of ports.
func pipePeer(t testing.TB, srv *Server) *peer {
	client, server := net.Pipe()
	srv.start(server, "pipe", func() {})
	return newPeer(t, client, 5)
}

func converse(t testing.TB, srv *Server, conversation []byte, connect bool, version byte) {
	p := pipePeer(t, srv)
	drained := make(chan struct{})
	if connect {
		p.version = version
		p.connect("fuzz", nil)
	}
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, p.nc)
	}()
	_ = p.nc.SetWriteDeadline(time.Now().Add(patience))
	_, _ = p.nc.Write(conversation) // the broker may have had enough of it
	_ = p.nc.Close()
	<-drained
}
