package periphio_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/periphio/pintest"
	"github.com/headgate-io/headgate/sensors/sample"
)

// onePin is a host with one line, called GPIO24.
func onePin(t *testing.T, memory periphio.Memory) (*periphio.Host, *pintest.Pin) {
	t.Helper()
	dev, k := t.TempDir(), pintest.NewKernel()
	chip, err := k.AddChip(dev, "gpiochip0", "test", "GPIO24")
	if err != nil {
		t.Fatal(err)
	}
	h, err := periphio.Open(periphio.Options{Dev: dev, Kernel: k, Memory: memory})
	if err != nil {
		t.Fatal(err)
	}
	return h, chip.Pin(0)
}

func open(t *testing.T, h *periphio.Host, d periphio.Driver, notify func()) sample.Source {
	t.Helper()
	src, err := d.Opener(h)(t.Context(), notify)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func value(t *testing.T, src sample.Source) sensors.Quantity {
	t.Helper()
	got, err := src.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return got.Quantity
}

func TestDigital(t *testing.T) {
	h, pin := onePin(t, nil)
	pin.Drive(true)
	told := make(chan struct{}, 10)
	src := open(t, h, &periphio.Digital{GPIO: "GPIO24", Active: "low", Pull: "up", Debounce: function.Duration(20 * time.Millisecond)}, func() { told <- struct{}{} })
	cfg, held := pin.Held()
	if want := (periphio.LineConfig{ActiveLow: true, Pull: periphio.PullUp, Rising: true, Falling: true, DebounceMicros: 20_000}); !held || cfg != want {
		t.Errorf("requested %+v, want %+v", cfg, want)
	}
	for _, high := range []bool{true, false, true} {
		if pin.High() != high {
			pin.Drive(high)
			<-told
		}
		if got := value(t, src); (got.Value == 1) == high || got.Unit != sensors.Switch {
			t.Errorf("high %v is %v", high, got)
		}
	}
	// A line that fails is never a level.
	pin.Fail(errors.New("torn off"))
	if got, err := src.Read(t.Context()); err == nil {
		t.Errorf("a broken line is %v", got)
	}
	if err := src.Close(); err != nil {
		t.Error(err)
	}
	if _, held := pin.Held(); held {
		t.Error("the line is held after its close")
	}
}

// memory keeps counts in a test.
type memory struct {
	mu   sync.Mutex
	kept map[string][]byte
	err  error
	sets int
}

func (m *memory) Meta(_ context.Context, key string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.kept[key], nil
}

func (m *memory) SetMeta(_ context.Context, key string, v []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	m.sets++
	if m.kept == nil {
		m.kept = map[string][]byte{}
	}
	m.kept[key] = v
	return nil
}

// TestFlow runs water through a meter with 450 pulses to the litre.
func TestFlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		h, pin := onePin(t, m)
		pulses := func(n int, every time.Duration) {
			for range n {
				pin.Drive(true)
				pin.Drive(false)
				time.Sleep(every)
			}
			synctest.Wait()
		}
		rate := open(t, h, &periphio.Pulse{GPIO: "GPIO24", PerLitre: 450}, nil)
		total := open(t, h, &periphio.Pulse{GPIO: "gpiochip0/0", PerLitre: 450, Measure: "total"}, nil)
		near := func(what string, src sample.Source, want float64) {
			t.Helper()
			if got := value(t, src); math.Abs(got.Value-want) > 0.01*max(1, want) {
				t.Errorf("%s: %v, want %v", what, got, want)
			}
		}
		near("at rest", rate, 0)
		pulses(1, time.Second)
		near("one pulse", rate, 0)
		time.Sleep(10 * time.Second)
		// 15 a second are 2 l/min, whenever it is asked.
		pulses(30, time.Second/15)
		near("2 l/min after a rest", rate, 2)
		pulses(37, time.Second/15)
		near("2 l/min", rate, 2)
		pulses(90, time.Second/30)
		time.Sleep(time.Second)
		if got := value(t, rate); got.Value > 60.0/450+0.001 {
			t.Errorf("a second after the last pulse the rate is still %v", got)
		}
		time.Sleep(5 * time.Second)
		near("stopped", rate, 0)
		near("158 pulses", total, 158.0/450)
		if m.sets != 0 {
			t.Errorf("written %d times within a minute", m.sets)
		}
		time.Sleep(time.Minute)
		near("still", total, 158.0/450)
		if m.sets != 1 {
			t.Errorf("written %d times after a minute, want 1", m.sets)
		}
		if err := errors.Join(rate.Close(), total.Close()); err != nil {
			t.Fatal(err)
		}
		again := open(t, h, &periphio.Pulse{GPIO: "GPIO24", Measure: "total"}, nil)
		near("after a restart", again, 158)
		pulses(2, time.Millisecond)
		near("and two more", again, 160)
		pin.Lose(10)
		pulses(1, time.Millisecond)
		near("and eleven, ten of them lost", again, 171)
		m.mu.Lock()
		m.err = errors.New("disk full")
		m.mu.Unlock()
		time.Sleep(time.Minute)
		value(t, again)
		if got, _ := again.Read(t.Context()); !strings.Contains(got.Warning, "the total is not kept: disk full") || got.Value != 171 {
			t.Errorf("%+v", got)
		}
		_ = again.Close()
	})
}

// TestCountersShare refuses two opinions of one line.
func TestCountersShare(t *testing.T) {
	h, _ := onePin(t, nil)
	one := open(t, h, &periphio.Pulse{GPIO: "GPIO24", Active: "low"}, nil)
	defer func() { _ = one.Close() }()
	_, err := (&periphio.Pulse{GPIO: "GPIO24", Measure: "total"}).Opener(h)(t.Context(), nil)
	if err == nil || !strings.Contains(err.Error(), "give both sensors the same") {
		t.Error(err)
	}
}
