// Package pintest simulates GPIO chips for tests: a Kernel whose lines a test
// moves and looks at.
package pintest

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/headgate-io/headgate/sensors/periphio"
)

// Kernel has chips that a test made. Its methods are safe for concurrent use.
type Kernel struct {
	// Now is the kernel's clock, by which edges are stamped; nil is the time
	// since NewKernel.
	Now func() time.Duration

	start time.Time
	mu    sync.Mutex
	chips map[string]*Chip // by path
}

var _ periphio.Kernel = (*Kernel)(nil)

// NewKernel returns a Kernel without chips.
func NewKernel() *Kernel { return &Kernel{start: time.Now(), chips: make(map[string]*Chip)} }

func (k *Kernel) now() time.Duration {
	if k.Now != nil {
		return k.Now()
	}
	return time.Since(k.start)
}

// Chip is a simulated chip.
type Chip struct {
	name, label string
	lines       []*Pin
}

// AddChip makes a chip with lines of the given names, some of which may be
// empty, and its file below dev, so that it is found there.
func (k *Kernel) AddChip(dev, name, label string, lines ...string) (*Chip, error) {
	c := &Chip{name: name, label: label}
	for _, l := range lines {
		c.lines = append(c.lines, &Pin{kernel: k, name: l})
	}
	path := filepath.Join(dev, name)
	k.mu.Lock()
	defer k.mu.Unlock()
	k.chips[path] = c
	return c, os.WriteFile(path, nil, 0o600)
}

// Pin returns the line of a number.
func (c *Chip) Pin(offset int) *Pin { return c.lines[offset] }

// OpenChip implements periphio.Kernel.
func (k *Kernel) OpenChip(path string) (periphio.ChipDevice, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.chips[path]
	if c == nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	return device{c}, nil
}

type device struct{ c *Chip }

func (device) Close() error { return nil }

func (d device) Info() (periphio.ChipInfo, error) {
	return periphio.ChipInfo{Name: d.c.name, Label: d.c.label, Lines: len(d.c.lines)}, nil
}

func (d device) Line(offset int) (periphio.LineInfo, error) {
	p := d.c.lines[offset]
	p.mu.Lock()
	defer p.mu.Unlock()
	return periphio.LineInfo{
		Offset: offset, Name: p.name, Used: p.held != nil, Consumer: p.consumer, Output: p.held != nil && p.held.cfg.Output,
	}, nil
}

func (d device) Request(offset int, consumer string, cfg periphio.LineConfig) (periphio.Line, error) {
	p := d.c.lines[offset]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil || p.consumer != "" {
		return nil, syscall.EBUSY
	}
	l := &line{pin: p, cfg: cfg, changed: make(chan struct{})}
	p.held, p.consumer = l, consumer
	if cfg.Output {
		p.move(cfg.Initial != cfg.ActiveLow)
	}
	return l, nil
}

// Pin is one simulated line, as an oscilloscope sees it: high or low.
type Pin struct {
	kernel *Kernel
	name   string

	mu       sync.Mutex // guards all below, and the line that holds the pin
	consumer string
	held     *line
	high     bool
	fault    error
	history  []bool // levels it was moved to, the newest 1024
}

const maxHistory = 1024

// TakenBy makes the line held by somebody else.
func (p *Pin) TakenBy(consumer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.consumer = consumer
}

// Drive gives the line a level from outside.
func (p *Pin) Drive(high bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.move(high)
}

// Fail makes reads and writes answer err until it is nil.
func (p *Pin) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = err
}

// Lose has n edges come that the kernel has no room to keep: it counts them.
func (p *Pin) Lose(n uint32) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held != nil {
		p.held.sequence += n
	}
}

// High reports the level.
func (p *Pin) High() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.high
}

// Held reports how the line is requested; false when it is not.
func (p *Pin) Held() (periphio.LineConfig, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held == nil {
		return periphio.LineConfig{}, false
	}
	return p.held.cfg, true
}

// History returns the levels the line was moved to, oldest first.
func (p *Pin) History() []bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]bool(nil), p.history...)
}

func (p *Pin) move(high bool) {
	if len(p.history) > 0 && p.high == high {
		return
	}
	changed := p.high != high
	p.high = high
	p.history = append(p.history, high)
	if len(p.history) > maxHistory {
		p.history = p.history[1:]
	}
	if changed && p.held != nil {
		p.held.edge(high != p.held.cfg.ActiveLow)
	}
}

// line is a request of a pin; the pin's mutex guards it.
type line struct {
	pin      *Pin
	cfg      periphio.LineConfig
	edges    []periphio.Edge
	sequence uint32
	changed  chan struct{} // closed and replaced with every edge
	closed   bool
}

var _ periphio.Line = (*line)(nil)

func (l *line) edge(active bool) {
	if active && !l.cfg.Rising || !active && !l.cfg.Falling {
		return
	}
	l.sequence++
	l.edges = append(l.edges, periphio.Edge{Active: active, At: l.pin.kernel.now(), Sequence: l.sequence})
	l.wake()
}

func (l *line) wake() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *line) usable() error {
	if l.closed {
		return os.ErrClosed
	}
	return l.pin.fault
}

func (l *line) Get() (bool, error) {
	l.pin.mu.Lock()
	defer l.pin.mu.Unlock()
	return l.pin.high != l.cfg.ActiveLow, l.usable()
}

func (l *line) Set(active bool) error {
	l.pin.mu.Lock()
	defer l.pin.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	if !l.cfg.Output {
		return fmt.Errorf("set: %w", syscall.EPERM)
	}
	l.pin.move(active != l.cfg.ActiveLow)
	return nil
}

func (l *line) Next(deadline time.Time) (periphio.Edge, error) {
	var expired <-chan time.Time
	if !deadline.IsZero() {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		expired = t.C
	}
	for {
		l.pin.mu.Lock()
		changed, err := l.changed, l.usable()
		if err == nil && len(l.edges) > 0 {
			e := l.edges[0]
			l.edges = l.edges[1:]
			l.pin.mu.Unlock()
			return e, nil
		}
		l.pin.mu.Unlock()
		if err != nil {
			return periphio.Edge{}, err
		}
		select {
		case <-changed:
		case <-expired:
			return periphio.Edge{}, os.ErrDeadlineExceeded
		}
	}
}

func (l *line) Close() error {
	l.pin.mu.Lock()
	defer l.pin.mu.Unlock()
	if l.closed {
		return os.ErrClosed
	}
	l.closed = true
	if l.pin.held == l {
		l.pin.held, l.pin.consumer = nil, ""
	}
	l.wake()
	return nil
}
