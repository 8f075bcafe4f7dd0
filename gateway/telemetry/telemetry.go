// Package telemetry keeps the newest message of the topics that the gateway's
// owner chose, for the controller, until that has it. It is bounded, and counts
// what it leaves out.
package telemetry

import (
	"bytes"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/mqtt/topic"
	"github.com/headgate-io/headgate/sync/wire"
)

// MaxPayload bounds a message that is kept.
const MaxPayload = 4 << 10

// Stats counts since New.
type Stats struct {
	// Messages are those of the chosen topics, Large those of them that were too
	// long, LeftOut those of topics beyond the most that are kept.
	Messages, Large, LeftOut uint64
	// Topics are kept now, New of them have something that the controller has not.
	Topics, New int
}

// Collector keeps them. Its methods may be called from any goroutine.
type Collector struct {
	filters []string
	start   uint64
	now     func() time.Time

	mu     sync.Mutex // leaf; guards what follows
	values map[string]*value
	seq    uint64
	stats  Stats
}

// value is the newest message of a topic.
type value struct {
	payload []byte
	at      time.Time
	// count are those that the controller has not heard of, said how many of them
	// the message with the number seq told.
	count, said, seq uint64
}

// New makes a collector for filters. start tells its numbers from those of an
// earlier run.
func New(filters []string, start uint64, now func() time.Time) *Collector {
	return &Collector{filters: filters, start: start, now: now, values: map[string]*value{}}
}

// Filters are what it wants to see.
func (c *Collector) Filters() []string { return c.filters }

// Seen takes a message that the filter with a number matched. Where an earlier
// one matches too, that has taken it.
func (c *Collector) Seen(filter int, name string, payload []byte) {
	for _, earlier := range c.filters[:filter] {
		if topic.Match(earlier, name) {
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stats.Messages++
	if len(payload) > MaxPayload {
		c.stats.Large++
		return
	}
	v := c.values[name]
	if v == nil {
		if len(c.values) >= wire.MaxTelemetry {
			c.stats.LeftOut++
			return
		}
		v = new(value)
		c.values[strings.Clone(name)] = v
	}
	v.payload, v.at = append(v.payload[:0], payload...), c.now()
	v.count++
}

// Next is what the controller has not; nil is nothing.
func (c *Collector) Next() *wire.Telemetry {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := &wire.Telemetry{Start: c.start, Seq: c.seq + 1}
	for name, v := range c.values {
		if v.count == 0 {
			continue
		}
		v.said, v.seq = v.count, m.Seq
		m.Values = append(m.Values, wire.Value{Topic: name, Payload: bytes.Clone(v.payload), Time: v.at.UnixMicro(), Count: v.count})
	}
	if len(m.Values) == 0 {
		return nil
	}
	c.seq = m.Seq
	slices.SortFunc(m.Values, func(a, b wire.Value) int { return strings.Compare(a.Topic, b.Topic) })
	return m
}

// Taken says that the controller has a message. One that is not the newest
// changes nothing: the newest says all that it said.
func (c *Collector) Taken(start, seq uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if start != c.start || seq != c.seq {
		return
	}
	for _, v := range c.values {
		if v.seq == seq {
			v.count -= v.said
			v.said, v.seq = 0, 0
		}
	}
}

// Stats returns the counters.
func (c *Collector) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.stats
	s.Topics = len(c.values)
	for _, v := range c.values {
		if v.count > 0 {
			s.New++
		}
	}
	return s
}
