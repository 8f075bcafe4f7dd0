package sample

import (
	"context"
	"errors"
	"math"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/sensors"
)

// probe is a sensor that a test moves.
type probe struct {
	mu     sync.Mutex
	value  float64
	unit   sensors.Unit
	err    error
	hangs  chan struct{}
	takes  time.Duration
	reads  []time.Time
	opened int
	notify func()
}

func (p *probe) open(_ context.Context, notify func()) (Source, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.opened++
	p.notify = notify
	return p, nil
}

func (p *probe) Close() error { return nil }

// log returns when it was read, and how often it was opened.
func (p *probe) log() ([]time.Time, int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.reads), p.opened
}

// count is how often it was read.
func (p *probe) count() int {
	reads, _ := p.log()
	return len(reads)
}

func (p *probe) set(v float64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.value, p.err = v, err
}

func (p *probe) Read(context.Context) (Sample, error) {
	p.mu.Lock()
	p.reads = append(p.reads, time.Now())
	hangs, takes, got, err := p.hangs, p.takes, Sample{Quantity: sensors.Quantity{Value: p.value, Unit: p.unit}}, p.err
	p.mu.Unlock()
	if hangs != nil {
		<-hangs
	}
	time.Sleep(takes)
	return got, err
}

// rig is a sampler at work inside a bubble.
type rig struct {
	*Sampler
	board *sensors.Board
	told  []sensors.Reading
	mu    sync.Mutex
	moves []string
}

func run(t *testing.T, all ...Sensor) *rig {
	t.Helper()
	r := &rig{board: sensors.NewBoard(time.Now)}
	r.Sampler = New(Config{Board: r.board, Now: time.Now, Tell: func(x sensors.Reading) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.told = append(r.told, x)
	}, Changed: func(x sensors.Reading, before sensors.Quality) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.moves = append(r.moves, x.Sensor+": "+before.String()+" → "+x.Quality.String())
	}}, all)
	r.Start(t.Context())
	return r
}

func (r *rig) tells() (values []float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, x := range r.told {
		values = append(values, x.Value)
	}
	return values
}

func (r *rig) latest(name string) sensors.Reading {
	x, _ := r.board.Latest(name)
	return x
}

func sensor(name, bus string, p *probe) Sensor {
	return Sensor{Info: sensors.Info{Name: name, Unit: p.unit, Interval: 10 * time.Second, StaleAfter: 40 * time.Second}, Bus: bus, Open: p.open}
}

func end(t *testing.T, r *rig) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}

// say notifies.
func (p *probe) say() {
	p.mu.Lock()
	notify := p.notify
	p.mu.Unlock()
	notify()
}

// opened is how often a probe was opened.
func opened(p *probe) int {
	_, n := p.log()
	return n
}

// TestSchedule reads on the beat, whatever a read takes.
func TestSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		p := &probe{takes: 3 * time.Second}
		r := run(t, sensor("a", "I2C1", p))
		time.Sleep(35 * time.Second)
		reads, _ := p.log()
		for i, at := range reads {
			if want := start.Add(time.Duration(i) * 10 * time.Second); !at.Equal(want) {
				t.Errorf("read %d at %v, want %v", i, at.Sub(start), want.Sub(start))
			}
		}
		if p.count() != 4 {
			t.Errorf("%d reads", p.count())
		}
		end(t, r)
	})
}

// TestBusThatHangs has one bus hang: its sensors become stale and are told of,
// the other bus goes on, and Close says who does not answer.
func TestBusThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stuck, well := &probe{value: 1}, &probe{value: 2}
		one, two := sensor("a", "I2C1", stuck), sensor("b", "I2C2", well)
		one.Change, two.Change = 1, 1
		r := run(t, one, two)
		time.Sleep(5 * time.Second)
		stuck.mu.Lock()
		stuck.hangs = make(chan struct{})
		stuck.mu.Unlock()
		time.Sleep(2 * time.Minute)
		a, b := r.latest("a"), r.latest("b")
		if a.Quality != sensors.Stale || a.Value != 1 || a.Age < 2*time.Minute || !strings.Contains(a.Fault, "no reading for") {
			t.Errorf("a: %+v", a)
		}
		if b.Quality != sensors.Good || well.count() != 13 {
			t.Errorf("b: %+v after %d reads", b, well.count())
		}
		if w := r.Busy()["I2C1"]; w.Sensor != "a" || w.For < time.Minute {
			t.Errorf("busy with %+v", w)
		}
		r.mu.Lock()
		if last := r.told[len(r.told)-1]; last.Sensor != "a" || last.Quality != sensors.Stale {
			t.Errorf("told of %+v", last)
		}
		r.mu.Unlock()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Close(ctx); err == nil || !strings.Contains(err.Error(), "sensors on [I2C1] do not answer") {
			t.Error(err)
		}
		close(stuck.hangs)
		end(t, r)
	})
}

// TestFailure sets a sensor that fails up anew, with growing pauses, keeps its
// last value apart, and never makes one up.
func TestFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{value: 5}
		s := sensor("a", "I2C1", p)
		s.Filter.Median = 3
		r := run(t, s)
		time.Sleep(time.Second)
		p.set(7, errors.New("torn off"))
		time.Sleep(9 * time.Second)
		synctest.Wait()
		got := r.latest("a")
		if got.Quality != sensors.Bad || got.Value != 5 || got.Fault != "torn off" || got.Age != 10*time.Second {
			t.Errorf("%+v", got)
		}
		time.Sleep(50 * time.Second)
		var pauses []time.Duration
		reads, opened := p.log()
		for i, at := range reads[2:] {
			pauses = append(pauses, at.Sub(reads[i+1]).Round(time.Second))
		}
		// The first failure is tried again at once; then 1, 2, 4, 8 s, and no
		// longer than the interval.
		for i, want := range []time.Duration{0, 1, 2, 4, 8, 10} {
			if i < len(pauses) && pauses[i] != want*time.Second {
				t.Errorf("pauses %v", pauses)
				break
			}
		}
		if opened != len(reads)-1 {
			t.Errorf("opened %d times for %d reads", opened, len(reads))
		}
		p.set(9, nil)
		time.Sleep(10 * time.Second)
		// The filter does not mix what was before the failure in.
		if got = r.latest("a"); got.Quality != sensors.Good || got.Value != 9 || got.Fault != "" {
			t.Errorf("%+v", got)
		}
		r.mu.Lock()
		if want := "a: unread → good, a: good → bad, a: bad → good"; strings.Join(r.moves, ", ") != want {
			t.Errorf("%v", r.moves)
		}
		r.mu.Unlock()
		end(t, r)
	})
}

// TestNews tells of what moved, of another quality, and by the heartbeat.
func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{value: 20}
		s := sensor("a", "x", p)
		s.Change, s.Heartbeat = 0.5, time.Minute
		r := run(t, s)
		for _, v := range []float64{20.4, 20.2, 20.5, 20.9, 21.0, 21.0} {
			time.Sleep(5 * time.Second)
			p.set(v, nil)
			time.Sleep(5 * time.Second)
		}
		time.Sleep(time.Minute + time.Second)
		if got, want := r.tells(), []float64{20, 20.5, 21, 21}; len(got) != len(want) || got[1] != want[1] || got[2] != want[2] || got[3] != want[3] {
			t.Errorf("told %v, want %v", got, want)
		}
		if st := r.Stats(); st.Good != 1 || st.Told != 4 || st.Readings != 13 {
			t.Errorf("%+v", st)
		}
		end(t, r)
	})
}

// TestPassive reads a source when it notifies, at most as often as it may, and
// lets it grow stale in silence.
func TestPassive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{err: ErrNothing}
		s := sensor("a", "mqtt:a", p)
		s.Passive, s.Interval = true, 100*time.Millisecond
		r := run(t, s)
		time.Sleep(time.Hour)
		if r.latest("a").Quality != sensors.Unread || p.count() != 1 {
			t.Errorf("%+v after %d reads", r.latest("a"), p.count())
		}
		for i := range 1000 {
			p.set(float64(i), nil)
			p.say()
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		if n := p.count(); n < 10 || n > 12 {
			t.Errorf("%d reads in a second", n-1)
		}
		if got := r.latest("a"); got.Value != 999 || got.Quality != sensors.Good {
			t.Errorf("%+v", got)
		}
		time.Sleep(time.Minute)
		if got := r.latest("a"); got.Quality != sensors.Stale || got.Value != 999 {
			t.Errorf("%+v", got)
		}
		p.set(0, errors.New("offline"))
		p.say()
		time.Sleep(time.Hour)
		if got := r.latest("a"); got.Quality != sensors.Bad || opened(p) != 1 {
			t.Errorf("%+v, opened %d times", got, opened(p))
		}
		end(t, r)
	})
}

func TestReadNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &probe{value: 1}
		r := run(t, sensor("a", "x", p))
		time.Sleep(time.Second)
		p.set(2, nil)
		if got, err := r.ReadNow(t.Context(), "a"); err != nil || got.Value != 2 {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := r.ReadNow(t.Context(), "b"); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		time.Sleep(9*time.Second + time.Millisecond)
		if p.count() != 3 {
			t.Errorf("%d reads: the beat was moved", p.count())
		}
		end(t, r)
	})
}

func TestValue(t *testing.T) {
	low, high := 0.0, 60.0
	soil := Sensor{
		Info: sensors.Info{Unit: sensors.Percent}, Min: &low, Max: &high,
		Calibration: &Calibration{Unit: sensors.Volt, From: []float64{1.2, 2.0, 2.8}, To: []float64{50, 30, 0}},
	}
	for _, c := range []struct {
		q     sensors.Quantity
		want  float64
		fault string
	}{
		{q: sensors.Quantity{Value: 1.2, Unit: sensors.Volt}, want: 50},
		{q: sensors.Quantity{Value: 1600, Unit: sensors.Millivolt}, want: 40},
		{q: sensors.Quantity{Value: 2.4, Unit: sensors.Volt}, want: 15},
		{q: sensors.Quantity{Value: 1.0, Unit: sensors.Volt}, want: 55}, // the line goes on
		{q: sensors.Quantity{Value: 3.0, Unit: sensors.Volt}, fault: "-7.5"},
		{q: sensors.Quantity{Value: 0.5, Unit: sensors.Volt}, fault: "above max, 60 %"},
		{q: sensors.Quantity{Value: 1, Unit: sensors.Celsius}, fault: "calibrate.from: °C"},
		{q: sensors.Quantity{Value: math.NaN(), Unit: sensors.Volt}, fault: "NaN"},
	} {
		got, err := soil.value(c.q)
		switch {
		case c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)):
			t.Errorf("%v: %v, %v; want %s", c.q, got, err, c.fault)
		case c.fault == "" && (err != nil || math.Abs(got-c.want) > 1e-9):
			t.Errorf("%v: %v, %v; want %v", c.q, got, err, c.want)
		}
	}
	clamped := Calibration{From: []float64{1, 2}, To: []float64{100, 0}, Clamp: true}
	if clamped.Apply(0) != 100 || clamped.Apply(5) != 0 || clamped.Apply(1.5) != 50 {
		t.Error("clamp")
	}
	plain := Sensor{Info: sensors.Info{Unit: "°F"}}
	if v, err := plain.value(sensors.Quantity{Value: 20, Unit: sensors.Celsius}); err != nil || math.Abs(v-68) > 1e-9 {
		t.Errorf("%v, %v", v, err)
	}
}

func TestFilters(t *testing.T) {
	for _, c := range []struct {
		f    Filter
		want []float64
	}{
		{Filter{}, []float64{1, 9, 2, 3, 100, 4}},
		{Filter{Median: 3}, []float64{1, 5, 2, 3, 3, 4}},
		{Filter{Average: 2}, []float64{1, 5, 5.5, 2.5, 51.5, 52}},
	} {
		w := window{filter: c.f}
		for i, v := range []float64{1, 9, 2, 3, 100, 4} {
			if got := w.add(v); got != c.want[i] {
				t.Errorf("%+v, value %d: %v, want %v", c.f, i, got, c.want[i])
			}
		}
	}
}

// TestSeededFaults shows that TestFailure and TestBusThatHangs catch what they
// are there for.
func TestSeededFaults(t *testing.T) {
	if !fault.Seeded {
		t.Skip("needs -tags seededfaults")
	}
	for f, want := range map[fault.Fault]string{fault.ReadingGuessed: "Quality:good", fault.StaleIgnored: "Quality:good"} {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^(TestFailure|TestBusThatHangs)$")
		cmd.Env = append(os.Environ(), "HEADGATE_FAULT="+string(f))
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s was not caught: %v\n%s", f, err, out)
		}
	}
}
