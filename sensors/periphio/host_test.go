package periphio_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/periphio/pintest"
)

// board has a Raspberry Pi's chip with names and, as QEMU's virt machine has, a
// PL061 without.
func board(t *testing.T) (*periphio.Host, *pintest.Chip, *pintest.Chip) {
	t.Helper()
	dev, k := t.TempDir(), pintest.NewKernel()
	pi, err := k.AddChip(dev, "gpiochip0", "pinctrl-bcm2835", "ID_SDA", "ID_SCL", "GPIO2", "GPIO3", "GPIO4")
	if err != nil {
		t.Fatal(err)
	}
	pl, err := k.AddChip(dev, "gpiochip10", "9030000.pl061", "", "", "", "", "", "", "", "")
	if err != nil {
		t.Fatal(err)
	}
	h, err := periphio.Open(periphio.Options{Dev: dev, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, pi, pl
}

func TestFind(t *testing.T) {
	h, _, _ := board(t)
	for name, want := range map[string]periphio.LineInfo{
		"GPIO4":             {Chip: "gpiochip0", Offset: 4, Name: "GPIO4"},
		"gpiochip10/3":      {Chip: "gpiochip10", Offset: 3},
		"9030000.pl061/7":   {Chip: "gpiochip10", Offset: 7},
		"pinctrl-bcm2835/2": {Chip: "gpiochip0", Offset: 2, Name: "GPIO2"},
	} {
		if got, err := h.Find(name); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, want := range map[string]string{
		"GPIO17":       `no GPIO line is called "GPIO17"; there are gpiochip0 (pinctrl-bcm2835, 5 lines, 5 of them named), gpiochip10 (9030000.pl061, 8 lines, 0 of them named); name a line by its chip and number, such as gpiochip0/3`,
		"":             `no GPIO line is called ""`,
		"gpiochip10/8": "gpiochip10 has the lines 0 to 7",
		"gpiochip10/x": "gpiochip10 has the lines 0 to 7",
		"gpiochip3/0":  "there is no chip gpiochip3",
	} {
		if got, err := h.Find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %s", name, got, err, want)
		}
	}
}

func TestNoChips(t *testing.T) {
	dev := t.TempDir()
	h, err := periphio.Open(periphio.Options{Dev: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }()
	_, err = h.Request("GPIO17", periphio.LineConfig{})
	if err == nil || !strings.Contains(err.Error(), "there is no "+dev+"/gpiochip0: this machine has no GPIO chips") {
		t.Error(err)
	}
	// A file that is no chip, through the real kernel.
	if err := os.WriteFile(filepath.Join(dev, "gpiochip0"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h2, err := periphio.Open(periphio.Options{Dev: dev})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h2.Close() }()
	if _, err = h2.Find("GPIO17"); err == nil || !strings.Contains(err.Error(), "no GPIO chip can be used: ask "+dev+"/gpiochip0 what it is") {
		t.Error(err)
	}
	if _, err = h.I2C("I2C1"); err == nil || !strings.Contains(err.Error(), "there is no "+dev+"/i2c-1; switch it on") {
		t.Error(err)
	}
	if _, err = h.I2C("SPI0"); err == nil {
		t.Error("SPI0 is an I²C bus")
	}
}

// TestOutputStartsAtItsLevel is why lines are configured as they are requested:
// a relay that is active low must not click when the gateway starts.
func TestOutputStartsAtItsLevel(t *testing.T) {
	h, pi, _ := board(t)
	l, err := h.Request("GPIO4", periphio.LineConfig{Output: true, ActiveLow: true})
	if err != nil {
		t.Fatal(err)
	}
	pin := pi.Pin(4)
	if err := l.Set(true); err != nil {
		t.Fatal(err)
	}
	if on, err := l.Get(); err != nil || !on || pin.High() {
		t.Errorf("active %v (%v), high %v", on, err, pin.High())
	}
	if h := pin.History(); len(h) != 2 || !h[0] || h[1] {
		t.Errorf("levels %v, want high, then low", h)
	}
	_, err = h.Request("gpiochip0/4", periphio.LineConfig{})
	if err == nil || !strings.Contains(err.Error(), "GPIO line gpiochip0/4 (gpiochip0/4) is held by headgate") {
		t.Errorf("a held line: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Request("gpiochip0/4", periphio.LineConfig{}); err != nil {
		t.Errorf("after its close: %v", err)
	}
}

func TestEdges(t *testing.T) {
	h, _, pl := board(t)
	l, err := h.Request("gpiochip10/5", periphio.LineConfig{Rising: true, Pull: periphio.PullUp})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		pl.Pin(5).Drive(true)
		pl.Pin(5).Drive(false)
	}
	for i := range uint32(3) {
		if e, err := l.Next(time.Time{}); err != nil || !e.Active || e.Sequence != i+1 {
			t.Errorf("edge %d: %+v, %v", i, e, err)
		}
	}
	if _, err := l.Next(time.Now()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no edge: %v", err)
	}
	ended := make(chan error)
	go func() { _, err := l.Next(time.Time{}); ended <- err }()
	_ = l.Close()
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
