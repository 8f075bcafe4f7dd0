package periphio

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"periph.io/x/conn/v3/i2c"
	"periph.io/x/host/v3/sysfs"
)

// Options configure a Host. Zero fields take the defaults named beside them.
type Options struct {
	// Dev and Sys are where devices and their description are (/dev, /sys).
	Dev, Sys string
	// Consumer is the name under which lines are held; gpioinfo shows it
	// (headgate). The kernel keeps 31 bytes.
	Consumer string
	// Kernel opens GPIO chips (Linux).
	Kernel Kernel
	// OpenI2C opens an I²C bus by its number (/dev/i2c-N, by periph).
	OpenI2C func(number int) (i2c.BusCloser, error)
	// Memory keeps the totals of pulses across restarts; nil forgets them.
	Memory Memory
	// Logger may be nil.
	Logger *slog.Logger
}

// Kernel opens GPIO chips. Linux is the real one.
type Kernel interface {
	OpenChip(path string) (ChipDevice, error)
}

// ChipDevice is an open GPIO chip.
type ChipDevice interface {
	// Info describes the chip; Line one of its lines, as it is now.
	Info() (ChipInfo, error)
	Line(offset int) (LineInfo, error)
	// Request takes a line for this process, configured in the same step, so
	// that an output never has another level than the one asked for.
	Request(offset int, consumer string, c LineConfig) (Line, error)
	Close() error
}

// ChipInfo describes a GPIO chip.
type ChipInfo struct {
	// Name is the kernel's (gpiochip0), which may change from start to start;
	// Label is that of its driver or place (pinctrl-bcm2835), which does not.
	Name, Label string
	Lines       int
}

// LineInfo describes a line.
type LineInfo struct {
	Chip   string
	Offset int
	// Name is the board's name of it (GPIO17), often none.
	Name string
	// Used is true while somebody holds it, and Consumer who.
	Used     bool
	Consumer string
	Output   bool
}

// Pull is the resistor that a line is given.
type Pull uint8

// Pulls. PullAsIs leaves what the board has.
const (
	PullAsIs Pull = iota
	PullUp
	PullDown
	PullNone
)

// LineConfig is how a line is requested.
type LineConfig struct {
	// ActiveLow makes active mean a low level, in all that follows.
	ActiveLow bool
	// Output makes it an output, which is Initial from the first moment on.
	Output, Initial bool
	// Pull, and which edges Next reports: to active (Rising), to inactive
	// (Falling). They are for inputs.
	Pull            Pull
	Rising, Falling bool
	// DebounceMicros is how long a level must hold to count, in µs. The kernel
	// does it, with a timer where the chip cannot.
	DebounceMicros uint32
}

// Host is the board. Its methods are safe for concurrent use.
type Host struct {
	opt      Options
	log      *slog.Logger
	counters counters

	mu     sync.Mutex // guards what follows; never held across a request
	chips  []*chip
	faults []error // why chips could not be opened
	closed bool
}

// chip is an open chip with the names of its lines.
type chip struct {
	path string
	dev  ChipDevice
	info ChipInfo
	// names is the board's name of each line, or empty.
	names []string
}

// Open finds the board's GPIO chips. A board without any is not an error:
// asking for a line is.
func Open(o Options) (*Host, error) {
	if o.Dev == "" {
		o.Dev = "/dev"
	}
	if o.Sys == "" {
		o.Sys = "/sys"
	}
	if o.Consumer == "" {
		o.Consumer = "headgate"
	}
	if o.Kernel == nil {
		o.Kernel = Linux()
	}
	if o.OpenI2C == nil {
		o.OpenI2C = openI2C(o.Dev)
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Host{opt: o, log: o.Logger}
	paths, err := filepath.Glob(filepath.Join(o.Dev, "gpiochip*"))
	if err != nil {
		return nil, fmt.Errorf("find GPIO chips below %s: %w", o.Dev, err)
	}
	slices.SortFunc(paths, byNumber)
	for _, path := range paths {
		c, err := h.openChip(path)
		if err != nil {
			h.faults = append(h.faults, err)
			h.log.Warn("GPIO chip", "path", path, "error", err)
			continue
		}
		// A second device file of a chip, such as the gpiochip4 that older
		// programs look for on a Raspberry Pi 5, is not a second chip.
		if slices.ContainsFunc(h.chips, func(x *chip) bool { return x.info.Name == c.info.Name }) {
			_ = c.dev.Close()
			continue
		}
		h.chips = append(h.chips, c)
	}
	return h, nil
}

// byNumber sorts gpiochip2 before gpiochip10.
func byNumber(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

func (h *Host) openChip(path string) (_ *chip, err error) {
	dev, err := h.opt.Kernel.OpenChip(path)
	if err != nil {
		return nil, hint(path, err)
	}
	defer func() {
		if err != nil {
			_ = dev.Close()
		}
	}()
	c := &chip{path: path, dev: dev}
	if c.info, err = dev.Info(); err != nil {
		return nil, fmt.Errorf("ask %s what it is: %w", path, err)
	}
	for i := range c.info.Lines {
		l, err := dev.Line(i)
		if err != nil {
			return nil, fmt.Errorf("ask %s about line %d: %w", path, i, err)
		}
		c.names = append(c.names, l.Name)
	}
	return c, nil
}

// hint adds what to do to an error of opening a device.
func hint(path string, err error) error {
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("open %s: %w; put the gateway's user into the group that owns it (ls -l %s), or run it as root", path, err, path)
	}
	return fmt.Errorf("open %s: %w", path, err)
}

// Close gives the chips back. Lines that were requested stay until they are
// closed themselves.
func (h *Host) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var errs []error
	for _, c := range h.chips {
		errs = append(errs, c.dev.Close())
	}
	h.chips = nil
	return errors.Join(errs...)
}

// Chips describes the chips that are there.
func (h *Host) Chips() []ChipInfo {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []ChipInfo
	for _, c := range h.chips {
		out = append(out, c.info)
	}
	return out
}

// Lines describes all lines of all chips as they are now.
func (h *Host) Lines() ([]LineInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []LineInfo
	for _, c := range h.chips {
		for i := range c.info.Lines {
			l, err := c.dev.Line(i)
			if err != nil {
				return out, fmt.Errorf("ask %s about line %d: %w", c.path, i, err)
			}
			l.Chip, l.Offset = c.info.Name, i
			out = append(out, l)
		}
	}
	return out, nil
}

// Find returns the line of a name: the board's own (GPIO17), or a chip and the
// number of a line on it, as the kernel's character device counts them. The
// chip is called by its name or its label: gpiochip0/3, pinctrl-rp1/17.
func (h *Host) Find(name string) (LineInfo, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	c, offset, err := h.find(name)
	if err != nil {
		return LineInfo{}, err
	}
	l, err := c.dev.Line(offset)
	if err != nil {
		return LineInfo{}, fmt.Errorf("ask %s about line %d: %w", c.path, offset, err)
	}
	l.Chip, l.Offset = c.info.Name, offset
	return l, nil
}

func (h *Host) find(name string) (*chip, int, error) {
	if h.closed {
		return nil, 0, fmt.Errorf("GPIO line %s: %w", name, os.ErrClosed)
	}
	if len(h.chips) == 0 {
		return nil, 0, fmt.Errorf("GPIO line %s: %w", name, h.noChips())
	}
	if place, number, ok := strings.Cut(name, "/"); ok {
		return h.findByNumber(name, place, number)
	}
	var found *chip
	var offset int
	for _, c := range h.chips {
		i := slices.Index(c.names, name)
		if i < 0 || name == "" {
			continue
		}
		if found != nil {
			return nil, 0, fmt.Errorf("GPIO line %s is on %s and on %s: say %s/%d or %s/%d",
				name, found.info.Name, c.info.Name, found.info.Label, offset, c.info.Label, i)
		}
		found, offset = c, i
	}
	if found == nil {
		return nil, 0, fmt.Errorf("no GPIO line is called %q; there are %s; name a line by its chip and number, such as %s/3, or see headgate sensor scan",
			name, h.describe(), h.chips[0].info.Name)
	}
	return found, offset, nil
}

func (h *Host) findByNumber(name, place, number string) (*chip, int, error) {
	i := slices.IndexFunc(h.chips, func(c *chip) bool { return c.info.Name == place || filepath.Base(c.path) == place })
	if i < 0 {
		i = slices.IndexFunc(h.chips, func(c *chip) bool { return c.info.Label == place })
	}
	if i < 0 {
		return nil, 0, fmt.Errorf("GPIO line %s: there is no chip %s; there are %s", name, place, h.describe())
	}
	c := h.chips[i]
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= c.info.Lines {
		return nil, 0, fmt.Errorf("GPIO line %s: %s has the lines 0 to %d", name, place, c.info.Lines-1)
	}
	return c, n, nil
}

// noChips says why there are none.
func (h *Host) noChips() error {
	if len(h.faults) > 0 {
		return fmt.Errorf("no GPIO chip can be used: %w", errors.Join(h.faults...))
	}
	return fmt.Errorf("there is no %s: this machine has no GPIO chips, or its kernel lacks CONFIG_GPIO_CDEV", filepath.Join(h.opt.Dev, "gpiochip0"))
}

// describe lists the chips for an error.
func (h *Host) describe() string {
	var parts []string
	for _, c := range h.chips {
		named := 0
		for _, n := range c.names {
			if n != "" {
				named++
			}
		}
		parts = append(parts, fmt.Sprintf("%s (%s, %d lines, %d of them named)", c.info.Name, c.info.Label, c.info.Lines, named))
	}
	return strings.Join(parts, ", ")
}

// Request takes the line of a name for this process.
func (h *Host) Request(name string, c LineConfig) (Line, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	on, offset, err := h.find(name)
	if err != nil {
		return nil, err
	}
	l, err := on.dev.Request(offset, h.opt.Consumer, c)
	if err == nil {
		return l, nil
	}
	if info, infoErr := on.dev.Line(offset); infoErr == nil && info.Used {
		return nil, fmt.Errorf("GPIO line %s (%s/%d) is held by %s: %w", name, on.info.Name, offset, orUnknown(info.Consumer), err)
	}
	return nil, fmt.Errorf("request GPIO line %s (%s/%d): %w", name, on.info.Name, offset, err)
}

func orUnknown(s string) string {
	if s == "" {
		return "the kernel"
	}
	return s
}

// I2C opens the I²C bus of a name: I2C1, i2c-1 or 1 for /dev/i2c-1. The caller
// closes it.
func (h *Host) I2C(name string) (i2c.BusCloser, error) {
	n, err := BusNumber(name)
	if err != nil {
		return nil, err
	}
	bus, err := h.opt.OpenI2C(n)
	if err == nil {
		return bus, nil
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("I²C bus %s: there is no %s; switch it on (raspi-config, or dtparam=i2c_arm=on in config.txt) and load i2c-dev",
			name, filepath.Join(h.opt.Dev, "i2c-"+strconv.Itoa(n)))
	}
	return nil, hint("I²C bus "+name, err)
}

// BusNumber returns the number of an I²C bus by its name.
func BusNumber(name string) (int, error) {
	s := strings.ToLower(name)
	s = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s, "/dev/"), "i2c"), "-")
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 255 {
		return 0, fmt.Errorf("I²C bus %q: want I2C1 for /dev/i2c-1", name)
	}
	return n, nil
}

func openI2C(dev string) func(int) (i2c.BusCloser, error) {
	return func(n int) (i2c.BusCloser, error) {
		// periph opens /dev/i2c-N and loses the kind of error there is.
		f, err := os.OpenFile(filepath.Join(dev, "i2c-"+strconv.Itoa(n)), os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
		return sysfs.NewI2C(n)
	}
}
