package broker

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// gatedUsers knows users until they are removed. It waits, after it has decided,
// for whoever holds the gate.
type gatedUsers struct {
	mu      sync.Mutex
	removed map[string]bool
	decided chan string
	gate    chan struct{}
}

func (g *gatedUsers) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	g.mu.Lock()
	gone := g.removed[c.Username]
	g.mu.Unlock()
	g.decided <- c.Username
	<-g.gate
	if gone {
		return Identity{}, ErrBadCredentials
	}
	return Identity{User: c.Username, Publish: []string{"#"}, Subscribe: []string{"#"}}, nil
}

// TestRevocationDuringAuthentication takes a user away after the authenticator
// has said yes and before the session is there.
func TestRevocationDuringAuthentication(t *testing.T) {
	for name, revoke := range map[string]func(*Server){
		"Forget":     func(s *Server) { s.Forget("ann", NotAuthorized) },
		"Disconnect": func(s *Server) { s.Disconnect("ann", NotAuthorized) },
	} {
		t.Run(name, func(t *testing.T) {
			users := &gatedUsers{removed: map[string]bool{}, decided: make(chan string, 8), gate: make(chan struct{})}
			srv, addr := startServer(t, quietConfig(), Deps{Authenticator: users})
			ann, bob := dial(t, addr, 5), dial(t, addr, 5)
			ann.send(connectPacket(5, "c", func(pk *packets.Packet) { login("ann", "x")(pk); durable(pk) }))
			<-users.decided
			users.mu.Lock()
			users.removed["ann"] = true
			users.mu.Unlock()
			revoke(srv)
			bob.send(connectPacket(5, "d", login("bob", "x")))
			close(users.gate)
			if code := ann.expect(packets.Connack).ReasonCode; code != byte(BadUserNameOrPassword) {
				t.Errorf("the revoked user: CONNACK %#x", code)
			}
			ann.expectClosed()
			if code := bob.expect(packets.Connack).ReasonCode; code != 0 {
				t.Errorf("another user: CONNACK %#x", code)
			}
			for _, c := range srv.Clients() {
				if c.User == "ann" {
					t.Errorf("a session is left: %+v", c)
				}
			}
		})
	}
}

// scoped gives each user client ids of its own.
type scoped struct{}

func (scoped) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	return Identity{User: c.Username, Client: c.Username + "/" + c.Client, Publish: []string{"#"}, Subscribe: []string{"#"}}, nil
}

// TestUsersMayHaveTheSameClientID shows that neither displaces the other, that
// a client still displaces itself, and that an assigned id can be used again.
func TestUsersMayHaveTheSameClientID(t *testing.T) {
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: scoped{}})
	ann, _ := connected(t, addr, 5, "c", login("ann", "x"))
	bob, ack := connected(t, addr, 5, "c", login("bob", "x"))
	if ack.ReasonCode != 0 {
		t.Errorf("CONNACK %#x", ack.ReasonCode)
	}
	ann.quiet()
	connected(t, addr, 5, "c", login("ann", "x"))
	if code := ann.expectClosed(); code != SessionTakenOver {
		t.Errorf("closed with %v", code)
	}
	bob.quiet()

	first, ack := connected(t, addr, 5, "", func(pk *packets.Packet) { login("cid", "x")(pk); durable(pk) })
	id := ack.Properties.AssignedClientID
	if !strings.HasPrefix(id, "auto-") {
		t.Fatalf("assigned %q", id)
	}
	first.subscribe(1, "t")
	first.disconnect()
	if _, ack = connected(t, addr, 5, id, func(pk *packets.Packet) { login("cid", "x")(pk); durable(pk) }); !ack.SessionPresent {
		t.Error("the assigned client id finds no session")
	}
	var names []string
	for _, c := range srv.Clients() {
		names = append(names, c.ID)
	}
	if want := fmt.Sprint([]string{"ann/c", "bob/c", "cid/" + id}); fmt.Sprint(names) != want {
		t.Errorf("sessions %v, want %v", names, want)
	}
}

// slowly takes as long as the password says, and is never pleased.
type slowly struct{}

func (slowly) Authenticate(_ context.Context, c Credentials) (Identity, error) {
	d, err := time.ParseDuration(string(c.Password))
	if err != nil {
		return Identity{}, err
	}
	time.Sleep(d)
	if c.Username == "held" {
		return Identity{}, ErrTooManyFailures
	}
	return Identity{}, ErrBadCredentials
}

// TestRefusalsTakeTheSameTime has an authenticator that needs no time for a
// name that does not exist and a quarter of a second for one that does. The
// answers come at the same instant.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := quietConfig()
		cfg.RefusalDelay = time.Second
		srv, err := New(cfg, Deps{Authenticator: slowly{}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range []struct {
			user, password string
			code           ReasonCode
		}{{"nobody", "0s", BadUserNameOrPassword}, {"soil-3", "250ms", BadUserNameOrPassword}, {"held", "0s", ConnectionRateExceeded}} {
			near, far := net.Pipe()
			srv.start(far, "test", func() {})
			p := newPeer(t, near, 5)
			began := time.Now()
			if code := p.connect("c", login(c.user, c.password)).ReasonCode; code != byte(c.code) {
				t.Errorf("%s: CONNACK %#x", c.user, code)
			}
			if took := time.Since(began); took != time.Second {
				t.Errorf("%s: answered after %v", c.user, took)
			}
			_ = near.Close()
		}
		if st := srv.Stats(); st.BadCredentials != 2 || st.ThrottledConnects != 1 {
			t.Errorf("stats %+v", st)
		}
		if err := srv.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// lockedBuffer is a log that several goroutines write.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await waits until the log has a text.
func (l *lockedBuffer) await(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(l.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in\n%s", text, l.String())
		}
	}
}

// TestHandshakeFailuresAreReported speaks plain MQTT to TLS listeners.
func TestHandshakeFailuresAreReported(t *testing.T) {
	ca := newAuthority(t)
	log := &lockedBuffer{}
	srv, _ := startServer(t, quietConfig(), Deps{Logger: slog.New(slog.NewTextHandler(log, nil))})
	for i, network := range []string{"tls", "wss"} {
		addr, err := srv.Listen(t.Context(), ListenerConfig{
			Name: "field-" + network, Network: network, Address: "127.0.0.1:0",
			TLS: &tls.Config{Certificates: []tls.Certificate{ca.issue("server", false)}},
		})
		if err != nil {
			t.Fatal(err)
		}
		p := dial(t, addr.String(), 5)
		p.send(connectPacket(5, "c", nil))
		log.await(t, `level=WARN msg="TLS handshake failed" listener=field-`+network)
		if n := srv.Stats().TLSFailures; n != uint64(i+1) {
			t.Errorf("%d counted after %s", n, network)
		}
	}
}

// TestDeniedPublishIsNoBrokenProtocol: a 3.1.1 client that publishes what it may
// not is closed, and the log says why.
func TestDeniedPublishIsNoBrokenProtocol(t *testing.T) {
	log := &lockedBuffer{}
	srv, addr := startServer(t, quietConfig(), Deps{
		Authenticator: passwords{"ann": {Publish: []string{"mine"}}}, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	p, _ := connected(t, addr, 4, "c", login("ann", "secret ann"))
	p.publish("theirs", "x", 1, 1)
	p.expectClosed()
	log.await(t, "its ACL does not allow")
	if st := srv.Stats(); st.DeniedPublishes != 1 || st.ProtocolErrors != 0 || strings.Contains(log.String(), "broke the protocol") {
		t.Errorf("%d denied, %d protocol errors\n%s", st.DeniedPublishes, st.ProtocolErrors, log)
	}
}
