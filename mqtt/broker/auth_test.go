package broker

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

// passwords knows users; the password of ann is "secret ann".
type passwords map[string]Identity

func (p passwords) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	if c.Username == "broken" {
		return Identity{}, errors.New("database is away")
	}
	id, ok := p[c.Username]
	if !ok || string(c.Password) != "secret "+c.Username {
		return Identity{}, fmt.Errorf("user %q: %w", c.Username, ErrBadCredentials)
	}
	id.User = c.Username
	return id, nil
}

func login(user, password string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		pk.Connect.UsernameFlag, pk.Connect.Username = true, []byte(user)
		pk.Connect.PasswordFlag, pk.Connect.Password = true, []byte(password)
	}
}

func TestCredentials(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": {}}})
	for _, tc := range []struct {
		user, password string
		v4, v5         byte
	}{
		{"ann", "secret ann", 0, 0},
		{"ann", "wrong", 4, byte(BadUserNameOrPassword)},
		{"bob", "", 4, byte(BadUserNameOrPassword)},
		{"broken", "x", 3, byte(ServerUnavailable)},
	} {
		for version, want := range map[byte]byte{4: tc.v4, 5: tc.v5} {
			p := dial(t, addr, version)
			if got := p.connect("c", login(tc.user, tc.password)).ReasonCode; got != want {
				t.Errorf("%s v%d: CONNACK %#x, want %#x", tc.user, version, got, want)
			}
			if want != 0 {
				p.expectClosed()
			} else {
				p.disconnect()
			}
		}
	}
	if n := srv.Stats().BadCredentials; n != 4 {
		t.Errorf("%d counted", n)
	}
}

func TestACL(t *testing.T) {
	acl := Identity{Publish: []string{"dev/{client}/#", "{user}/out"}, Subscribe: []string{"dev/{client}/+", "pub/#"}}
	versions(t, func(t *testing.T, version byte) {
		srv, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": acl}})
		all, _ := connected(t, addr, version, "soil-3", login("ann", "secret ann"))
		codes := all.subscribe(1, "dev/soil-3/+", "dev/soil-3/#", "dev/+/x", "#", "$SYS/#", "pub/#", "$share/g/pub/1", "$share/g/x")
		denied := byte(NotAuthorized)
		if version == 4 {
			denied = 0x80
		}
		want := []byte{1, denied, denied, denied, denied, 1, 1, denied}
		if string(codes) != string(want) {
			t.Errorf("SUBACK %v, want %v", codes, want)
		}
		all.publish("dev/soil-3/x", "ok", 0, 0)
		all.expectMessage("ok")
		all.publish("dev/soil-4/x", "no", 0, 0)
		all.publish("ann/out", "ok", 0, 0)
		all.quiet() // QoS 0 is dropped
		all.publish("dev/soil-4/x", "no", 1, 1)
		if version == 5 {
			all.expectAck(packets.Puback, 1, NotAuthorized)
			all.publish("dev/soil-4/x", "no", 2, 2)
			all.expectAck(packets.Pubrec, 2, NotAuthorized)
			all.quiet()
		} else {
			all.expectClosed() // it could only lie [MQTT-3.3.5-2]
			shows3(t, "3.3.5-2")
		}
		if st, want := srv.Stats(), map[byte]uint64{4: 2, 5: 3}[version]; st.DeniedPublishes != want {
			t.Errorf("%d denied publishes, want %d", st.DeniedPublishes, want)
		}

		// A client id with wildcards or levels must not widen its ACL.
		for _, id := range []string{"+", "#", "soil-3/x", "{user}"} {
			p, _ := connected(t, addr, version, id, login("ann", "secret ann"))
			if codes := p.subscribe(0, "dev/+/x", "dev/soil-3/x", "dev/"+id+"/x"); codes[0] < 0x80 || codes[1] < 0x80 || codes[2] < 0x80 {
				t.Errorf("client id %q: SUBACK %v", id, codes)
			}
		}
	})
}

func TestWillAndAliasObeyTheACL(t *testing.T) {
	acl := Identity{Publish: []string{"mine"}, Subscribe: []string{"#"}}
	_, addr := startServer(t, quietConfig(), Deps{Authenticator: passwords{"ann": acl}})
	p := dial(t, addr, 5)
	ack := p.connect("c", func(pk *packets.Packet) {
		login("ann", "secret ann")(pk)
		pk.Connect.WillFlag, pk.Connect.WillTopic, pk.Connect.WillPayload = true, "theirs", []byte("x")
	})
	if ack.ReasonCode != byte(NotAuthorized) {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
	p, _ = connected(t, addr, 5, "c", login("ann", "secret ann"))
	for i, topic := range []string{"theirs", ""} {
		pk := publishPacket(topic, "x", 1, uint16(i+1))
		pk.Properties.TopicAlias, pk.Properties.TopicAliasFlag = 1, true
		p.send(pk)
		p.expectAck(packets.Puback, uint16(i+1), NotAuthorized)
	}
}
