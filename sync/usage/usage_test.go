package usage_test

import (
	"math"
	"testing"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/usage"
	"pgregory.net/rapid"
)

func TestMinuteOf(t *testing.T) {
	for _, c := range []struct {
		sec  int64
		want int64
	}{{0, 0}, {59, 0}, {60, 1}, {-1, -1}, {-60, -1}, {-61, -2}, {1700000000, 28333333}} {
		if got := usage.MinuteOf(time.Unix(c.sec, 0)); got != c.want {
			t.Errorf("MinuteOf(%d) = %d, want %d", c.sec, got, c.want)
		}
	}
}

func TestMemoryTimeRoundsUp(t *testing.T) {
	for _, c := range []struct {
		bytes uint64
		d     time.Duration
		want  uint64
	}{
		{64 << 10, 2 * time.Microsecond, 132}, // 131.072
		{1 << 30, time.Second, 1 << 30 * 1000},
		{1, 1, 1},
		{0, time.Hour, 0},
		{math.MaxUint64, math.MaxInt64, math.MaxInt64},
	} {
		var tot usage.Totals
		tot.Add(&usage.Record{MemoryBytes: c.bytes, Duration: c.d})
		if tot.MemoryByteMillis != c.want {
			t.Errorf("%d bytes for %v: %d, want %d", c.bytes, c.d, tot.MemoryByteMillis, c.want)
		}
	}
}

// However attempts are grouped before they are merged, the sums are the same.
func TestMergeIsAddition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		recs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) usage.Record {
			return usage.Record{
				Outcome:      function.Outcome(rapid.IntRange(0, function.Outcomes-1).Draw(t, "outcome")),
				Fuel:         rapid.Uint64().Draw(t, "fuel"),
				Duration:     time.Duration(rapid.Int64Range(0, math.MaxInt64).Draw(t, "duration")),
				MemoryBytes:  rapid.Uint64Range(0, 1<<40).Draw(t, "memory"),
				ColdStart:    rapid.Bool().Draw(t, "cold"),
				Trust:        event.Trust(rapid.IntRange(0, 2).Draw(t, "trust")),
				BytesWritten: rapid.Uint64Range(0, 1<<40).Draw(t, "written"),
			}
		}), 1, 20).Draw(t, "records")
		cut := rapid.IntRange(0, len(recs)).Draw(t, "cut")
		var all, a, b usage.Totals
		for i := range recs {
			all.Add(&recs[i])
			if i < cut {
				a.Add(&recs[i])
			} else {
				b.Add(&recs[i])
			}
		}
		b.Merge(&a)
		if all != b {
			t.Fatalf("added one by one %+v, merged %+v", all, b)
		}
		if all.Requests() != uint64(len(recs)) {
			t.Fatalf("requests %d, want %d", all.Requests(), len(recs))
		}
	})
}
