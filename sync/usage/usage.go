// Package usage holds what is metered: the Record of one attempt, and the
// Rollup of all attempts of one function version in one minute, which is what
// the gateway keeps, shows and sends to its controller.
//
// Every amount is an integer in a documented unit, so that adding rollups in
// any order and grouping gives the same sums on the gateway and in the
// controller.
package usage

import (
	"math"
	"math/bits"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/function"
)

// Record is the metering of one attempt.
type Record struct {
	Function string
	Version  int
	// At is when the attempt ended; it decides the minute.
	At      time.Time
	Outcome function.Outcome
	// Fuel is the work done, in fuel units.
	Fuel uint64
	// Duration is the time inside the guest.
	Duration time.Duration
	// MemoryBytes is the linear memory of the instance.
	MemoryBytes uint64
	ColdStart   bool
	// Trust is how far At can be relied on.
	Trust event.Trust
	// BytesIn is the event's data and what was fetched, BytesOut the payloads of
	// publishes, enqueues, invokes and the result and what was sent to fetch it,
	// BytesWritten keys and values written to the state.
	BytesIn, BytesOut, BytesWritten uint64
}

// Key names a rollup.
type Key struct {
	Function string
	Version  int
	// Minute counts minutes since the Unix epoch, UTC.
	Minute int64
}

// Time is the start of the minute.
func (k Key) Time() time.Time { return time.Unix(k.Minute*60, 0).UTC() }

// MinuteOf returns the minute that t lies in.
func MinuteOf(t time.Time) int64 {
	sec := t.Unix()
	if sec < 0 {
		sec -= 59
	}
	return sec / 60
}

// Totals are sums over attempts. The zero value is no attempt at all.
type Totals struct {
	// Outcomes counts attempts by how they ended, indexed by
	// function.Outcome.
	Outcomes [function.Outcomes]uint64
	// Fuel is in fuel units.
	Fuel uint64
	// DurationNanos is time inside the guest, in nanoseconds.
	DurationNanos uint64
	// MemoryByteMillis is memory held over time: the sum of bytes ×
	// milliseconds, each attempt rounded up. 1 GB-s (decimal) is 10¹² of it.
	MemoryByteMillis uint64
	ColdStarts       uint64
	// TimeEstimated and TimeUnknown count attempts whose minute comes from a
	// clock that was not synchronised.
	TimeEstimated, TimeUnknown uint64
	// BytesIn, BytesOut and BytesWritten are as in Record.
	BytesIn, BytesOut, BytesWritten uint64
}

// Rollup is the usage of one function version in one minute.
type Rollup struct {
	Key
	Totals
}

// FieldCount is how many sums Totals has.
const FieldCount = fields

const fields = function.Outcomes + 9

// Fields are all sums, in the order in which they are stored and sent.
func (t *Totals) Fields() [fields]*uint64 {
	var f [fields]*uint64
	for i := range t.Outcomes {
		f[i] = &t.Outcomes[i]
	}
	copy(f[function.Outcomes:], []*uint64{
		&t.Fuel, &t.DurationNanos, &t.MemoryByteMillis, &t.ColdStarts,
		&t.BytesIn, &t.BytesOut, &t.BytesWritten, &t.TimeEstimated, &t.TimeUnknown,
	})
	return f
}

// FieldNames name the sums of Fields, as columns and in exports.
func FieldNames() [fields]string {
	return [fields]string{
		"ok", "failed", "trapped", "out_of_fuel", "out_of_stack", "out_of_memory", "timed_out", "refused",
		"fuel", "duration_nanos", "memory_byte_millis", "cold_starts",
		"bytes_in", "bytes_out", "bytes_written", "time_estimated", "time_unknown",
	}
}

// Requests is how many attempts there were.
func (t *Totals) Requests() uint64 {
	var n uint64
	for _, c := range t.Outcomes {
		n += c
	}
	return n
}

// Errors is how many attempts did not end well.
func (t *Totals) Errors() uint64 { return t.Requests() - t.Outcomes[function.OK] }

// GBSeconds is MemoryByteMillis in decimal gigabyte-seconds, for people.
func (t *Totals) GBSeconds() float64 { return float64(t.MemoryByteMillis) / 1e12 }

// Key returns the rollup that r belongs to.
func (r *Record) Key() Key {
	return Key{Function: r.Function, Version: r.Version, Minute: MinuteOf(r.At)}
}

// Add counts one attempt. Sums stop at their maximum instead of wrapping.
func (t *Totals) Add(r *Record) {
	o := r.Outcome
	if int(o) >= len(t.Outcomes) {
		o = function.Failed
	}
	t.Outcomes[o]++
	add(&t.Fuel, r.Fuel)
	nanos := uint64(max(r.Duration, 0))
	add(&t.DurationNanos, nanos)
	add(&t.MemoryByteMillis, byteMillis(r.MemoryBytes, nanos))
	if r.ColdStart {
		t.ColdStarts++
	}
	switch r.Trust {
	case event.TimeUnknown:
		t.TimeUnknown++
	case event.TimeEstimated:
		t.TimeEstimated++
	}
	add(&t.BytesIn, r.BytesIn)
	add(&t.BytesOut, r.BytesOut)
	add(&t.BytesWritten, r.BytesWritten)
}

// Merge adds other to t.
func (t *Totals) Merge(other *Totals) {
	from := other.Fields()
	for i, sum := range t.Fields() {
		add(sum, *from[i])
	}
}

func add(sum *uint64, n uint64) {
	s, carry := bits.Add64(*sum, n, 0)
	// Stored as SQLite integers, which are signed.
	if carry != 0 || s > math.MaxInt64 {
		s = math.MaxInt64
	}
	*sum = s
}

// byteMillis is bytes × nanos / 10⁶, rounded up.
func byteMillis(bytes, nanos uint64) uint64 {
	const perMilli = 1_000_000
	hi, lo := bits.Mul64(bytes, nanos)
	if hi >= perMilli {
		return math.MaxInt64
	}
	quo, rem := bits.Div64(hi, lo, perMilli)
	if rem > 0 {
		quo++
	}
	return min(quo, math.MaxInt64)
}
