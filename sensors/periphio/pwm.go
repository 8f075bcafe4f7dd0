package periphio

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// PWM is a channel of the kernel's PWM chips: the hardware goes on by itself.
// The kernel's Documentation/driver-api/pwm.rst describes the files.
type PWM struct {
	dir    string
	period int64 // ns
}

// exportWithin is how long udev may take to hand over a channel's files.
const exportWithin = 2 * time.Second

// PWM takes a channel, as pwmchip0/1, with a frequency in hertz. It is off from
// then on.
func (h *Host) PWM(name string, frequency float64, activeLow bool) (*PWM, error) {
	chip, channel, ok := strings.Cut(name, "/")
	n, err := strconv.Atoi(channel)
	if !ok || err != nil || n < 0 || !strings.HasPrefix(chip, "pwmchip") || strings.Contains(chip, "..") {
		return nil, fmt.Errorf("PWM channel %q: want a chip and a channel, as pwmchip0/1", name)
	}
	if frequency < 1 || frequency > 1e6 {
		return nil, fmt.Errorf("PWM channel %s: %v Hz is not between 1 Hz and 1 MHz", name, frequency)
	}
	at := filepath.Join(h.opt.Sys, "class", "pwm", chip)
	if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("PWM channel %s: there is no %s; on a Raspberry Pi add dtoverlay=pwm-2chan to config.txt", name, at)
	}
	p := &PWM{dir: filepath.Join(at, "pwm"+channel), period: int64(math.Round(1e9 / frequency))}
	if _, err := os.Stat(p.dir); errors.Is(err, fs.ErrNotExist) {
		if err := os.WriteFile(filepath.Join(at, "export"), []byte(channel), 0); err != nil {
			return nil, fmt.Errorf("PWM channel %s: %w", name, err)
		}
	}
	polarity := "normal"
	if activeLow {
		polarity = "inversed"
	}
	// The polarity can change while the channel is off, and the period must not
	// become shorter than the pulse.
	for end := time.Now().Add(exportWithin); ; time.Sleep(20 * time.Millisecond) {
		_ = p.write("enable", "0")
		_ = p.write("duty_cycle", "0")
		err = errors.Join(p.write("period", strconv.FormatInt(p.period, 10)), p.write("polarity", polarity), p.Set(0), p.write("enable", "1"))
		if err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("PWM channel %s: %w", name, err)
	}
	return p, nil
}

// Set makes it active for a fraction of the time.
func (p *PWM) Set(value float64) error {
	duty := int64(math.Round(float64(p.period) * min(1, max(0, value))))
	return p.write("duty_cycle", strconv.FormatInt(duty, 10))
}

// Close switches it off. The channel stays exported, for an output that ends
// must not float.
func (p *PWM) Close() error { return p.Set(0) }

func (p *PWM) write(file, text string) error {
	f, err := os.OpenFile(filepath.Join(p.dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
