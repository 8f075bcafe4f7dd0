package broker

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// TestOfflineOrder publishes while the subscriber is connected, away, and
// connected again: everything arrives once, in order, by redelivery or from the
// queue.
func TestOfflineOrder(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		srv, addr := startServer(t, quietConfig(), Deps{})
		sub, _ := connected(t, addr, version, "sub", durable)
		sub.subscribe(1, "a/+")
		pub, _ := connected(t, addr, version, "pub", nil)
		n := 0
		publish := func(count int) {
			for range count {
				pub.publish("a/1", fmt.Sprint(n), 1, 1)
				pub.expectAck(packets.Puback, 1, Success)
				n++
			}
		}
		publish(300) // more than may be in flight
		for i := range 10 {
			sub.ack(packets.Puback, sub.expectMessage(fmt.Sprint(i)).PacketID)
		}
		sub.quietly()
		_ = sub.nc.Close()
		eventually(t, "offline", func() bool { return !clientOf(srv, "sub").Connected })
		pub.publish("a/1", "qos 0", 0, 0) // not kept
		publish(50)
		sub, ack := connected(t, addr, version, "sub", durable)
		if !ack.SessionPresent {
			t.Fatal("no session present")
		}
		publish(50)
		dups := 0
		for i := 10; i < n; i++ {
			m := sub.expectMessage(fmt.Sprint(i))
			if m.FixedHeader.Dup {
				dups++
			}
			sub.ack(packets.Puback, m.PacketID)
		}
		if dups != 256 {
			t.Errorf("%d redeliveries with DUP, want those that were in flight", dups)
		}
		eventually(t, "all acknowledged", func() bool { st := srv.Stats(); return st.QueuedMessages == 0 && st.QueuedBytes == 0 })
	})
}

// quietly reads until the answer to a ping.
func (p *peer) quietly() {
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
	for {
		pk, err := p.next()
		if err != nil {
			p.t.Fatal(err)
		}
		if pk.FixedHeader.Type == packets.Pingresp {
			return
		}
	}
}

func clientOf(srv *Server, id string) Client {
	for _, c := range srv.Clients() {
		if c.ID == id {
			return c
		}
	}
	return Client{}
}

// expire lets the expiry of all that a session has in flight pass: a test that
// waited for a short one could not be sure that it was sent before.
func expire(t *testing.T, srv *Server, id string) {
	t.Helper()
	srv.mu.Lock()
	sess := srv.sessions[id]
	srv.mu.Unlock()
	sess.mu.Lock()
	defer sess.mu.Unlock()
	window := sess.out.window()
	if len(window) == 0 {
		t.Fatal("nothing is in flight")
	}
	for _, f := range window {
		f.msg.Expires = time.Now().Add(-time.Second)
	}
}

func TestTakeover(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": {Subscribe: []string{"#"}}, "bob": {}}})
	as := func(user string) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			durable(pk)
			pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(user)
			pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte("secret "+user)
		}
	}
	first, _ := connected(t, addr, 5, "c", as("ann"))
	first.subscribe(1, "a")
	second, ack := connected(t, addr, 5, "c", as("ann"))
	if code := first.expectClosed(); code != SessionTakenOver { // [MQTT-3.1.4-3]
		t.Errorf("the first was closed with %v", code)
	}
	if !ack.SessionPresent {
		t.Error("no session present")
	}
	shows5(t, "3.1.4-3")
	srv.Publish(&Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	second.expectMessage("x")
	old, _ := connected(t, addr, 4, "old", as("ann"))
	connected(t, addr, 4, "old", as("ann"))
	old.expectClosed()
	shows3(t, "3.1.4-2")
	for _, version := range []byte{4, 5} { // the id belongs to ann
		p := dial(t, addr, version)
		want := byte(NotAuthorized)
		if version == 4 {
			want = 5
		}
		if got := p.connect("c", as("bob")).ReasonCode; got != want {
			t.Errorf("v%d: another user's takeover was answered %#x", version, got)
		}
		p.expectClosed()
	}
	second.quiet()
	if st := srv.Stats(); st.Takeovers != 2 || st.DeniedConnects != 2 {
		t.Errorf("%d takeovers, %d denied", st.Takeovers, st.DeniedConnects)
	}
}

// TestTakeoverKeepsOrder reconnects a publisher again and again with messages
// that are released late.
func TestTakeoverKeepsOrder(t *testing.T) {
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(0, "a")
	var all []*Inbound
	for i := range 20 {
		pub, _ := connected(t, addr, 5, "pub", func(pk *packets.Packet) { durable(pk); pk.Connect.Clean = i%3 == 0 })
		pub.publish("a", fmt.Sprint(i), 1, uint16(i+1))
		all = append(all, h.take(t))
	}
	for i := len(all) - 1; i >= 0; i-- {
		all[i].Release(Success)
	}
	for i := range all {
		sub.expectMessage(fmt.Sprint(i))
	}
}

func TestSessionExpiry(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	short := func(pk *packets.Packet) {
		pk.Connect.Clean = false
		pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = 1, true
	}
	sub, _ := connected(t, addr, 5, "sub", short)
	sub.subscribe(1, "a")
	sub.disconnect()
	eventually(t, "expired", func() bool { return srv.Stats().SessionsExpired == 1 && srv.Stats().Sessions == 0 })
	eventually(t, "no subscription is left", func() bool { return srv.Stats().Subscriptions == 0 && srv.subs.Len() == 0 })
	_, ack := connected(t, addr, 5, "sub", short)
	if ack.SessionPresent {
		t.Error("an expired session is present")
	}
	t.Run("changed by disconnect", func(t *testing.T) { // [MQTT5 3.14.2.2.2]
		p, _ := connected(t, addr, 5, "d", durable)
		bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}
		bye.Properties.SessionExpiryIntervalFlag = true
		p.send(bye)
		p.expectClosed()
		eventually(t, "ended", func() bool { return clientOf(srv, "d").ID == "" })
	})
	t.Run("not raised from zero", func(t *testing.T) {
		p, _ := connected(t, addr, 5, "z", nil)
		bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}
		bye.Properties.SessionExpiryInterval, bye.Properties.SessionExpiryIntervalFlag = 10, true
		p.send(bye)
		if code := p.expectClosed(); code != ProtocolError { // [MQTT-3.1.2-23]
			t.Errorf("closed with %v", code)
		}
	})
}

func TestSessionsBound(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxSessions = 2
	srv, addr := startServer(t, cfg, Deps{})
	for i := range 3 { // the one that is away longest makes room
		p, _ := connected(t, addr, 5, fmt.Sprint(i), durable)
		p.disconnect()
		eventually(t, "offline", func() bool { return !clientOf(srv, fmt.Sprint(i)).Connected })
	}
	if st := srv.Stats(); st.Sessions != 2 || st.SessionsDisplaced != 1 || clientOf(srv, "0").ID != "" {
		t.Errorf("%d sessions, %d displaced", st.Sessions, st.SessionsDisplaced)
	}
	connected(t, addr, 5, "1", durable)
	connected(t, addr, 5, "2", durable)
	p := dial(t, addr, 5)
	if ack := p.connect("3", nil); ack.ReasonCode != byte(QuotaExceeded) {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
}

// TestStoredSession proves that CONNACK and SUBACK wait for the disk, and that
// a restart brings subscriptions with their options back.
func TestStoredSession(t *testing.T) {
	store := newMemStore()
	store.setHold(true)
	srv, addr := startServer(t, quietConfig(), Deps{Sessions: store})
	sub := dial(t, addr, 5)
	sub.send(connectPacket(5, "sub", durable))
	eventually(t, "the session is being saved", func() bool { return store.commit() > 0 })
	sub.expect(packets.Connack)
	sub.send(packets.Packet{
		FixedHeader: packets.FixedHeader{Type: packets.Subscribe}, PacketID: 1,
		Properties: packets.Properties{SubscriptionIdentifier: []int{300}},
		Filters: packets.Subscriptions{
			{Filter: "a", Qos: 1, RetainAsPublished: true, NoLocal: true, RetainHandling: 1}, {Filter: "$share/g/b/#", Qos: 2},
		},
	})
	eventually(t, "the subscription is being saved", func() bool { return store.waiting() > 0 })
	if srv.Stats().Subscriptions != 0 {
		t.Error("a subscription took effect before it was stored")
	}
	store.commit()
	sub.expect(packets.Suback)
	store.setHold(false)
	_, addr = restart(t, srv, store, nil)
	sub, ack := connected(t, addr, 5, "sub", durable)
	if !ack.SessionPresent {
		t.Fatal("no session present")
	}
	pub, _ := connected(t, addr, 5, "pub", nil)
	pk := publishPacket("a", "x", 1, 1)
	pk.FixedHeader.Retain = true
	pub.send(pk)
	if m := sub.expectMessage("x"); !m.FixedHeader.Retain || fmt.Sprint(m.Properties.SubscriptionIdentifier) != "[300]" {
		t.Errorf("options were forgotten: %+v", m)
	}
	pub.publish("b/c", "y", 0, 0)
	sub.expectMessage("y")
	sub.publish("a", "self", 0, 0)
	sub.quiet() // no local
	sub.disconnect()
	eventually(t, "offline on disk", func() bool { rec, _, ok := store.get("sub"); return ok && !rec.Disconnected.IsZero() })
	sub, _ = connected(t, addr, 5, "sub", nil) // clean start, no expiry: gone from disk
	if _, _, ok := store.get("sub"); ok {
		t.Error("the session is still stored")
	}
	sub.quiet()
}

func TestStoreFails(t *testing.T) {
	store := newMemStore()
	srv, addr := startServer(t, quietConfig(), Deps{Sessions: store})
	sub, _ := connected(t, addr, 5, "sub", durable)
	store.mu.Lock()
	store.fail = errDisk
	store.mu.Unlock()
	if codes := sub.subscribe(1, "a"); codes[0] != byte(UnspecifiedError) {
		t.Errorf("SUBACK %#x", codes[0])
	}
	p := dial(t, addr, 5)
	if ack := p.connect("other", durable); ack.ReasonCode != byte(ServerUnavailable) {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
	p.expectClosed()
	if st := srv.Stats(); st.StoreErrors < 2 || st.Subscriptions != 0 {
		t.Errorf("%d errors, %d subscriptions", st.StoreErrors, st.Subscriptions)
	}
}

func TestQueueBounds(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxQueuedMessages = 5
	srv, addr := startServer(t, cfg, Deps{})
	sub, _ := connected(t, addr, 4, "sub", durable)
	sub.subscribe(1, "a")
	sub.disconnect()
	eventually(t, "offline", func() bool { return !clientOf(srv, "sub").Connected })
	for i := range 8 {
		srv.Publish(&Message{Topic: "a", Payload: fmt.Append(nil, i), QoS: 1})
	}
	if n := srv.Stats().DroppedQueueFull; n != 3 {
		t.Errorf("%d dropped", n)
	}
	sub, _ = connected(t, addr, 4, "sub", durable)
	for i := 3; i < 8; i++ { // the oldest are gone
		sub.expectMessage(fmt.Sprint(i))
	}
	t.Run("in total", func(t *testing.T) {
		cfg.MaxQueuedBytesTotal = 3000
		srv, addr := startServer(t, cfg, Deps{})
		for i := range 5 {
			sub, _ := connected(t, addr, 4, fmt.Sprint(i), durable)
			sub.subscribe(1, fmt.Sprint("a/", i))
			sub.disconnect()
			eventually(t, "offline", func() bool { return !clientOf(srv, fmt.Sprint(i)).Connected })
		}
		for i := range 5 {
			srv.Publish(&Message{Topic: fmt.Sprint("a/", i), Payload: make([]byte, 800), QoS: 1})
		}
		if st := srv.Stats(); st.QueuedBytes > 3000 || st.DroppedQueueFull != 2 {
			t.Errorf("%d bytes, %d dropped", st.QueuedBytes, st.DroppedQueueFull)
		}
	})
}

func TestWills(t *testing.T) {
	will := func(delay, expiry uint32) func(*packets.Packet) {
		return func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "will", []byte(pk.Connect.ClientIdentifier)
			pk.Connect.WillQos = 1
			pk.Connect.WillProperties.WillDelayInterval = delay
			pk.Connect.Clean = false
			pk.Properties.SessionExpiryInterval, pk.Properties.SessionExpiryIntervalFlag = expiry, expiry > 0
		}
	}
	h := newHolder()
	_, addr := startServer(t, quietConfig(), Deps{Handler: h})
	sub, _ := connected(t, addr, 5, "sub", nil)
	sub.subscribe(0, "will")

	p, _ := connected(t, addr, 5, "lost", will(0, 0))
	p.publish("will", "before", 0, 0)
	before := h.take(t)
	_ = p.nc.Close()
	in := h.take(t)
	if !in.Will || in.Client != "lost" || in.Record != nil || in.Message.QoS != 1 {
		t.Errorf("will %+v", in)
	}
	in.Release(Success) // behind what its client published
	sub.quiet()
	before.Release(Success)
	sub.expectMessage("before")
	sub.expectMessage("lost")

	p, _ = connected(t, addr, 5, "clean", will(0, 0))
	p.disconnect() // [MQTT-3.14.4-3]
	p, _ = connected(t, addr, 5, "asked", will(0, 0))
	p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}, ReasonCode: byte(DisconnectWithWill)})
	h.take(t).Release(Success)
	sub.expectMessage("asked")

	p, _ = connected(t, addr, 5, "back", will(3600, 3600))
	_ = p.nc.Close()
	p, _ = connected(t, addr, 5, "back", will(3600, 3600)) // [MQTT-3.1.3-9]
	p.disconnect()
	p, _ = connected(t, addr, 5, "delayed", will(1, 3600))
	_ = p.nc.Close()
	h.take(t).Release(Success)
	sub.expectMessage("delayed")
	p, _ = connected(t, addr, 5, "expires", will(3600, 1))
	_ = p.nc.Close()
	h.take(t).Release(Success) // the session's end comes first
	sub.expectMessage("expires")
	sub.quiet()
}

func TestSharedSubscriptions(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	var members []*peer
	for i := range 3 {
		p, _ := connected(t, addr, 5, fmt.Sprintf("m%d", i), durable)
		p.subscribe(1, "$share/g/a/+")
		members = append(members, p)
	}
	other, _ := connected(t, addr, 5, "other", nil)
	other.subscribe(1, "$share/h/a/+", "a/1")
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			srv.Publish(&Message{Topic: "a/1", Payload: fmt.Append(nil, i), QoS: 1})
		}
	}
	drain := func(p *peer) (n int) {
		p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}})
		for {
			pk, err := p.next()
			if err != nil {
				t.Fatal(err)
			}
			if pk.FixedHeader.Type == packets.Pingresp {
				return n
			}
			p.ack(packets.Puback, pk.PacketID)
			n++
		}
	}
	publish(0, 9)
	for i, p := range members {
		if n := drain(p); n != 3 {
			t.Errorf("member %d got %d of 9", i, n)
		}
	}
	if n := drain(other); n != 18 { // another group, and a subscription of its own
		t.Errorf("other got %d", n)
	}
	members[0].disconnect()
	eventually(t, "offline", func() bool { return !clientOf(srv, "m0").Connected })
	publish(0, 10) // online members first
	if a, b := drain(members[1]), drain(members[2]); a != 5 || b != 5 {
		t.Errorf("online members got %d and %d", a, b)
	}
	publish(0, 4)
	for _, p := range members[1:] { // they leave for ever with messages in flight: the offline member gets them
		bye := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Disconnect}}
		bye.Properties.SessionExpiryIntervalFlag = true
		p.send(bye)
		p.expectClosed()
	}
	eventually(t, "handed over", func() bool { return clientOf(srv, "m0").Queued == 4 })
}

func TestShutdownTellsClients(t *testing.T) {
	cfg := quietConfig()
	cfg.ConnectTimeout = time.Hour // a half-open connection does not hold the shutdown up
	srv, addr := startServer(t, cfg, Deps{})
	v5, _ := connected(t, addr, 5, "v5", nil)
	connected(t, addr, 4, "v4", nil)
	half := dial(t, addr, 5)
	eventually(t, "three connections", func() bool { return srv.Stats().Connections == 3 })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := srv.Close(ctx); err != nil {
		t.Fatal(err)
	}
	if code := v5.expectClosed(); code != ServerShuttingDown {
		t.Errorf("closed with %v", code)
	}
	half.expectClosed()
	if _, err := srv.Listen(ctx, ListenerConfig{Network: "tcp", Address: "127.0.0.1:0"}); err == nil {
		t.Error("a closed server listens")
	}
}

func TestServerDisconnect(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	user := func(pk *packets.Packet) { pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte("ann") }
	ann, _ := connected(t, addr, 5, "a", user)
	bob, _ := connected(t, addr, 5, "b", nil)
	srv.Disconnect("ann", AdministrativeAction)
	if code := ann.expectClosed(); code != AdministrativeAction {
		t.Errorf("closed with %v", code)
	}
	bob.quiet()
}

func TestSys(t *testing.T) {
	cfg := quietConfig()
	cfg.SysInterval = time.Hour
	_, addr := startServer(t, cfg, Deps{})
	p, _ := connected(t, addr, 5, "p", nil)
	eventually(t, "published", func() bool { p.subscribe(0, "a"); return true })
	p.subscribe(0, "$SYS/broker/uptime")
	p.expect(packets.Publish)
	p.publish("$SYS/broker/uptime", "forged", 1, 1)
	p.expectAck(packets.Puback, 1, NotAuthorized)
}
