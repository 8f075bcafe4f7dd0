package uplink_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/wire"
)

// board is what an uplink asks and tells of a gateway.
type board struct {
	mu       sync.Mutex
	desired  *wire.Desired
	reported wire.Reported
	asked    chan *wire.Ask
	answers  chan *wire.Answer
	values   []wire.Value
	taken    uint64
	facts    map[string][]byte
}

func newBoard() *board {
	return &board{asked: make(chan *wire.Ask, 100), answers: make(chan *wire.Answer, 100), facts: map[string][]byte{}}
}

func (b *board) configure(c *uplink.Config) {
	c.Start, c.Memory, c.Telemetry = 7, b, b
	c.Revision = func() uint64 { return b.of(func() uint64 { return b.reported.Revision }) }
	c.Desired = func(d *wire.Desired) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.desired, b.reported.Revision = d, d.Revision
	}
	c.Reported = func() *wire.Reported { b.mu.Lock(); defer b.mu.Unlock(); r := b.reported; return &r }
	c.Answer = func(ctx context.Context, ask *wire.Ask) *wire.Answer {
		b.asked <- ask
		select {
		case a := <-b.answers:
			return a
		case <-ctx.Done():
			return nil
		}
	}
}

func (b *board) of(get func() uint64) uint64 { b.mu.Lock(); defer b.mu.Unlock(); return get() }

func (b *board) Next() *wire.Telemetry {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.values) == 0 {
		return nil
	}
	return &wire.Telemetry{Start: 7, Seq: b.taken + 1, Values: b.values}
}

func (b *board) Taken(_, seq uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken, b.values = seq, nil
}

func (b *board) Meta(_ context.Context, key string) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if v, ok := b.facts[key]; ok {
		return v, nil
	}
	return nil, errors.New("not there")
}

func (b *board) SetMeta(_ context.Context, key string, v []byte) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.facts[key] = v
	return nil
}

// What the controller wants is handed over, and how things are is told: after a
// welcome, and when something happened.
func TestDesiredAndReported(t *testing.T) {
	b := newBoard()
	b.reported.Revision = 4
	r := newRig(t, newOutbox(0), b.configure)
	h := next[*wire.Hello](r)
	if h.Revision != 4 {
		t.Errorf("hello with revision %d", h.Revision)
	}
	r.welcome(h, 0)
	if m := next[*wire.Reported](r); m.Revision != 4 || m.Start != 7 || m.Seq != 1 {
		t.Errorf("reported %+v", m)
	}
	r.answer(&wire.Desired{Revision: 5, Functions: []wire.DesiredFunction{{Name: "f"}}})
	r.until("the desired state", func() bool { return b.of(func() uint64 { return b.reported.Revision }) == 5 })
	for range 20 { // within a second, so that it is one message
		r.uplink.Report()
	}
	if m := next[*wire.Reported](r); m.Revision != 5 || m.Seq != 2 {
		t.Errorf("reported %+v", m)
	}
	if s := r.uplink.Stats(); s.Desired != 1 || s.Reports > 2 {
		t.Errorf("stats %+v", s)
	}
}

// On a metered link a report that says nothing new is left out, though functions
// go on counting.
func TestReportsAreSpared(t *testing.T) {
	b := newBoard()
	f := wire.ReportedFunction{Name: "f", New: wire.Counts{Invocations: 1}}
	b.reported.Functions = []wire.ReportedFunction{f}
	r := newRig(t, newOutbox(0), func(c *uplink.Config) { b.configure(c); c.Metered = true })
	r.welcome(next[*wire.Hello](r), 0)
	next[*wire.Reported](r)
	r.until("the first report to be noted", func() bool { return r.uplink.Stats().Reports == 1 })
	for n := range uint64(3) {
		b.mu.Lock()
		f.New.Invocations += n
		b.reported.Functions = []wire.ReportedFunction{f}
		b.mu.Unlock()
		r.uplink.Send()
		r.wants(n + 1)
	}
	b.mu.Lock()
	f.Stage = "live"
	b.reported.Functions = []wire.ReportedFunction{f}
	b.mu.Unlock()
	r.uplink.Send()
	r.until("the change to be reported", func() bool {
		m, ok := (<-r.up).(*wire.Reported)
		if ok && (m.Functions[0].Stage != "live" || m.Seq != 2) {
			t.Errorf("reported %+v", m)
		}
		return ok
	})
}

// While the gateway works on an answer usage goes on; questions that are too old
// or too many are dropped.
func TestAsks(t *testing.T) {
	b := newBoard()
	r := newRig(t, newOutbox(0), func(c *uplink.Config) { b.configure(c); c.Reported = nil })
	h := next[*wire.Hello](r)
	ahead := 1000 * time.Hour // the gateway's clock is far behind
	r.answer(&wire.Welcome{Session: h.Session, Time: time.Now().Add(ahead).UnixMicro()})
	ask := func(id string, in time.Duration) {
		r.answer(&wire.Ask{ID: id, What: wire.AskDoctor, Expires: time.Now().Add(ahead + in).UnixMicro()})
	}
	ask("old", -time.Second)
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		ask(id, time.Minute)
		if id == "a" {
			<-b.asked
		}
	}
	ask("too many", time.Minute)
	r.until("two to be dropped", func() bool { return r.uplink.Stats().AsksDropped == 2 })
	r.uplink.Send()
	r.wants(1) // nobody has answered yet
	b.answers <- &wire.Answer{Body: []byte("x")}
	if a := next[*wire.Answer](r); a.ID != "a" || string(a.Body) != "x" {
		t.Errorf("answer %+v", a)
	}
	b.answers <- &wire.Answer{Body: make([]byte, wire.MaxAnswerBytes+1)}
	if a := next[*wire.Answer](r); a.ID != "b" || !strings.Contains(a.Error, "longer") {
		t.Errorf("answer %s: %s", a.ID, a.Error)
	}
}

// Telemetry goes until the controller says that it has it.
func TestTelemetry(t *testing.T) {
	b := newBoard()
	b.values = []wire.Value{{Topic: "soil/1", Payload: []byte("27")}}
	r := newRig(t, newOutbox(0), func(c *uplink.Config) { b.configure(c); c.Reported = nil; c.TelemetryInterval = 50 * time.Millisecond })
	r.welcome(next[*wire.Hello](r), 0)
	for range 3 {
		if m := next[*wire.Telemetry](r); m.Seq != 1 || m.Values[0].Topic != "soil/1" {
			t.Errorf("telemetry %+v", m)
		}
	}
	r.answer(&wire.Taken{Start: 7, Seq: 1})
	r.until("it to be taken", func() bool { return b.of(func() uint64 { return b.taken }) == 1 })
	if s := r.uplink.Stats(); s.TelemetryTaken != 1 || s.TelemetrySent < 3 {
		t.Errorf("stats %+v", s)
	}
}

// The day's bytes are counted over restarts, and usage has the last of them.
func TestBudgetPersists(t *testing.T) {
	b := newBoard()
	b.values = []wire.Value{{Topic: "t", Payload: make([]byte, 4<<10)}}
	now := time.Now()
	change := func(c *uplink.Config) {
		b.configure(c)
		c.BytesPerDay, c.Now, c.TelemetryInterval, c.AnswerWithin = 64<<10, func() time.Time { return now }, 10*time.Millisecond, 2*time.Second
	}
	b.facts["uplink/bytes"] = fmt.Appendf(nil, `{"day":%d,"bytes":%d}`, now.Unix()/(24*3600), 45<<10)
	r := newRig(t, newOutbox(1), change)
	r.welcome(next[*wire.Hello](r), 0)
	r.wants(1)
	next[*wire.Reported](r)
	r.until("telemetry to be left out", func() bool { return r.uplink.Stats().OverBudget > 0 })
	if s := r.uplink.Stats(); s.TelemetrySent != 0 || r.uplink.Status().BytesToday < 45<<10 {
		t.Errorf("stats %+v, %d bytes today", s, r.uplink.Status().BytesToday)
	}
	r.until("the count to be kept", func() bool {
		return strings.Contains(string(b.fact("uplink/bytes")), `"bytes":5`)
	})
}

// A clock that goes back, over a restart too, makes no connection an old one.
func TestConnectionsAreNumberedUpwards(t *testing.T) {
	b := newBoard()
	b.facts["uplink/connection"] = []byte("4102444800000000000") // when the clock was in 2100
	r := newRig(t, newOutbox(0), b.configure)
	hello := next[*wire.Hello](r)
	if hello.Session != 4102444800000000001 {
		t.Errorf("session %d", hello.Session)
	}
	if kept := string(b.fact("uplink/connection")); kept != "4102444800000000001" {
		t.Errorf("kept %s", kept)
	}
}

func (b *board) fact(key string) []byte { v, _ := b.Meta(context.Background(), key); return v }
