package periphio

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// Digital is a contact on a pin: a float switch, a door, a rain sensor. Its
// value is 1 while it is active, else 0; it is read when it changes, and at its
// interval besides.
type Digital struct {
	// GPIO is the line: GPIO17, or gpiochip0/17.
	GPIO string `yaml:"gpio"`
	// Active is high (the default) or low: the level that counts as 1.
	Active string `yaml:"active"`
	// Pull is the resistor: up, down or none; left out it is what the board has.
	Pull string `yaml:"pull"`
	// Debounce is how long a level must hold to count.
	Debounce function.Duration `yaml:"debounce"`
}

// lineConfig turns the words of a configuration into a request.
func lineConfig(active, pull string, debounce function.Duration) LineConfig {
	return LineConfig{
		ActiveLow: active == activeLow, Pull: pulls[pull], DebounceMicros: uint32(debounce.Std() / time.Microsecond),
	}
}

// Words for the level that counts as active.
const (
	activeHigh = "high"
	activeLow  = "low"
)

var pulls = map[string]Pull{"": PullAsIs, "up": PullUp, "down": PullDown, "none": PullNone}

const maxDebounce = 10 * time.Second

func validateLine(add func(string, ...any), gpio, active, pull string, debounce function.Duration) {
	if gpio == "" {
		add("is missing: name the line, such as GPIO17 or gpiochip0/17; headgate sensor scan lists them", "gpio")
	}
	if active != "" && active != activeHigh && active != activeLow {
		add(fmt.Sprintf("%q must be high or low: the level that counts as 1", active), "active")
	}
	if _, ok := pulls[pull]; !ok {
		add(fmt.Sprintf("%q must be up, down or none", pull), "pull")
	}
	if debounce.Std() > maxDebounce {
		add(fmt.Sprintf("%v is more than %v", debounce, maxDebounce), "debounce")
	}
}

// Validate implements sample.Driver.
func (d *Digital) Validate(add func(string, ...any)) {
	validateLine(add, d.GPIO, d.Active, d.Pull, d.Debounce)
}

// Describe implements sample.Driver.
func (d *Digital) Describe() sample.Description {
	return sample.Description{Unit: sensors.Switch, Measures: "contact", Interval: time.Minute}
}

// Opener implements Driver.
func (d *Digital) Opener(h *Host) sample.Opener {
	return func(_ context.Context, notify func()) (sample.Source, error) {
		cfg := lineConfig(d.Active, d.Pull, d.Debounce)
		cfg.Rising, cfg.Falling = true, true
		line, err := h.Request(d.GPIO, cfg)
		if err != nil {
			return nil, err
		}
		c := &contact{line: line}
		c.done.Go(func() { c.watch(notify) })
		return c, nil
	}
}

type contact struct {
	line Line
	done sync.WaitGroup

	mu  sync.Mutex // guards err
	err error      // why edges are no longer seen
}

// watch notifies of every edge until the line is closed.
func (c *contact) watch(notify func()) {
	for {
		if _, err := c.line.Next(time.Time{}); err != nil {
			if !errors.Is(err, os.ErrClosed) {
				c.mu.Lock()
				c.err = err
				c.mu.Unlock()
				notify()
			}
			return
		}
		notify()
	}
}

func (c *contact) Close() error {
	err := c.line.Close()
	c.done.Wait()
	return err
}

// Read returns the level.
func (c *contact) Read(context.Context) (sample.Sample, error) {
	c.mu.Lock()
	err := c.err
	c.mu.Unlock()
	if err != nil {
		return sample.Sample{}, fmt.Errorf("wait for its edges: %w", err)
	}
	active, err := c.line.Get()
	if err != nil {
		return sample.Sample{}, err
	}
	v := 0.0
	if active {
		v = 1
	}
	return sample.Sample{Quantity: sensors.Quantity{Value: v, Unit: sensors.Switch}}, nil
}
