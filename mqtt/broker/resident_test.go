package broker

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"
)

// withResident is a broker without a store that has one resident.
func withResident(t *testing.T, change ...func(*ResidentConfig)) (*Server, *Resident) {
	t.Helper()
	rc := ResidentConfig{
		Client: "bridge:x", User: "bridge:x", Subscriptions: []ResidentSubscription{{"out/#", 1}},
		MaxQueuedMessages: 10, MaxQueuedBytes: 1 << 20, MaxInflight: 3,
	}
	for _, c := range change {
		c(&rc)
	}
	cfg := DefaultConfig()
	cfg.SysInterval = 0
	s, err := New(cfg, Deps{Authenticator: AllowAll{}, Logger: slog.New(slog.DiscardHandler), Residents: []ResidentConfig{rc}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return s, s.Resident(rc.Client)
}

func say(s *Server, topic string, qos byte, from, to int) {
	for i := from; i < to; i++ {
		s.Publish(&Message{Topic: topic, Payload: fmt.Append(nil, i), QoS: qos})
	}
}

// taken are the payloads of what may be taken now, and their places.
func taken(r *Resident) (payloads []string, seqs []uint64) {
	for d, ok := r.Take(); ok; d, ok = r.Take() {
		payloads, seqs = append(payloads, string(d.Message.Payload)), append(seqs, d.Seq)
	}
	return payloads, seqs
}

func expectTaken(t *testing.T, r *Resident, want string) []uint64 {
	t.Helper()
	payloads, seqs := taken(r)
	if got := fmt.Sprint(payloads); got != want {
		t.Fatalf("took %s, want %s", got, want)
	}
	return seqs
}

// What a resident gets is taken in order, as much of it as may be in flight,
// and again after a new beginning, until it is done.
func TestResidentTakes(t *testing.T) {
	s, r := withResident(t)
	say(s, "out/a", 1, 0, 6)
	say(s, "else", 1, 0, 3)
	r.Begin()
	seqs := expectTaken(t, r, "[0 1 2]")
	r.Done(seqs[1])
	expectTaken(t, r, "[3]")
	r.End()
	r.Begin()
	seqs = expectTaken(t, r, "[0 2 3]")
	for _, seq := range seqs {
		r.Done(seq)
		r.Done(seq) // once is enough
	}
	seqs = expectTaken(t, r, "[4 5]")
	if st := r.State(); st.InFlight != 2 || st.Queued != 0 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	for _, seq := range seqs {
		r.Done(seq)
	}
	if st := r.State(); st != (ResidentState{}) {
		t.Errorf("%+v", st)
	}
	if q := s.Stats(); q.QueuedMessages != 0 || q.QueuedBytes != 0 {
		t.Errorf("%d messages of %d bytes are counted as queued", q.QueuedMessages, q.QueuedBytes)
	}
}

// Whoever waits is woken by a message, and by room.
func TestResidentWakes(t *testing.T) {
	s, r := withResident(t)
	r.Begin()
	<-r.Wake()
	woken := func() {
		t.Helper()
		select {
		case <-r.Wake():
		case <-time.After(30 * time.Second):
			t.Fatal("nobody is woken")
		}
	}
	say(s, "out/a", 1, 0, 4)
	woken()
	seqs := expectTaken(t, r, "[0 1 2]")
	r.Done(seqs[0])
	woken()
	expectTaken(t, r, "[3]")
	say(s, "out/a", 0, 9, 10)
	woken()
	expectTaken(t, r, "[9]")
}

// The queue is bounded by the resident's own bounds, the oldest go; QoS 0 is
// kept only while it is taken.
func TestResidentIsBounded(t *testing.T) {
	s, r := withResident(t)
	say(s, "out/a", 0, 0, 5) // nobody takes
	say(s, "out/a", 1, 0, 25)
	if st := r.State(); st.Queued != 10 || st.Dropped != 15 {
		t.Errorf("%+v", st)
	}
	r.Begin()
	expectTaken(t, r, "[15 16 17]")
	say(s, "out/a", 0, 100, 150)
	if st := r.State(); st.Queued != 10 || st.Dropped != 15+47 {
		t.Errorf("%+v", st)
	}
	r.End()
	if st := r.State(); st.Queued != 7 {
		t.Errorf("QoS 0 waits for nobody: %+v", st)
	}
}

// It does not get what it publishes itself, nor what came over another bridge
// but with transit.
func TestResidentDoesNotEcho(t *testing.T) {
	for _, transit := range []bool{false, true} {
		s, r := withResident(t, func(c *ResidentConfig) { c.Transit = transit })
		r.Begin()
		released := make(chan ReasonCode, 1)
		r.Publish(&Message{Topic: "out/own", QoS: 1}, false, func(c ReasonCode) { released <- c })
		if c := <-released; c != Success {
			t.Errorf("released with %v", c)
		}
		s.Publish(&Message{Topic: "out/other", Payload: []byte("x"), QoS: 1, bridged: true})
		want := "[]"
		if transit {
			want = "[x]"
		}
		expectTaken(t, r, want)
	}
}

// What is retained of QoS 0 may have changed while nobody took: it is taken at
// each beginning, after what has waited.
func TestResidentBeginsWithRetained(t *testing.T) {
	s, r := withResident(t, func(c *ResidentConfig) { c.Retained = true })
	retain := func(topic, payload string, qos byte) {
		s.Publish(&Message{Topic: topic, Payload: []byte(payload), QoS: qos, Retain: true})
	}
	retain("out/state", "old", 0)
	retain("out/state", "new", 0)
	retain("else", "x", 0)
	retain("out/config", "kept", 1)
	r.Begin()
	d, _ := r.Take()
	if string(d.Message.Payload) != "kept" || !d.Retain {
		t.Fatalf("%+v", d)
	}
	r.Done(d.Seq)
	for range 2 {
		if d, ok := r.Take(); !ok || string(d.Message.Payload) != "new" || !d.Retain || d.QoS != 0 {
			t.Fatalf("%+v", d)
		}
		expectTaken(t, r, "[]")
		r.End()
		r.Begin()
	}
}

// Nobody takes a resident's session over, and it gives way to nobody.
func TestResidentIsNobodysClient(t *testing.T) {
	s, _ := withResident(t)
	c := &conn{srv: s}
	if _, _, err := s.claim(t.Context(), c, &hello{client: "bridge:x", user: "bridge:x"}); err == nil {
		t.Error("a client has it")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.expendableLocked() != nil {
		t.Error("it would be displaced")
	}
}

// What cannot be is refused.
func TestResidentConfigFaults(t *testing.T) {
	for _, c := range []ResidentConfig{
		{User: "x", MaxQueuedMessages: 1, MaxQueuedBytes: 1, MaxInflight: 1},
		{Client: "x", User: "x", MaxQueuedMessages: 1, MaxQueuedBytes: 1},
		{Client: "x", User: "x", MaxQueuedMessages: 1, MaxQueuedBytes: 1, MaxInflight: 1, Subscriptions: []ResidentSubscription{{"a/#/b", 0}}},
		{Client: "x", User: "x", MaxQueuedMessages: 1, MaxQueuedBytes: 1, MaxInflight: 1, Subscriptions: []ResidentSubscription{{"$share/g/a", 0}}},
		{Client: "x", User: "x", MaxQueuedMessages: 1, MaxQueuedBytes: 1, MaxInflight: 1, Subscriptions: []ResidentSubscription{{"a", 2}}},
	} {
		if _, err := New(DefaultConfig(), Deps{Authenticator: AllowAll{}, Logger: slog.New(slog.DiscardHandler), Residents: []ResidentConfig{c}}); err == nil {
			t.Errorf("%+v is accepted", c)
		}
	}
}
