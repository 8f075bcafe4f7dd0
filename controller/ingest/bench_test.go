package ingest_test

import (
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/headgate-io/headgate/controller/ingest"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/sync/usage"
	"github.com/headgate-io/headgate/sync/wire"
)

// BenchmarkUsage takes reports of many gateways at once, ten functions each, as
// the listener's workers do.
func BenchmarkUsage(b *testing.B) {
	const gateways = 64
	s, err := store.Open(b.Context(), "sqlite:"+filepath.Join(b.TempDir(), "c.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	service, err := ingest.New(s, slog.New(slog.DiscardHandler), nil)
	if err != nil {
		b.Fatal(err)
	}
	codec, err := wire.NewCodec()
	if err != nil {
		b.Fatal(err)
	}
	keys := make([]*ecdsa.PrivateKey, gateways)
	for i := range keys {
		keys[i] = newKey(b)
		addGateway(b, s, fmt.Sprintf("acme%d", i), fmt.Sprintf("gateway%09d", i), keys[i])
	}
	messages := make([][]byte, b.N)
	links, seqs := make([]usage.Link, gateways), make([]uint64, gateways)
	for i := range messages {
		g := i % gateways
		stream := usage.Stream{Gateway: fmt.Sprintf("gateway%09d", g), Hardware: "hw", Epoch: 1}
		if seqs[g] == 0 {
			links[g] = stream.Genesis()
		}
		seqs[g]++
		c := make(usage.Closing, 10)
		for f := range c {
			c[f].Key, c[f].Totals = usage.Key{Function: fmt.Sprintf("f%d", f), Version: 1, Minute: int64(i)}, usage.Totals{DurationNanos: 5, Fuel: uint64(1000 + i)}
		}
		batch := &usage.Batch{Stream: stream, Seq: seqs[g], Prev: links[g], Link: links[g].Next(c)}
		links[g] = batch.Link
		if batch.Data, err = usage.EncodeClosings([]usage.Closing{c}); err != nil {
			b.Fatal(err)
		}
		if err := batch.Sign(keys[g]); err != nil {
			b.Fatal(err)
		}
		if messages[i], err = codec.Encode(wire.UsageOf(batch)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	b.ResetTimer()
	b.SetParallelism(8)
	var next atomic.Int64
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := next.Add(1) - 1
			if err := service.Take(b.Context(), fmt.Sprintf("gateway%09d", i%gateways), messages[i], func([]byte) {}); err != nil {
				b.Error(err)
			}
		}
	})
}
