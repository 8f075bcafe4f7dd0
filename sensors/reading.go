package sensors

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// Reading is what a sensor is known to measure.
type Reading struct {
	// Sensor is its name.
	Sensor string
	// Value is in Unit; it means nothing unless Valid.
	Value float64
	Unit  Unit
	// Valid is false until the sensor has given a value.
	Valid bool
	// Quality says how far Value can be relied on, and Fault, in words for the
	// operator, why it is not good.
	Quality Quality
	Fault   string
	// At is the wall time when Value was measured, and Age how long ago that
	// is, by the steady clock, at the time of asking.
	At  time.Time
	Age time.Duration
	// Retained marks a value that a broker had kept: when it was measured is
	// not known, and Age counts from its arrival.
	Retained bool
	// Sequence counts the readings of this sensor since the start.
	Sequence uint64
}

// Info describes a configured sensor.
type Info struct {
	Name string
	Unit Unit
	// Driver is the kind of driver, such as ads1115 or mqtt, and Measures what
	// the value is of (temperature, humidity, moisture, flow …), where known.
	Driver, Measures string
	// Topic is where its readings are published.
	Topic string
	// Interval is how often it is read, and StaleAfter the age at which a value
	// is no longer good.
	Interval, StaleAfter time.Duration
}

// Reader finds the latest readings. *Board is one.
type Reader interface {
	Latest(name string) (Reading, bool)
}

var _ Reader = (*Board)(nil)

// Board holds the latest reading of every sensor. Samplers put them there,
// everybody else reads. Its methods are safe for concurrent use.
type Board struct {
	steady func() time.Time

	mu       sync.RWMutex
	entries  map[string]*entry
	watchers []*watcher
}

type entry struct {
	info    Info
	reading Reading
	steady  time.Time // of reading.At
}

type watcher struct{ tell func(Reading) }

// NewBoard returns a Board without sensors whose ages are by steady, a clock
// that never jumps.
func NewBoard(steady func() time.Time) *Board {
	return &Board{steady: steady, entries: make(map[string]*entry)}
}

// Declare makes a sensor known; its reading is Unread. A sensor that is known
// already is described anew.
func (b *Board) Declare(i Info) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e := b.entries[i.Name]; e != nil {
		e.info = i
		return
	}
	b.entries[i.Name] = &entry{info: i, reading: Reading{Sensor: i.Name, Unit: i.Unit}}
}

// Put makes r the latest reading of its sensor, which must be declared, and
// tells the watchers, in the caller's goroutine. r.Age is how old it is
// already; the reading that is returned has its Sequence.
func (b *Board) Put(r Reading) Reading {
	b.mu.Lock()
	e := b.entries[r.Sensor]
	if e == nil {
		b.mu.Unlock()
		return r
	}
	r.Sequence = e.reading.Sequence + 1
	e.reading, e.steady = r, b.steady().Add(-r.Age)
	watchers := b.watchers
	b.mu.Unlock()
	for _, w := range watchers {
		w.tell(r)
	}
	return r
}

// Latest returns the latest reading of a sensor, with its age by now; false
// when no sensor has that name. A good value that has grown older than the
// sensor's StaleAfter is Stale.
func (b *Board) Latest(name string) (Reading, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	e := b.entries[name]
	if e == nil {
		return Reading{}, false
	}
	return e.now(b.steady()), true
}

func (e *entry) now(steady time.Time) Reading {
	r := e.reading
	if !r.Valid {
		return r
	}
	r.Age = max(0, steady.Sub(e.steady))
	if limit := e.info.StaleAfter; r.Quality == Good && limit > 0 && r.Age > limit && !fault.On(fault.StaleIgnored) {
		r.Quality, r.Fault = Stale, "no reading for "+r.Age.Round(time.Second).String()
	}
	return r
}

// All returns the latest reading of every sensor, by name.
func (b *Board) All() []Reading {
	b.mu.RLock()
	defer b.mu.RUnlock()
	now := b.steady()
	out := make([]Reading, 0, len(b.entries))
	for _, e := range b.entries {
		out = append(out, e.now(now))
	}
	slices.SortFunc(out, func(x, y Reading) int { return strings.Compare(x.Sensor, y.Sensor) })
	return out
}

// Info describes one sensor; false when there is none of that name.
func (b *Board) Info(name string) (Info, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if e := b.entries[name]; e != nil {
		return e.info, true
	}
	return Info{}, false
}

// Sensors describes all sensors, by name.
func (b *Board) Sensors() []Info {
	b.mu.RLock()
	defer b.mu.RUnlock()
	out := make([]Info, 0, len(b.entries))
	for _, e := range b.entries {
		out = append(out, e.info)
	}
	slices.SortFunc(out, func(x, y Info) int { return strings.Compare(x.Name, y.Name) })
	return out
}

// Watch has every reading from now on told to f, in the goroutine that took
// it: f must be quick and must not call Watch. Readings of one sensor come in
// order. The returned function ends it; f may still be running when it returns.
func (b *Board) Watch(f func(Reading)) (stop func()) {
	w := &watcher{f}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = append(slices.Clone(b.watchers), w)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.watchers = slices.DeleteFunc(slices.Clone(b.watchers), func(x *watcher) bool { return x == w })
	}
}
