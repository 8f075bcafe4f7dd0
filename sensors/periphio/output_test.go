package periphio_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/sensors/periphio"
	"github.com/headgate-io/headgate/sensors/periphio/pintest"
)

func TestOutputIsInactiveFromTheFirstMoment(t *testing.T) {
	dev := t.TempDir()
	k := pintest.NewKernel()
	chip, err := k.AddChip(dev, "gpiochip0", "pinctrl-test", "", "GPIO1")
	if err != nil {
		t.Fatal(err)
	}
	h, err := periphio.Open(periphio.Options{Dev: dev, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }() // nothing is written
	for _, low := range []bool{false, true} {
		pin := chip.Pin(1)
		o, err := h.Output("GPIO1", low)
		if err != nil {
			t.Fatal(err)
		}
		if pin.High() != low {
			t.Errorf("active low %v: the level is high %v at first", low, pin.High())
		}
		if err := o.Set(1); err != nil {
			t.Fatal(err)
		}
		if pin.High() == low {
			t.Errorf("active low %v: switched on, the level is high %v", low, pin.High())
		}
		if err := o.Set(0); err != nil || pin.High() != low {
			t.Errorf("active low %v: switched off, the level is high %v: %v", low, pin.High(), err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPWM drives the files of sysfs, as Documentation/driver-api/pwm.rst has
// them.
func TestPWM(t *testing.T) {
	sys := t.TempDir()
	dir := filepath.Join(sys, "class", "pwm", "pwmchip0", "pwm1")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"enable", "duty_cycle", "period", "polarity"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	says := func(file, want string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil || string(b[:min(len(b), len(want))]) != want {
			t.Errorf("%s says %q, want %q: %v", file, b, want, err)
		}
	}
	h, err := periphio.Open(periphio.Options{Dev: t.TempDir(), Sys: sys})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = h.Close() }() // nothing is written
	p, err := h.PWM("pwmchip0/1", 1000, true)
	if err != nil {
		t.Fatal(err)
	}
	says("period", "1000000")
	says("polarity", "inversed")
	says("enable", "1")
	if err := p.Set(0.25); err != nil {
		t.Fatal(err)
	}
	says("duty_cycle", "250000")
	for name, want := range map[string]string{
		"pwmchip1/0": "dtoverlay", "GPIO18": "pwmchip0/1", "pwmchip0/x": "pwmchip0/1", "pwmchip../0": "pwmchip0/1",
	} {
		if _, err := h.PWM(name, 1000, false); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want something of %s", name, err, want)
		}
	}
	if _, err := h.PWM("pwmchip0/1", 0.5, false); err == nil {
		t.Error("half a hertz was taken")
	}
}
