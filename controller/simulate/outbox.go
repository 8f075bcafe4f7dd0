package simulate

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sync/uplink"
	"github.com/headgate-io/headgate/sync/usage"
)

// outbox is a gateway's usage, in memory: it makes it up when it is sealed.
type outbox struct {
	fleet  *Fleet
	stream usage.Stream

	mu     sync.Mutex // leaf; guards all below
	random *rand.Rand
	next   uint64 // number of the next batch
	link   usage.Link
	closed int64 // the minute up to which, itself not, all is sealed
	held   []usage.Batch
}

var _ uplink.Outbox = (*outbox)(nil)

func newOutbox(f *Fleet, s usage.Stream) *outbox {
	return &outbox{
		fleet: f, stream: s, random: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())), next: 1, link: s.Genesis(),
		closed: usage.MinuteOf(time.Now()) - int64(max(f.cfg.Interval/time.Minute, 1500*time.Duration(min(f.cfg.Minutes, 1)))),
	}
}

// UsageHeld returns what there is.
func (o *outbox) UsageHeld(context.Context) ([]usage.Held, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return []usage.Held{{Stream: o.stream, First: o.next - uint64(len(o.held)), Next: o.next}}, nil
}

// UsageBatches returns batches after a number.
func (o *outbox) UsageBatches(_ context.Context, epoch, seq uint64, limit int) ([]usage.Batch, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var out []usage.Batch
	for _, b := range o.held {
		if (epoch < o.stream.Epoch || b.Seq > seq) && len(out) < limit {
			out = append(out, b)
		}
	}
	return out, nil
}

// UsageAcknowledged drops what the controller has.
func (o *outbox) UsageAcknowledged(s usage.Stream, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for s == o.stream && len(o.held) > 0 && o.held[0].Seq <= seq {
		o.held = o.held[1:]
	}
}

// SealUsage makes up the minutes since the last time, and seals them.
func (o *outbox) SealUsage(context.Context) (int64, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := usage.MinuteOf(time.Now())
	if n := int64(o.fleet.cfg.Minutes); n > 0 {
		now = o.closed + n
	}
	var closings []usage.Closing
	for step := o.fleet.grain(); o.closed+step <= now && o.fleet.cfg.Functions > 0; o.closed += step {
		closings = append(closings, o.rowsLocked(o.closed, int(step)))
	}
	if len(closings) == 0 {
		return int64(len(o.held)), nil
	}
	data, err := usage.EncodeClosings(closings)
	if err != nil {
		return 0, err
	}
	b := usage.Batch{Stream: o.stream, Seq: o.next, Prev: o.link, Data: data}
	for _, c := range closings {
		o.link = o.link.Next(c)
	}
	b.Link = o.link
	o.held = append(o.held, b)
	o.next++
	o.fleet.sealed.Add(1)
	return int64(len(o.held)), nil
}

// rowsLocked is what the functions did in some minutes: some dozen calls in each,
// of a few thousand units of fuel, the same in kind from minute to minute, as
// functions that watch a field do.
func (o *outbox) rowsLocked(minute int64, minutes int) usage.Closing {
	c := make(usage.Closing, 0, o.fleet.cfg.Functions)
	for i := range o.fleet.cfg.Functions {
		r := usage.Rollup{Key: usage.Key{Function: functionName(i), Version: 1 + i%3, Minute: minute}}
		calls := uint64(0)
		for range minutes {
			calls += uint64(1 + o.random.IntN(24))
		}
		r.Outcomes[function.OK] = calls
		if o.random.IntN(100) == 0 {
			r.Outcomes[function.Failed]++
		}
		n := r.Requests()
		r.Fuel = n*uint64(20_000+1_000*i) + o.random.Uint64N(5_000)
		r.DurationNanos = n * (300_000 + o.random.Uint64N(50_000))
		r.MemoryByteMillis = n * (1 << 20)
		r.BytesIn, r.BytesOut, r.BytesWritten = n*64, n*48, n*32
		c = append(c, r)
		o.fleet.requests.Add(n)
		o.fleet.fuel.Add(r.Fuel)
	}
	c.Sort()
	return c
}

func functionName(i int) string { return fmt.Sprintf("function-%02d", i) }

func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.held)
}
