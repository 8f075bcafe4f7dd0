package broker

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
)

func durableLogin(user string) func(*packets.Packet) {
	return func(pk *packets.Packet) {
		durable(pk)
		login(user, "secret "+user)(pk)
	}
}

// TestResumedSessionKeepsToACL narrows a user's permissions while its session
// waits: it gets neither what comes later through an old subscription nor what
// was queued.
func TestResumedSessionKeepsToACL(t *testing.T) {
	users := passwords{"ann": {Subscribe: []string{"#"}}}
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: users, Sessions: newMemStore()})
	p, _ := connected(t, addr, 5, "p", durableLogin("ann"))
	p.subscribe(1, "secret", "own")
	p.disconnect()
	eventually(t, "offline", func() bool { return !clientOf(srv, "p").Connected })
	users["ann"] = Identity{Subscribe: []string{"own"}}
	srv.Publish(&Message{Topic: "secret", Payload: []byte("queued"), QoS: 1})
	p, ack := connected(t, addr, 5, "p", durableLogin("ann"))
	if !ack.SessionPresent {
		t.Error("no session present")
	}
	srv.Publish(&Message{Topic: "secret", Payload: []byte("later"), QoS: 1})
	srv.Publish(&Message{Topic: "own", Payload: []byte("mine"), QoS: 1})
	p.expectMessage("mine")
	if n := clientOf(srv, "p").Subscriptions; n != 1 {
		t.Errorf("%d subscriptions are left", n)
	}
}

// TestForget ends the sessions of a user, connected or not, in memory and in
// the store.
func TestForget(t *testing.T) {
	users := passwords{"ann": {Subscribe: []string{"#"}}, "bob": {Subscribe: []string{"#"}}}
	store := newMemStore()
	srv, addr := startServer(t, quietConfig(), Deps{Authenticator: users, Sessions: store})
	online, _ := connected(t, addr, 5, "online", durableLogin("ann"))
	online.subscribe(1, "a")
	away, _ := connected(t, addr, 5, "away", durableLogin("ann"))
	away.subscribe(1, "a")
	away.disconnect()
	other, _ := connected(t, addr, 5, "other", durableLogin("bob"))
	other.subscribe(1, "a")
	eventually(t, "offline", func() bool { return !clientOf(srv, "away").Connected })
	srv.Forget("ann", NotAuthorized)
	if code := online.expectClosed(); code != NotAuthorized {
		t.Errorf("closed with %v", code)
	}
	eventually(t, "one session is left", func() bool { return srv.Stats().Sessions == 1 && srv.Stats().Subscriptions == 1 })
	srv.Publish(&Message{Topic: "a", Payload: []byte("x"), QoS: 1})
	other.expectMessage("x")
	if _, ack := connected(t, addr, 5, "away", durableLogin("ann")); ack.SessionPresent {
		t.Error("the session was still there")
	}
}

// TestSessionFlood makes more durable sessions than there is room for: they
// displace each other and not another user's, however long that one is away.
func TestSessionFlood(t *testing.T) {
	cfg := quietConfig()
	cfg.MaxSessions = 10
	srv, addr := startServer(t, cfg, Deps{Authenticator: passwords{"ann": {Subscribe: []string{"#"}}, "bob": {Subscribe: []string{"#"}}}})
	p, _ := connected(t, addr, 5, "patient", durableLogin("bob"))
	p.subscribe(1, "a")
	p.disconnect()
	eventually(t, "offline", func() bool { return !clientOf(srv, "patient").Connected })
	for i := range 30 {
		id := fmt.Sprint("flood", i)
		p, _ := connected(t, addr, 5, id, durableLogin("ann"))
		p.disconnect()
		eventually(t, "offline", func() bool { return !clientOf(srv, id).Connected })
	}
	if _, ack := connected(t, addr, 5, "patient", durableLogin("bob")); !ack.SessionPresent {
		t.Error("the session of another user was displaced")
	}
	if st := srv.Stats(); st.Sessions != 10 || st.SessionsDisplaced != 21 {
		t.Errorf("%d sessions, %d displaced", st.Sessions, st.SessionsDisplaced)
	}
}
