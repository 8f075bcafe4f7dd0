package telemetry_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/telemetry"
	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/wire"
)

var _ uplink.Telemetry = (*telemetry.Collector)(nil)

// TestNewestUntilTaken keeps the newest message of each topic until the
// controller has it, and counts what came in between.
func TestNewestUntilTaken(t *testing.T) {
	c := telemetry.New([]string{"soil/+", "#"}, 9, time.Now)
	if c.Next() != nil {
		t.Error("something of nothing")
	}
	c.Seen(0, "soil/1", []byte("27"))
	c.Seen(1, "soil/1", []byte("27")) // the same, by the other filter
	c.Seen(1, "air", []byte("15"))
	c.Seen(0, "soil/1", []byte("28"))
	m := c.Next()
	if m.Start != 9 || m.Seq != 1 || len(m.Values) != 2 || m.Values[0].Topic != "air" || string(m.Values[1].Payload) != "28" || m.Values[1].Count != 2 {
		t.Fatalf("%+v", m)
	}
	c.Seen(0, "soil/1", []byte("29"))
	if m = c.Next(); m.Seq != 2 || len(m.Values) != 2 || m.Values[1].Count != 3 {
		t.Fatalf("again: %+v", m)
	}
	c.Taken(9, 1) // late
	c.Taken(8, 2) // another run's
	c.Seen(1, "air", []byte("16"))
	c.Taken(9, 2)
	if m = c.Next(); len(m.Values) != 1 || m.Values[0].Topic != "air" || m.Values[0].Count != 1 {
		t.Fatalf("after it was taken: %+v", m)
	}
	c.Taken(9, 3)
	if s := c.Stats(); c.Next() != nil || s.New != 0 || s.Topics != 2 || s.Messages != 5 {
		t.Errorf("stats %+v", s)
	}
}

// TestBounds leaves out what is too much, and says so.
func TestBounds(t *testing.T) {
	c := telemetry.New([]string{"#"}, 1, time.Now)
	for i := range wire.MaxTelemetry + 3 {
		c.Seen(0, fmt.Sprintf("t/%d", i), make([]byte, telemetry.MaxPayload))
	}
	c.Seen(0, "t/0", make([]byte, telemetry.MaxPayload+1))
	if s := c.Stats(); s.LeftOut != 3 || s.Large != 1 || s.Topics != wire.MaxTelemetry {
		t.Errorf("stats %+v", s)
	}
	codec, err := wire.NewCodec()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := codec.Encode(c.Next()); err != nil {
		t.Error(err)
	}
}

func BenchmarkSeen(b *testing.B) {
	c := telemetry.New([]string{"soil/+", "air/#"}, 1, time.Now)
	payload := []byte(`{"moisture":27.5}`)
	b.ReportAllocs()
	for b.Loop() {
		c.Seen(0, "soil/1", payload)
	}
}
