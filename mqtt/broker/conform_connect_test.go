package broker

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// rawConnect is a CONNECT of which everything may be wrong.
func rawConnect(level, flags byte, fields ...string) string {
	return wire(0x10, append([]string{text("MQTT"), string([]byte{level, flags}), "\x00\x00", props(level)}, fields...)...)
}

// answerTo sends bytes on a new connection and returns all that comes back
// until the broker closes it.
func answerTo(t *testing.T, addr, bytes string) string {
	t.Helper()
	p := dial(t, addr, 5)
	_ = p.nc.SetDeadline(time.Now().Add(patience))
	p.write([]byte(bytes))
	b, err := io.ReadAll(p.nc)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Fatalf("the connection stayed open: %v", err)
	}
	return string(b)
}

// TestConformConnectFormat: CONNECTs that break the rules end the connection,
// with 3.1.1 without a CONNACK.
func TestConformConnectFormat(t *testing.T) {
	id := text("x")
	both := func(ids ...string) [2][]string { return [2][]string{ids, ids} }
	for _, tc := range []struct {
		name  string
		bytes func(version byte) string
		ids   [2][]string // of 3.1.1 and 5.0
	}{
		{"not CONNECT", func(v byte) string { return wire(0x30, text("a"), props(v), "x") }, both("3.1.0-1")},
		{"protocol name", func(v byte) string { return wire(0x10, text("HTTP"), string(v), "\x02\x00\x00", props(v), id) }, both("3.1.2-1")},
		{"fixed header flags", func(v byte) string { return "\x11" + rawConnect(v, 2, id)[1:] }, [2][]string{{"2.2.2-1", "2.2.2-2"}, {"2.1.3-1"}}},
		{"reserved flag", func(v byte) string { return rawConnect(v, 3, id) }, both("3.1.2-3")},
		{"will flag without will", func(v byte) string { return rawConnect(v, 6, id) }, both("3.1.2-9")},
		{"will QoS without will", func(v byte) string { return rawConnect(v, 0xa, id) }, [2][]string{{"3.1.2-11", "3.1.2-13"}, {"3.1.2-11"}}},
		{"will retain without will", func(v byte) string { return rawConnect(v, 0x22, id) }, [2][]string{{"3.1.2-11", "3.1.2-15"}, {"3.1.2-13"}}},
		{"will without its flag", func(v byte) string { return rawConnect(v, 2, id, props(v), text("a"), text("b")) }, [2][]string{{"3.1.2-11"}, {}}},
		{"will QoS 3", func(v byte) string { return rawConnect(v, 0x1e, id, props(v), text("a"), text("b")) }, [2][]string{{"3.1.2-14"}, {"3.1.2-12"}}},
		{"user name flag without user name", func(v byte) string { return rawConnect(v, 0x82, id) }, [2][]string{{"3.1.2-19"}, {"3.1.2-17"}}},
		{"user name without its flag", func(v byte) string { return rawConnect(v, 2, id, text("ann")) }, [2][]string{{"3.1.2-18"}, {"3.1.2-16"}}},
		{"password flag without password", func(v byte) string { return rawConnect(v, 0xc2, id, text("ann")) }, [2][]string{{"3.1.2-21"}, {"3.1.2-19"}}},
		{"password without its flag", func(v byte) string { return rawConnect(v, 0x82, id, text("ann"), text("p")) }, [2][]string{{"3.1.2-20"}, {"3.1.2-18"}}},
		{"no client id", func(v byte) string { return rawConnect(v, 2) }, both("3.1.3-3")},
		{"client id not UTF-8", func(v byte) string { return rawConnect(v, 2, text("\xff")) }, [2][]string{{"3.1.3-4", "1.5.3-1"}, {"3.1.3-4", "1.5.4-1"}}},
		{"surrogate", func(v byte) string { return rawConnect(v, 2, text("\xed\xa0\x80")) }, [2][]string{{"1.5.3-1"}, {"1.5.4-1"}}},
		{"will topic not UTF-8", func(v byte) string { return rawConnect(v, 6, id, props(v), text("\xff"), text("b")) }, [2][]string{{"3.1.3-10"}, {"3.1.3-11"}}},
		{"user name not UTF-8", func(v byte) string { return rawConnect(v, 0x82, id, text("\xff")) }, [2][]string{{"3.1.3-11"}, {"3.1.3-12"}}},
		{"user name with U+0000", func(v byte) string { return rawConnect(v, 0x82, id, text("a\x00")) }, [2][]string{{"1.5.3-2"}, {"1.5.4-2"}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			versions(t, func(t *testing.T, version byte) {
				_, addr := startServer(t, quietConfig(), Deps{})
				got := answerTo(t, addr, tc.bytes(version))
				if got != "" && (version == 4 || got[0] != 0x20 || got[3] < 0x80) {
					t.Fatalf("answered %q", got)
				}
				shows(t, version, tc.ids[version-4]...)
			})
		})
	}
	shows3(t, "3.1.4-1")
	shows5(t, "3.1.4-1")
	t.Run("v3.1.1 alone", func(t *testing.T) {
		_, addr := startServer(t, quietConfig(), Deps{})
		if got := answerTo(t, addr, rawConnect(4, 0x42, id, text("p"))); got != "" { // a password without user name
			t.Errorf("answered %q", got)
		}
		shows3(t, "3.1.2-22")
		// No return code says that a topic is wrong.
		if got := answerTo(t, addr, rawConnect(4, 6, id, text("a/#"), text("b"))); got != "" {
			t.Errorf("answered %q", got)
		}
		shows3(t, "3.2.2-6")
		if got := answerTo(t, addr, rawConnect(4, 0, text(""))); got != "\x20\x02\x00\x02" {
			t.Errorf("answered %q", got)
		}
		shows3(t, "3.1.3-8")
	})
}

func TestConformConnectRefused(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		cfg := quietConfig()
		cfg.MaxClientID = 30
		srv, addr := startServer(t, cfg, Deps{Authenticator: passwords{"ann": {}}})
		p, _ := connected(t, addr, version, "c", func(pk *packets.Packet) { durable(pk); login("ann", "secret ann")(pk) })
		p.disconnect()
		wrong := connectPacket(version, "c", func(pk *packets.Packet) { durable(pk); login("ann", "wrong")(pk) })
		wrong.ProtocolVersion = version
		b, err := encodeAny(&wrong)
		if err != nil {
			t.Fatal(err)
		}
		// What follows a CONNECT may be there before its answer.
		got := answerTo(t, addr, string(b)+wire(0x31, text("a"), props(version), "x")+wire(0x82, "\x00\x01", props(version), text("#"), "\x00"))
		if want := map[byte]string{4: "\x20\x02\x00\x04", 5: "\x00\x86"}[version]; version == 4 && got != want || version == 5 && (got[0] != 0x20 || got[2:4] != want) {
			t.Errorf("answered %q", got)
		}
		srv.Retained("#", func(m *Message) bool { t.Errorf("%s was retained", m.Topic); return true })
		if n := srv.Stats().Subscriptions; n != 0 {
			t.Errorf("%d subscriptions", n)
		}
		long := answerTo(t, addr, rawConnect(version, 2, text(strings.Repeat("x", 31))))
		if want := map[byte]string{4: "\x00\x02", 5: "\x00\x85"}[version]; len(long) < 4 || long[2:4] != want {
			t.Errorf("a client id that is too long: %q", long)
		}
		if version == 4 {
			shows(t, version, "3.1.4-5", "3.2.2-4", "3.2.2-5", "3.1.3-9")
		} else {
			shows(t, version, "3.1.4-2", "3.1.4-6", "3.2.2-6", "3.2.2-7", "3.2.2-8", "4.13.2-1", "3.14.0-1", "3.1.3-8")
		}
		other := answerTo(t, addr, wire(0x10, text("MQTT"), "\x07\x02\x00\x00", props(version), text("x")))
		if other != "\x20\x02\x00\x01" {
			t.Errorf("level 7 was answered %q", other)
		}
		shows(t, version, "3.1.2-2")
	})
}

// knower remembers what was asked, and lets everybody in.
type knower struct {
	mu    sync.Mutex
	asked []Credentials
}

func (k *knower) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked = append(k.asked, c)
	return AllowAll{}.Authenticate(context.Background(), c)
}

func TestConformConnectAccepted(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		who := &knower{}
		_, addr := startServer(t, quietConfig(), Deps{Authenticator: who})
		present := func(client string, change func(*packets.Packet)) string {
			p := dial(t, addr, version)
			pk := connectPacket(version, client, change)
			p.send(pk)
			p.send(packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Pingreq}}) // before the answer
			first, second := p.rawNext(), p.rawNext()
			if first[0] != 0x20 || first[2] != 0 || second != "\xd0" {
				t.Fatalf("%q, then %q", first, second)
			}
			p.disconnect()
			return first[1:2]
		}
		for _, step := range []struct {
			client string
			change func(*packets.Packet)
			want   string
		}{
			{"a", durable, "\x00"}, {"a", durable, "\x01"}, {"b", durable, "\x00"}, {"a", nil, "\x00"}, {"a", durable, "\x00"}, {"b", durable, "\x01"},
		} {
			if got := present(step.client, step.change); got != step.want {
				t.Errorf("%s: acknowledge flags %q, want %q", step.client, got, step.want)
			}
		}
		shows(t, version, "3.2.0-1", "3.2.2-1", "3.2.2-2", "3.2.2-3", "3.1.3-2", "3.1.2-4")
		if version == 4 {
			shows(t, version, "3.1.2-6", "3.1.4-3", "3.1.4-4", "7.0.0-2")
		} else {
			shows(t, version, "3.1.2-5", "3.1.2-6", "3.1.4-4", "3.1.4-5", "3.2.0-2")
		}

		const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		for i := range letters {
			present(letters[i:i+1], nil)
		}
		for n := 1; n <= 23; n++ {
			present(letters[n:2*n], nil)
		}
		shows(t, version, "3.1.3-5")

		present("whole", func(pk *packets.Packet) {
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "will", []byte("gone")
			login("ann", "secret")(pk)
		})
		if c := who.asked[len(who.asked)-1]; c.Client != "whole" || c.Username != "ann" || string(c.Password) != "secret" {
			t.Errorf("credentials %+v", c)
		}
		shows(t, version, "3.1.3-1")
	})
}

func TestConformAssignedClientID(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{})
	one, _ := connected(t, addr, 4, "", nil)
	two, _ := connected(t, addr, 4, "", nil)
	one.quiet()
	two.quiet()
	if all := srv.Clients(); len(all) != 2 || all[0].ID == "" || all[0].ID == all[1].ID {
		t.Errorf("clients %+v", all)
	}
	shows3(t, "3.1.3-6")
	three, ack := connected(t, addr, 5, "", durable)
	id := ack.Properties.AssignedClientID
	for _, c := range srv.Clients()[:2] {
		if id == "" || len(srv.Clients()) != 3 {
			t.Errorf("assigned %q beside %q", id, c.ID)
		}
	}
	three.disconnect()
	if _, ack := connected(t, addr, 5, id, durable); !ack.SessionPresent || ack.Properties.AssignedClientID != "" {
		t.Errorf("session present %v, assigned %q", ack.SessionPresent, ack.Properties.AssignedClientID)
	}
	shows5(t, "3.1.3-6", "3.1.3-7", "3.2.2-16")
}

// TestConformKeepAlive: silence ends the connection as the network would, with
// the will.
func TestConformKeepAlive(t *testing.T) {
	t.Parallel()
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		watcher, _ := connected(t, addr, version, "watcher", nil)
		watcher.subscribe(0, "will")
		began := time.Now() // before the broker counts
		p, ack := connected(t, addr, version, "p", func(pk *packets.Packet) {
			pk.Connect.Keepalive = 1
			pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "will", []byte("silent")
		})
		if ack.Properties.ServerKeepAliveFlag {
			t.Error("another keep alive was announced")
		}
		p.expectClosed()
		if time.Since(began) < time.Second { // the client had kept to it
			t.Error("closed too early")
		}
		watcher.expectMessage("silent")
		if version == 4 {
			shows(t, version, "3.1.2-24")
		} else {
			shows(t, version, "3.1.2-22", "3.2.2-22")
		}
	})
}

func TestConformSecondConnect(t *testing.T) {
	versions(t, func(t *testing.T, version byte) {
		_, addr := startServer(t, quietConfig(), Deps{})
		p, _ := connected(t, addr, version, "p", nil)
		p.write([]byte(rawConnect(version, 2, text("p"))))
		if code := p.expectClosed(); version == 5 && code != ProtocolError {
			t.Errorf("closed with %v", code)
		}
		shows(t, version, "3.1.0-2")
	})
}

// TestConformSmallClient connects clients that take only small packets.
func TestConformSmallClient(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": {Publish: []string{"ok"}, Subscribe: []string{"#"}}}})
	small := func(limit uint32, password string) *peer {
		p := dial(t, addr, 5)
		p.send(connectPacket(5, fmt.Sprint("c", limit), func(pk *packets.Packet) {
			login("ann", password)(pk)
			pk.Properties.MaximumPacketSize = limit
		}))
		return p
	}
	if got := small(10, "wrong").rawNext(); got != "\x20\x00\x86\x00" { // without its reason string
		t.Errorf("refused with %q", got)
	}
	shows5(t, "3.2.2-19", "3.2.2-20")
	// Not even the CONNACK fits: the client is told so, or nothing.
	if got := small(10, "secret ann").rawNext(); got != "\x20\x00\x95\x00" {
		t.Errorf("a client of 10 bytes is answered %q", got)
	}
	small(3, "secret ann").expectClosed()

	p := small(25, "secret ann")
	p.expect(packets.Connack)
	p.write([]byte(wire(0x82, "\x00\x07", props(5), text("a"), "\x01", text("b"), "\x02")))
	if got := p.rawNext(); got != "\x90\x00\x07\x00\x01\x02" {
		t.Errorf("SUBACK %q", got)
	}
	shows5(t, "3.9.2-1", "3.9.2-2", "2.2.2-1")
	p.write([]byte(wire(0xa2, "\x00\x08", props(5), text("a"), text("c"))))
	if got := p.rawNext(); got != "\xb0\x00\x08\x00\x00\x11" {
		t.Errorf("UNSUBACK %q", got)
	}
	shows5(t, "3.11.2-1", "3.11.2-2")
	p.publish("denied", "x", 1, 1)
	if got := p.rawNext(); got != "\x40\x00\x01\x87" {
		t.Errorf("PUBACK %q", got)
	}
	shows5(t, "3.4.2-1", "3.4.2-2", "3.4.2-3")
	p.publish("denied", "x", 2, 2)
	if got := p.rawNext(); got != "\x50\x00\x02\x87" {
		t.Errorf("PUBREC %q", got)
	}
	shows5(t, "3.5.2-1", "3.5.2-2", "3.5.2-3")
	p.ack(packets.Pubrec, 77)
	if got := p.rawNext(); got != "\x62\x00\x4d\x92" {
		t.Errorf("PUBREL %q", got)
	}
	shows5(t, "3.6.2-1", "3.6.2-2", "3.6.2-3")
	p.ack(packets.Pubrel, 78)
	if got := p.rawNext(); got != "\x70\x00\x4e\x92" {
		t.Errorf("PUBCOMP %q", got)
	}
	shows5(t, "3.7.2-1", "3.7.2-2", "3.7.2-3", "3.1.2-29")
	// An answer that cannot be made smaller ends the connection, within the size.
	var many []string
	for range 30 {
		many = append(many, text("x"), "\x00")
	}
	p.write([]byte(wire(0x82, "\x00\x09", props(5), strings.Join(many, ""))))
	if got := p.rawNext(); len(got)+1 > 25 || got[:2] != "\xe0\x95" {
		t.Errorf("DISCONNECT %q", got)
	}
	p.expectClosed()
	shows5(t, "3.14.2-1", "3.14.2-2", "3.14.2-3", "3.14.2-4", "3.1.2-24")
}

// TestConformReasonStrings: at every maximum packet size a reason string is
// there if it fits, and left out if not.
func TestConformReasonStrings(t *testing.T) {
	_, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": {Subscribe: []string{"a"}}}})
	fits := func(what string, limit int, p *peer) (with bool) {
		t.Helper()
		head, body, err := p.in.packet()
		if err != nil {
			t.Fatal(err)
		}
		if size := len(body) + 1 + varintLen(len(body)); size > limit {
			t.Errorf("%s of %d bytes for a client of %d", what, size, limit)
		}
		if head != 0x20 && head != 0x90 && head != 0xe0 {
			t.Errorf("%s: packet %#x", what, head)
		}
		return strings.Contains(string(body), "\x1f\x00")
	}
	some := map[string][2]int{}
	note := func(what string, with bool) {
		n := some[what]
		if with {
			n[0]++
		} else {
			n[1]++
		}
		some[what] = n
	}
	topic := strings.Repeat("x", 90)
	for limit := 25; limit < 180; limit++ {
		small := func(password string) *peer {
			p := dial(t, addr, 5)
			p.send(connectPacket(5, "c", func(pk *packets.Packet) {
				login("ann", password)(pk)
				pk.Properties.MaximumPacketSize = uint32(limit)
			}))
			return p
		}
		note("CONNACK", fits("CONNACK", limit, small("wrong")))
		p := small("secret ann")
		p.expect(packets.Connack)
		p.write([]byte(wire(0x82, "\x00\x01", props(5), text(topic), "\x00")))
		note("SUBACK", fits("SUBACK", limit, p))
		p.write([]byte(wire(0x82, "\x00\x01", props(5))))
		note("DISCONNECT", fits("DISCONNECT", limit, p))
		p.expectClosed()
	}
	for what, n := range some {
		if n[0] == 0 || what == "SUBACK" && n[1] == 0 {
			t.Errorf("%s with and without a reason string: %v", what, n)
		}
	}
	shows5(t, "3.2.2-19", "3.9.2-1", "3.14.2-3")
}
