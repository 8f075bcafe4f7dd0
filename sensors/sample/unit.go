package sample

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sensors"
)

// unit is one sensor at work. The goroutine of its bus owns it, except for what
// mu guards.
type unit struct {
	Sensor
	s *Sampler

	source   Source
	window   window
	due      time.Time
	read     time.Time // when it was, last
	failures int

	notified atomic.Bool

	mu sync.Mutex // guards what the goroutine that looks for stale ones reads
	// last is the newest value, zero and not Valid before the first, and
	// arrived when it was measured, by the monotonic clock.
	last    sensors.Reading
	arrived time.Time
	quality sensors.Quality
	told    telling
}

// telling is what was told of a sensor last.
type telling struct {
	value   float64
	quality sensors.Quality
	at      time.Time
}

// measure reads the sensor once.
func (u *unit) measure(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, readWithin)
	defer cancel()
	got, err := u.fetch(ctx)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return // the sampler ends
	}
	if errors.Is(err, ErrNothing) {
		return
	}
	var v float64
	if err == nil {
		v, err = u.value(got.Quantity)
	}
	if err != nil {
		u.failed(err)
		return
	}
	u.succeeded(got, v)
}

// fetch sets the sensor up where it is not, and measures. A first failure is
// tried again at once, set up anew: a line that was disturbed once is no fault.
func (u *unit) fetch(ctx context.Context) (got Sample, err error) {
	for try := range 2 {
		if u.source == nil {
			if u.source, err = u.Open(ctx, u.notify); err != nil {
				u.source = nil
				return got, err
			}
		}
		got, err = u.source.Read(ctx)
		if err == nil || errors.Is(err, ErrNothing) {
			return got, err
		}
		u.s.stats.failures.Add(1)
		if u.Passive {
			break // it has said what it had: setting it up anew tells nothing new
		}
		u.close()
		if try == 0 && (u.failures > 0 || ctx.Err() != nil) {
			break
		}
	}
	return got, err
}

func (u *unit) close() {
	if u.source == nil {
		return
	}
	if err := u.source.Close(); err != nil {
		u.s.log.Debug("close sensor", "sensor", u.Name, "error", err)
	}
	u.source = nil
}

// notify has the sensor read soon.
func (u *unit) notify() {
	u.notified.Store(true)
	u.s.buses[u.Bus].poke()
}

func (u *unit) succeeded(got Sample, v float64) {
	u.s.stats.readings.Add(1)
	if u.failures > 0 {
		u.s.log.Info("sensor works again", "sensor", u.Name, "after_failures", u.failures)
		u.failures = 0
	}
	r := sensors.Reading{
		Sensor: u.Name, Unit: u.Unit, Valid: true, Quality: sensors.Good, Value: u.window.add(v),
		At: u.s.cfg.Now().Add(-got.Age), Age: got.Age, Retained: got.Retained,
	}
	switch {
	case got.Warning != "":
		r.Quality, r.Fault = sensors.Stale, got.Warning
	case got.Retained:
		r.Quality, r.Fault = sensors.Stale, "a broker had kept it: when it was measured is not known"
	}
	u.put(r)
}

func (u *unit) failed(err error) {
	if u.failures == 0 {
		u.s.log.Warn("sensor fails", "sensor", u.Name, "error", err)
	}
	u.failures++
	u.window.reset()
	u.mu.Lock()
	r := u.last
	if r.Valid {
		r.Age = time.Since(u.arrived)
	}
	u.mu.Unlock()
	r.Sensor, r.Unit, r.Quality, r.Fault = u.Name, u.Unit, sensors.Bad, err.Error()
	if fault.On(fault.ReadingGuessed) {
		r.Quality, r.Fault = sensors.Good, ""
	}
	u.put(r)
}

// put gives a reading to the board, and tells it where it is news.
func (u *unit) put(r sensors.Reading) {
	now := time.Now()
	u.mu.Lock()
	if r.Quality != sensors.Bad {
		u.last, u.arrived = r, now.Add(-r.Age)
	}
	before := u.quality
	u.quality = r.Quality
	tell := u.news(&r, now)
	if tell {
		u.told = telling{r.Value, r.Quality, now}
	}
	u.mu.Unlock()
	r = u.s.cfg.Board.Put(r)
	if before != r.Quality && u.s.cfg.Changed != nil {
		u.s.cfg.Changed(r, before)
	}
	if tell && u.s.cfg.Tell != nil {
		u.s.stats.told.Add(1)
		u.s.cfg.Tell(r)
	}
}

// news reports whether a reading is worth telling.
func (u *unit) news(r *sensors.Reading, now time.Time) bool {
	switch {
	case u.told.at.IsZero() || r.Quality != u.told.quality:
		return true
	case r.Quality == sensors.Bad:
		return u.Heartbeat > 0 && now.Sub(u.told.at) >= u.Heartbeat
	case u.Change == 0, math.Abs(r.Value-u.told.value) >= u.Change:
		return true
	}
	return u.Heartbeat > 0 && now.Sub(u.told.at) >= u.Heartbeat
}

// expire makes a value stale that is older than it should be: of a bus that
// hangs, or a device that is silent.
func (u *unit) expire(now time.Time) {
	u.mu.Lock()
	age := now.Sub(u.arrived)
	if u.quality != sensors.Good || u.StaleAfter <= 0 || age <= u.StaleAfter || fault.On(fault.StaleIgnored) {
		u.mu.Unlock()
		return
	}
	r := u.last
	u.quality = sensors.Stale
	u.told = telling{r.Value, sensors.Stale, now}
	u.mu.Unlock()
	u.s.stats.stale.Add(1)
	r.Age, r.Quality, r.Fault = age, sensors.Stale, fmt.Sprintf("no reading for %v", age.Round(time.Second))
	u.s.log.Warn("sensor is silent", "sensor", u.Name, "for", age.Round(time.Second))
	r = u.s.cfg.Board.Put(r)
	if u.s.cfg.Changed != nil {
		u.s.cfg.Changed(r, sensors.Good)
	}
	if u.s.cfg.Tell != nil {
		u.s.stats.told.Add(1)
		u.s.cfg.Tell(r)
	}
}

// next is when to read again: on the beat of the schedule, whatever a read
// took, or sooner, with growing pauses, while it fails.
func (u *unit) next(now time.Time) {
	if u.failures > 0 && (!u.Passive || u.source == nil) {
		pause := retryFirst << min(u.failures-1, 10)
		u.due = now.Add(min(pause, retryMost, max(u.Interval, retryFirst)))
		return
	}
	if u.Passive {
		u.due = time.Time{}
		return
	}
	missed := now.Sub(u.due) / u.Interval
	u.due = u.due.Add((missed + 1) * u.Interval)
}
