package uplink

import (
	"context"
	"encoding/json"
	"net"
	"sync"
	"time"
)

// What a connection costs below TLS, estimated: every segment has an IPv4 and a
// TCP header with timestamps, and is answered by an empty one; a connection is
// opened and closed with seven of them. What is sent again is not seen.
const (
	headerBytes     = 52
	segmentBytes    = 1400
	connectionBytes = 7 * headerBytes
)

// meter counts the bytes of the link by day.
type meter struct {
	now func() time.Time

	mu           sync.Mutex
	day          int64
	today, total uint64
	saved        uint64 // of today
}

func (m *meter) add(bytes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnLocked()
	m.today += uint64(bytes)
	m.total += uint64(bytes)
}

func (m *meter) turnLocked() {
	if day := m.now().Unix() / (24 * 3600); day != m.day {
		m.day, m.today, m.saved = day, 0, 0
	}
}

func (m *meter) spent() (today, total uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.turnLocked()
	return m.today, m.total
}

// budgetKey is where the day's bytes are kept.
const budgetKey = "uplink/bytes"

// kept is what is kept of a day.
type kept struct {
	Day   int64  `json:"day"`
	Bytes uint64 `json:"bytes"`
}

// load goes on with what an earlier run carried today.
func (u *Uplink) load(ctx context.Context) {
	if u.cfg.Memory == nil || u.loaded {
		return
	}
	u.loaded = true
	var k kept
	raw, err := u.cfg.Memory.Meta(ctx, budgetKey)
	if err != nil || json.Unmarshal(raw, &k) != nil {
		return // the first run, or a day's count that is lost
	}
	m := u.meter
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.turnLocked(); k.Day == m.day {
		m.today += k.Bytes
		m.saved = m.today
	}
}

// save keeps the day's count where it has grown by a noticeable part of the
// budget since, or where the connection ends: a power cut gives back no more.
func (u *Uplink) save(ctx context.Context, ends bool) {
	if u.cfg.Memory == nil {
		return
	}
	m := u.meter
	m.mu.Lock()
	m.turnLocked()
	k, step := kept{m.day, m.today}, uint64(unbudgetedStep)
	if u.cfg.BytesPerDay > 0 {
		step = u.cfg.BytesPerDay / 50
	}
	due := k.Bytes-m.saved >= step || ends && k.Bytes != m.saved
	if due {
		m.saved = k.Bytes
	}
	m.mu.Unlock()
	if !due {
		return
	}
	raw, err := json.Marshal(k)
	if err == nil {
		err = u.cfg.Memory.SetMeta(ctx, budgetKey, raw)
	}
	if err != nil {
		u.cfg.Logger.Warn("what the link carried today is not kept: after a restart it counts from before", "error", err)
	}
}

// unbudgetedStep is how much is counted before it is kept, where nothing bounds
// it.
const unbudgetedStep = 1 << 20

// segments is what n bytes of TCP payload cost in IP bytes.
func segments(n int) int {
	if n <= 0 {
		return 0
	}
	return n + (n+segmentBytes-1)/segmentBytes*2*headerBytes
}

// counted is a connection whose bytes are counted below TLS.
type counted struct {
	net.Conn
	meter *meter
}

func (c *counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.meter.add(segments(n))
	return n, err
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.meter.add(segments(n))
	return n, err
}
