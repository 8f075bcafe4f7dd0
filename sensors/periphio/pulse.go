package periphio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// Pulse is a meter that closes a contact, or a Hall sensor that gives a level,
// so many times for each litre: flow meters, water meters, rain gauges,
// anemometers. Several sensors may count one line: the rate and the total.
type Pulse struct {
	// GPIO, Active, Pull and Debounce are those of Digital. A pulse counts when
	// it begins to be active.
	GPIO     string            `yaml:"gpio"`
	Active   string            `yaml:"active"`
	Pull     string            `yaml:"pull"`
	Debounce function.Duration `yaml:"debounce"`
	// PerLitre is how many pulses there are to a litre; left out pulses
	// themselves are counted, in count and Hz.
	PerLitre float64 `yaml:"per_litre"`
	// Measure is rate (the default) or total, which survives restarts.
	Measure string `yaml:"measure"`
	// ZeroAfter is after how long without a pulse the rate is 0 (5s).
	ZeroAfter function.Duration `yaml:"zero_after"`
}

const (
	measureRate  = "rate"
	measureTotal = "total"
)

// Validate implements sample.Driver.
func (p *Pulse) Validate(add func(string, ...any)) {
	validateLine(add, p.GPIO, p.Active, p.Pull, p.Debounce)
	if p.PerLitre < 0 {
		add(fmt.Sprintf("%v must be positive: the pulses to a litre, as the meter's data sheet has them", p.PerLitre), "per_litre")
	}
	if p.Measure != "" && p.Measure != measureRate && p.Measure != measureTotal {
		add(fmt.Sprintf("%q must be rate or total", p.Measure), "measure")
	}
}

// Describe implements sample.Driver.
func (p *Pulse) Describe() sample.Description {
	d := sample.Description{Unit: sensors.Hertz, Measures: "frequency", Interval: 5 * time.Second}
	switch total := p.Measure == measureTotal; {
	case total && p.PerLitre > 0:
		d.Unit, d.Measures = sensors.Liter, "volume"
	case total:
		d.Unit, d.Measures = sensors.Count, "count"
	case p.PerLitre > 0:
		d.Unit, d.Measures = sensors.LiterPerMinute, "flow"
	}
	return d
}

// Memory keeps counts across restarts.
type Memory interface {
	Meta(ctx context.Context, key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Opener implements Driver.
func (p *Pulse) Opener(h *Host) sample.Opener {
	return func(ctx context.Context, _ func()) (sample.Source, error) {
		cfg := lineConfig(p.Active, p.Pull, p.Debounce)
		cfg.Rising = true
		c, err := h.counters.open(ctx, h, p.GPIO, cfg)
		if err != nil {
			return nil, err
		}
		zero := p.ZeroAfter.Std()
		if zero == 0 {
			zero = 5 * time.Second
		}
		return &meter{c: c, h: h, perLitre: p.PerLitre, total: p.Measure == measureTotal, zero: zero}, nil
	}
}

// meter is a sensor that counts a line.
type meter struct {
	c        *counter
	h        *Host
	perLitre float64
	total    bool
	zero     time.Duration

	from pulses  // when the last rate was told
	rate float64 // that rate, in Hz
}

func (m *meter) Close() error { return m.h.counters.close(m.c) }

// Read returns the total, or the rate since the last pulse that the reading
// before has seen.
func (m *meter) Read(ctx context.Context) (sample.Sample, error) {
	now, err := m.c.look()
	if err != nil {
		return sample.Sample{}, err
	}
	if m.total {
		m.c.save(ctx)
		q := sensors.Quantity{Value: float64(now.total), Unit: sensors.Count}
		if m.perLitre > 0 {
			q = sensors.Quantity{Value: float64(now.total) / m.perLitre, Unit: sensors.Liter}
		}
		return sample.Sample{Quantity: q, Warning: m.c.unsaved()}, nil
	}
	q := sensors.Quantity{Value: m.hertz(now, time.Now()), Unit: sensors.Hertz}
	if m.perLitre > 0 {
		q = sensors.Quantity{Value: q.Value * 60 / m.perLitre, Unit: sensors.LiterPerMinute}
	}
	return sample.Sample{Quantity: q}, nil
}

// hertz is the rate by the kernel's own times of pulses: exact where few come,
// and not moved by when it is asked. While none comes it can be no more than one
// in the time since; after zero it is 0.
func (m *meter) hertz(now pulses, at time.Time) float64 {
	n, took := now.count-m.from.count, now.last-m.from.last
	running, ran := now.count-now.resumed, now.last-now.resumedAt
	switch {
	case n == 0:
	case now.resumed > m.from.count && running > 0:
		// After a rest: from the first pulse that came then.
		m.rate = float64(running) / ran.Seconds()
	case m.from.count > 0 && took <= time.Duration(n)*m.zero:
		m.rate = float64(n) / took.Seconds()
	default:
		m.rate = 0 // one pulse has no rate yet
	}
	m.from = now
	if now.count == 0 {
		return 0
	}
	since := at.Sub(now.seen)
	if since >= m.zero {
		m.rate = 0
	} else if since > 0 {
		m.rate = min(m.rate, 1/since.Seconds())
	}
	return m.rate
}

// pulses is what was counted of a line.
type pulses struct {
	// total goes on across restarts, count is since the line was opened.
	total, count uint64
	// last is the kernel's time of the last, seen when it was fetched.
	last time.Duration
	seen time.Time
	// resumed is the count with the first pulse after a rest, and resumedAt its
	// time.
	resumed   uint64
	resumedAt time.Duration
}

// rest is how long without a pulse makes the next one the first of a new run.
const rest = 2 * time.Second

// counters are the lines that are counted, shared by the sensors that do.
type counters struct {
	mu    sync.Mutex // guards the map and the users of each
	lines map[string]*counter
}

func (cs *counters) open(ctx context.Context, h *Host, gpio string, cfg LineConfig) (*counter, error) {
	info, err := h.Find(gpio)
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s/%d", info.Chip, info.Offset)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c := cs.lines[name]; c != nil {
		if c.cfg != cfg {
			return nil, fmt.Errorf("GPIO line %s is counted with another active, pull or debounce already: give both sensors the same", gpio)
		}
		c.users++
		return c, nil
	}
	c := &counter{name: name, key: "pulses/" + gpio, cfg: cfg, users: 1}
	if err := c.load(ctx, h); err != nil {
		return nil, err
	}
	if c.line, err = h.Request(gpio, cfg); err != nil {
		return nil, err
	}
	c.done.Go(c.run)
	if cs.lines == nil {
		cs.lines = make(map[string]*counter)
	}
	cs.lines[name] = c
	return c, nil
}

func (cs *counters) close(c *counter) error {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if c.users--; c.users > 0 {
		return nil
	}
	delete(cs.lines, c.name)
	err := c.line.Close()
	c.done.Wait()
	if c.memory != nil {
		ctx, cancel := context.WithTimeout(context.Background(), saveWithin)
		defer cancel()
		c.savedAt = time.Time{}
		c.saveTo(ctx)
	}
	return err
}

// Counts are written this often at most: flash is precious. A crash loses what
// came since.
const (
	saveEvery  = time.Minute
	saveWithin = 5 * time.Second
)

// counter counts one line.
type counter struct {
	name, key string
	cfg       LineConfig
	users     int // guarded by counters.mu
	line      Line
	done      sync.WaitGroup

	mu       sync.Mutex // guards what follows
	p        pulses
	sequence uint32
	err      error
	memory   Memory
	saved    uint64
	savedAt  time.Time
	saveErr  error
}

// run takes edges until the line is closed. The kernel counts what is not
// fetched in time: a gap in the sequence is pulses too.
func (c *counter) run() {
	for {
		e, err := c.line.Next(time.Time{})
		c.mu.Lock()
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				c.err = err
			}
			c.mu.Unlock()
			return
		}
		n := uint64(e.Sequence - c.sequence)
		c.sequence = e.Sequence
		resumed := c.p.count == 0 || e.At-c.p.last > rest
		c.p.total, c.p.count, c.p.last, c.p.seen = c.p.total+n, c.p.count+n, e.At, time.Now()
		if resumed {
			c.p.resumed, c.p.resumedAt = c.p.count, e.At
		}
		c.mu.Unlock()
	}
}

func (c *counter) look() (pulses, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return pulses{}, fmt.Errorf("count its edges: %w", c.err)
	}
	return c.p, nil
}

// kept is a count as it is remembered.
type kept struct {
	Pulses uint64 `json:"pulses"`
}

func (c *counter) load(ctx context.Context, h *Host) error {
	c.memory = h.opt.Memory
	if c.memory == nil {
		return nil
	}
	raw, err := c.memory.Meta(ctx, c.key)
	if err != nil {
		return fmt.Errorf("read what was counted before: %w", err)
	}
	var k kept
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &k); err != nil {
			return fmt.Errorf("read what was counted before: %w", err)
		}
	}
	c.p.total, c.saved, c.savedAt = k.Pulses, k.Pulses, time.Now()
	return nil
}

// save remembers the count, every now and then.
func (c *counter) save(ctx context.Context) {
	c.mu.Lock()
	due := c.memory != nil && time.Since(c.savedAt) >= saveEvery
	c.mu.Unlock()
	if due {
		c.saveTo(ctx)
	}
}

// saveTo remembers the count where it has changed.
func (c *counter) saveTo(ctx context.Context) {
	c.mu.Lock()
	total, saved := c.p.total, c.saved
	c.mu.Unlock()
	if total == saved {
		return
	}
	raw, err := json.Marshal(kept{total})
	if err == nil {
		err = c.memory.SetMeta(ctx, c.key, raw)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saveErr = err; err == nil {
		c.saved, c.savedAt = total, time.Now()
	}
}

// unsaved says why the total would not survive a restart; empty where it would.
func (c *counter) unsaved() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.saveErr == nil {
		return ""
	}
	return "the total is not kept: " + c.saveErr.Error()
}
