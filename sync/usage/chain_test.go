package usage_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/headgate-io/headgate/sync/usage"
)

var anyRollup = rapid.Custom(func(t *rapid.T) usage.Rollup {
	r := usage.Rollup{Key: usage.Key{
		Function: rapid.StringMatching(`[a-z][a-z0-9-]{0,12}`).Draw(t, "function"),
		Version:  rapid.IntRange(1, 1<<31-1).Draw(t, "version"),
		Minute:   rapid.Int64Range(-1<<40, 1<<40).Draw(t, "minute"),
	}}
	for _, f := range r.Fields() {
		if rapid.Bool().Draw(t, "some") {
			*f = rapid.Uint64Range(0, 1<<63-1).Draw(t, "sum")
		}
	}
	return r
})

func drawClosings(t *rapid.T) []usage.Closing {
	closings := make([]usage.Closing, rapid.IntRange(0, 5).Draw(t, "closings"))
	for i := range closings {
		closings[i] = rapid.SliceOfN(anyRollup, 0, 8).Draw(t, "rows")
		closings[i].Sort()
	}
	return closings
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t rapid.TB, key *ecdsa.PrivateKey, seq uint64, prev usage.Link, closings []usage.Closing) *usage.Batch {
	t.Helper()
	b := &usage.Batch{Stream: usage.Stream{Gateway: "g", Hardware: "h", Epoch: 1}, Seq: seq, Prev: prev, Link: prev}
	for _, c := range closings {
		b.Link = b.Link.Next(c)
	}
	var err error
	if b.Data, err = usage.EncodeClosings(closings); err == nil {
		err = b.Sign(key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Any rows survive, and what arrives adds up to what was sent.
func TestBatchesSurvive(t *testing.T) {
	key := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		closings := drawClosings(t)
		b := signed(t, key, 1, usage.Stream{Gateway: "g"}.Genesis(), closings)
		back, err := b.Verify(&key.PublicKey)
		if err != nil {
			t.Fatal(err)
		}
		if len(back) != len(closings) {
			t.Fatalf("%d closings, want %d", len(back), len(closings))
		}
		var sent, arrived usage.Totals
		for i := range closings {
			if len(closings[i])+len(back[i]) > 0 && !reflect.DeepEqual(closings[i], back[i]) {
				t.Fatalf("closing %d is %+v, want %+v", i, back[i], closings[i])
			}
			for j := range closings[i] {
				sent.Merge(&closings[i][j].Totals)
			}
		}
		for i := len(back) - 1; i >= 0; i-- {
			for j := range back[i] {
				arrived.Merge(&back[i][j].Totals)
			}
		}
		if sent != arrived {
			t.Fatalf("arrived %+v, sent %+v", arrived, sent)
		}
	})
}

// However one row is changed between its closing and the batch, it shows.
func TestAnEditedRowShows(t *testing.T) {
	key := newKey(t)
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOfN(anyRollup, 1, 8).Draw(t, "rows")
		closing := usage.Closing(rows)
		closing.Sort()
		b := signed(t, key, 1, usage.Link{}, []usage.Closing{closing})
		i := rapid.IntRange(0, len(rows)-1).Draw(t, "row")
		fields := closing[i].Fields()
		*fields[rapid.IntRange(0, len(fields)-1).Draw(t, "field")] ^= rapid.Uint64Range(1, 1<<62).Draw(t, "change")
		edited, err := usage.EncodeClosings([]usage.Closing{closing})
		if err != nil {
			t.Fatal(err)
		}
		b.Data = edited
		if err := b.Sign(key); err != nil { // by the gateway itself, which does not know
			t.Fatal(err)
		}
		if _, err := b.Verify(&key.PublicKey); !errors.Is(err, usage.ErrTampered) {
			t.Fatalf("an edited row: %v", err)
		}
	})
}

func TestVerifyNamesWhatIsWrong(t *testing.T) {
	key, other := newKey(t), newKey(t)
	closing := usage.Closing{{Key: usage.Key{Function: "f", Version: 1, Minute: 5}, Totals: usage.Totals{Fuel: 10}}}
	good := func() *usage.Batch { return signed(t, key, 2, usage.Link{1}, []usage.Closing{closing}) }
	for _, c := range []struct {
		name   string
		change func(b *usage.Batch)
		want   error
	}{
		{"as it was", func(*usage.Batch) {}, nil},
		{"another gateway", func(b *usage.Batch) { b.Gateway = "x" }, usage.ErrForeignKey},
		{"other hardware", func(b *usage.Batch) { b.Hardware = "x" }, usage.ErrForeignKey},
		{"another epoch", func(b *usage.Batch) { b.Epoch++ }, usage.ErrForeignKey},
		{"another number", func(b *usage.Batch) { b.Seq++ }, usage.ErrForeignKey},
		{"another predecessor", func(b *usage.Batch) { b.Prev[0]++ }, usage.ErrForeignKey},
		{"another link", func(b *usage.Batch) { b.Link[0]++ }, usage.ErrForeignKey},
		{"another key", func(b *usage.Batch) { _ = b.Sign(other) }, usage.ErrForeignKey},
		{"no signature", func(b *usage.Batch) { b.Signature = nil }, usage.ErrForeignKey},
		{"other rows", func(b *usage.Batch) { b.Data, _ = usage.EncodeClosings(nil) }, usage.ErrTampered},
		{"no rows", func(b *usage.Batch) { b.Data = nil }, usage.ErrTampered},
		{"noise", func(b *usage.Batch) { b.Data = []byte("noise") }, usage.ErrTampered},
	} {
		b := good()
		c.change(b)
		if _, err := b.Verify(&key.PublicKey); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := good().Follows(usage.Link{2}); !errors.Is(err, usage.ErrFork) {
		t.Errorf("another chain: %v", err)
	}
	if err := good().Follows(usage.Link{1}); err != nil {
		t.Errorf("the same chain: %v", err)
	}
}

// FuzzDecodeClosings reads whatever comes without a panic, and what it reads it
// writes again.
func FuzzDecodeClosings(f *testing.F) {
	for _, closings := range [][]usage.Closing{nil, {nil}, {{{Key: usage.Key{Function: "f", Version: 1, Minute: 5}, Totals: usage.Totals{Fuel: 10}}}}} {
		b, err := usage.EncodeClosings(closings)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		closings, err := usage.DecodeClosings(b)
		if err != nil {
			return
		}
		again, err := usage.EncodeClosings(closings)
		if err != nil {
			t.Fatal(err)
		}
		back, err := usage.DecodeClosings(again)
		if err != nil || len(back) != len(closings) {
			t.Fatalf("%d closings came back as %d: %v", len(closings), len(back), err)
		}
	})
}

// BenchmarkEncodeClosings writes a quarter of an hour of ten busy functions, and
// says how many bytes that takes.
func BenchmarkEncodeClosings(b *testing.B) {
	closings := busy(15, 10)
	b.ReportAllocs()
	var size int
	for b.Loop() {
		data, err := usage.EncodeClosings(closings)
		if err != nil {
			b.Fatal(err)
		}
		size = len(data)
	}
	b.ReportMetric(float64(size), "bytes")
}

// busy makes the rollups of functions that work all the time, each a little
// differently.
func busy(minutes, functions int) []usage.Closing {
	closings := make([]usage.Closing, minutes)
	noise := uint64(1)
	next := func(n uint64) uint64 { // xorshift
		noise ^= noise << 13
		noise ^= noise >> 7
		noise ^= noise << 17
		return noise % n
	}
	for m := range closings {
		for f := range functions {
			r := usage.Rollup{Key: usage.Key{Function: "function-" + string(rune('a'+f)), Version: 3, Minute: 29_000_000 + int64(m)}}
			n := 50 + next(20)
			r.Outcomes[0] = n
			r.Fuel, r.DurationNanos, r.MemoryByteMillis = n*(4000+next(300)), n*(40_000+next(9000)), n*(130+next(10))*65536/1000
			r.BytesIn, r.BytesOut, r.BytesWritten = n*40+next(30), n*12, n*8
			closings[m] = append(closings[m], r)
		}
	}
	return closings
}
