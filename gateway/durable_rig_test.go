package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// hub is a broker on a real store, without functions.
type hub struct {
	testing.TB
	dir    string
	store  *store.Store
	broker *broker.Server
	addr   string
	closed bool
}

func openHub(t testing.TB, dir string, change ...func(*store.Config, *broker.Config)) *hub {
	t.Helper()
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	sc := store.Config{Path: filepath.Join(dir, "headgate.db"), MinFreeBytes: -1, Logger: log}
	bc := broker.DefaultConfig()
	bc.SysInterval, bc.PublishRate = 0, 0
	for _, c := range change {
		c(&sc, &bc)
	}
	h := &hub{TB: t, dir: dir}
	var err error
	if h.store, err = store.Open(context.Background(), sc); err != nil {
		t.Fatal(err)
	}
	h.broker, err = broker.New(bc, broker.Deps{Authenticator: broker.AllowAll{}, Sessions: h.store, Messages: h.store, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := h.broker.Listen(context.Background(), broker.ListenerConfig{Name: "test", Network: "tcp", Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	h.addr = addr.String()
	t.Cleanup(h.close)
	return h
}

func (h *hub) close() {
	if h.closed {
		return
	}
	h.closed = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := errors.Join(h.broker.Close(ctx), h.store.Close(ctx)); err != nil {
		h.Error(err)
	}
}

// crashed is a hub on what is on disk at this moment, as if this one had been
// killed.
func (h *hub) crashed(change ...func(*store.Config, *broker.Config)) *hub {
	h.Helper()
	return openHub(h.TB, copyDatabase(h.TB, h.dir), change...)
}

func copyDatabase(t testing.TB, from string) string {
	t.Helper()
	return filepath.Dir(testdb.Copy(t, filepath.Join(from, "headgate.db")))
}

// sync returns once everything so far is on disk.
func (h *hub) sync() {
	h.Helper()
	if err := h.store.SetMeta(context.Background(), "sync", []byte("x")); err != nil {
		h.Fatal(err)
	}
}

// node is an MQTT 3.1.1 client that does only what it is told.
type node struct {
	testing.TB
	conn net.Conn
	id   uint16
	// early are packets that came while another was waited for.
	early []packets.ControlPacket
}

// join connects with a session that outlives the connection, unless clean.
func join(t testing.TB, addr, name string, clean bool) *node {
	t.Helper()
	n, _ := joined(t, addr, name, clean, nil)
	return n
}

func joined(t testing.TB, addr, name string, clean bool, change func(*packets.ConnectPacket)) (n *node, present bool) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	n = &node{TB: t, conn: conn}
	c := packets.NewControlPacket(packets.Connect).(*packets.ConnectPacket)
	c.ProtocolName, c.ProtocolVersion, c.ClientIdentifier, c.CleanSession = "MQTT", 4, name, clean
	if change != nil {
		change(c)
	}
	n.send(c)
	ack := n.next().(*packets.ConnackPacket)
	if ack.ReturnCode != 0 {
		t.Fatalf("%s: CONNACK %d", name, ack.ReturnCode)
	}
	return n, ack.SessionPresent
}

func (n *node) send(p packets.ControlPacket) {
	n.Helper()
	if err := n.write(p); err != nil {
		n.Fatal(err)
	}
}

func (n *node) write(p packets.ControlPacket) error {
	_ = n.conn.SetWriteDeadline(time.Now().Add(30 * time.Second))
	return p.Write(n.conn)
}

func (n *node) read() (packets.ControlPacket, error) {
	_ = n.conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	return packets.ReadPacket(n.conn)
}

func (n *node) next() packets.ControlPacket {
	n.Helper()
	if len(n.early) > 0 {
		p := n.early[0]
		n.early = n.early[1:]
		return p
	}
	p, err := n.read()
	if err != nil {
		n.Fatal(err)
	}
	return p
}

func (n *node) subscribe(qos byte, filters ...string) {
	n.Helper()
	p := packets.NewControlPacket(packets.Subscribe).(*packets.SubscribePacket)
	n.id++
	p.MessageID, p.Topics = n.id, filters
	for range filters {
		p.Qoss = append(p.Qoss, qos)
	}
	n.send(p)
	ack := n.wait(func(p packets.ControlPacket) bool { _, ok := p.(*packets.SubackPacket); return ok }).(*packets.SubackPacket)
	for _, code := range ack.ReturnCodes {
		if code != qos {
			n.Fatalf("SUBACK %v", ack.ReturnCodes)
		}
	}
}

// wait returns the first packet that is as wanted; others are kept for next.
func (n *node) wait(want func(packets.ControlPacket) bool) packets.ControlPacket {
	n.Helper()
	var others []packets.ControlPacket
	for {
		p := n.next()
		if want(p) {
			n.early = append(others, n.early...)
			return p
		}
		others = append(others, p)
	}
}

func message(topic, payload string, qos byte, id uint16, retain bool) *packets.PublishPacket {
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Qos, p.MessageID, p.Retain = topic, []byte(payload), qos, id, retain
	return p
}

// publish publishes and waits until the message is the broker's.
func (n *node) publish(topic, payload string, qos byte, retain bool) {
	n.Helper()
	n.id++
	n.send(message(topic, payload, qos, n.id, retain))
	switch qos {
	case 1:
		n.acked(packets.Puback)
	case 2:
		n.acked(packets.Pubrec)
		n.ack(packets.Pubrel, n.id)
		n.acked(packets.Pubcomp)
	}
}

func (n *node) acked(kind byte) {
	n.Helper()
	n.wait(func(p packets.ControlPacket) bool { return kindOf(p) == kind && p.Details().MessageID == n.id })
}

func kindOf(p packets.ControlPacket) byte {
	switch p.(type) {
	case *packets.PublishPacket:
		return packets.Publish
	case *packets.PubackPacket:
		return packets.Puback
	case *packets.PubrecPacket:
		return packets.Pubrec
	case *packets.PubrelPacket:
		return packets.Pubrel
	case *packets.PubcompPacket:
		return packets.Pubcomp
	}
	return 0
}

func (n *node) ack(kind byte, id uint16) {
	n.Helper()
	n.send(ackPacket(kind, id))
}

func ackPacket(kind byte, id uint16) packets.ControlPacket {
	p := packets.NewControlPacket(kind)
	switch p := p.(type) {
	case *packets.PubackPacket:
		p.MessageID = id
	case *packets.PubrecPacket:
		p.MessageID = id
	case *packets.PubrelPacket:
		p.MessageID = id
	case *packets.PubcompPacket:
		p.MessageID = id
	}
	return p
}

// take returns the next message, which must have this payload, unacknowledged.
func (n *node) take(payload string) *packets.PublishPacket {
	n.Helper()
	p := n.wait(func(p packets.ControlPacket) bool { return kindOf(p) == packets.Publish }).(*packets.PublishPacket)
	if string(p.Payload) != payload {
		n.Fatalf("got %q, want %q", p.Payload, payload)
	}
	return p
}

// get takes a message and acknowledges it to the end.
func (n *node) get(payload string) *packets.PublishPacket {
	n.Helper()
	p := n.take(payload)
	switch p.Qos {
	case 1:
		n.ack(packets.Puback, p.MessageID)
	case 2:
		n.ack(packets.Pubrec, p.MessageID)
		n.wait(func(q packets.ControlPacket) bool {
			return kindOf(q) == packets.Pubrel && q.Details().MessageID == p.MessageID
		})
		n.ack(packets.Pubcomp, p.MessageID)
	}
	return p
}

// nothing proves that no message is on its way: the answer to a ping comes
// first.
func (n *node) nothing() {
	n.Helper()
	n.send(packets.NewControlPacket(packets.Pingreq))
	for {
		switch p := n.next().(type) {
		case *packets.PingrespPacket:
			return
		case *packets.PublishPacket:
			n.Fatalf("unexpected message %q", p.Payload)
		}
	}
}

// leave drops the connection, without a word.
func (n *node) leave() {
	_ = n.conn.Close()
}

// say disconnects in order and waits for the end.
func (n *node) disconnect() {
	n.Helper()
	n.send(packets.NewControlPacket(packets.Disconnect))
	_, _ = io.Copy(io.Discard, n.conn)
}

// eventually waits until the condition holds.
func waitUntil(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain until " + what)
		}
	}
}
