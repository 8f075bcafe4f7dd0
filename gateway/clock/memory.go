package clock

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/event"
	"github.com/headgate-io/headgate/gateway/store"
)

// metaClock is where the time is kept.
const metaClock = "clock"

// Between two starts of the machine the steady scale goes on by what the wall
// clock says has passed. A clock that nobody has set may say anything, and so
// may one that was set wrong: these bound what is believed.
const (
	mostEstimated    = 24 * time.Hour
	mostSynchronised = 400 * 24 * time.Hour
)

// kept is what is known of an earlier run. Times are milliseconds since the
// Unix epoch.
type kept struct {
	BootID    string        `json:"boot_id"`
	SinceBoot time.Duration `json:"since_boot_ns"`
	Steady    int64         `json:"steady"`
	Now       int64         `json:"now"`
	Seen      int64         `json:"seen"`
	Known     bool          `json:"known"`
	// Confirmed holds until the machine starts again.
	Confirmed bool `json:"confirmed,omitempty"`
}

func (c *Clock) load(ctx context.Context) (*kept, error) {
	raw, err := c.cfg.Memory.Meta(ctx, metaClock)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the kept time: %w", err)
	}
	k := new(kept)
	if err := json.Unmarshal(raw, k); err != nil {
		c.log.Warn("the kept time is damaged and not used", "error", err)
		return nil, nil
	}
	return k, nil
}

func (c *Clock) save(ctx context.Context) error {
	s := c.check()
	c.mu.Lock()
	k := kept{
		BootID: c.src.BootID(), SinceBoot: s.sinceBoot + s.slept, Steady: s.steady.UnixMilli(),
		Now: s.wall.Add(s.correction).UnixMilli(), Seen: c.seen.UnixMilli(), Known: c.known, Confirmed: c.confirmed,
	}
	c.mu.Unlock()
	raw, err := json.Marshal(k)
	if err != nil {
		return err
	}
	return c.cfg.Memory.SetMeta(ctx, metaClock, raw)
}

// begin makes the first state of what is kept and what the clocks say.
func (c *Clock) begin(k *kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &state{}
	s.wall, s.sinceBoot = c.src.Read()
	s.slept = max(c.src.SinceBoot()-s.sinceBoot, 0)
	up := s.sinceBoot + s.slept
	c.seen = c.cfg.Built // which may have been while the machine was up
	if k == nil {
		c.judgeLocked(s)
		s.steady = s.wall.Add(s.correction)
		c.state.Store(s)
		return
	}
	passed := up // since what is kept, at least
	same := k.BootID != "" && k.BootID == c.src.BootID()
	if same {
		passed = max(up-k.SinceBoot, 0)
		c.confirmed = k.Confirmed
		s.correction = time.UnixMilli(k.Now).Add(passed).Sub(s.wall)
	}
	c.known = k.Known
	c.seen = latest(time.UnixMilli(k.Seen).Add(passed), c.cfg.Built)
	c.judgeLocked(s)
	if !same {
		most := mostEstimated
		if s.trust == event.TimeSynchronised {
			most = mostSynchronised
		}
		off := s.wall.Add(s.correction).Sub(time.UnixMilli(k.Now))
		passed = max(passed, min(off, most))
	}
	s.steady = time.UnixMilli(k.Steady).Add(passed)
	c.state.Store(s)
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
