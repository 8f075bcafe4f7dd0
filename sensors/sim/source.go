package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// Wave is a sensor that is not there: it follows a curve, for trying out
// functions on a machine without pins.
type Wave struct {
	// Wave is sine (the default), saw, triangle, square or constant.
	Wave string `yaml:"wave"`
	// Low and High are its bounds; constant is High.
	Low  float64 `yaml:"low"`
	High float64 `yaml:"high"`
	// Period is how long one turn takes (10m).
	Period function.Duration `yaml:"period"`
	// Noise is added, up to so much in both directions. It is the same at the
	// same time.
	Noise float64 `yaml:"noise"`
}

// File is a sensor whose value is in a file, which is read each time: write
// another number into it, and that is measured.
type File struct {
	// Path is the file; it holds a number, with a unit where that is another
	// than the sensor's.
	Path string `yaml:"path"`
}

var (
	_ sample.Driver = (*Wave)(nil)
	_ sample.Driver = (*File)(nil)
)

var waves = []string{"sine", "saw", "triangle", "square", "constant"}

const wavePeriod = 10 * time.Minute

// Validate implements sample.Driver.
func (w *Wave) Validate(add func(string, ...any)) {
	if w.Wave != "" && !slices.Contains(waves, w.Wave) {
		add(fmt.Sprintf("%q must be one of %s", w.Wave, strings.Join(waves, ", ")), "wave")
	}
	if w.High < w.Low {
		add(fmt.Sprintf("%v is below low, %v", w.High, w.Low), "high")
	}
	if w.Noise < 0 {
		add("must not be negative", "noise")
	}
}

// Describe implements sample.Driver.
func (w *Wave) Describe() sample.Description { return sample.Description{Interval: 5 * time.Second} }

// Opener returns what follows the curve by the clock now.
func (w *Wave) Opener(now func() time.Time) sample.Opener {
	return func(context.Context, func()) (sample.Source, error) { return wave{w, now}, nil }
}

type wave struct {
	*Wave
	now func() time.Time
}

func (wave) Close() error { return nil }

// Read returns the curve's value of now.
func (w wave) Read(context.Context) (sample.Sample, error) {
	return sample.Sample{Quantity: sensors.Quantity{Value: w.at(w.now())}}, nil
}

// at is the value at t.
func (w *Wave) at(t time.Time) float64 {
	period := w.Period.Std()
	if period == 0 {
		period = wavePeriod
	}
	turn := float64(t.UnixNano()%int64(period)) / float64(period)
	var part float64
	switch w.Wave {
	case "constant":
		part = 1
	case "square":
		if turn < 0.5 {
			part = 1
		}
	case "saw":
		part = turn
	case "triangle":
		part = 1 - math.Abs(2*turn-1)
	default:
		part = (1 + math.Sin(2*math.Pi*turn)) / 2
	}
	v := w.Low + part*(w.High-w.Low)
	if w.Noise > 0 {
		v += w.Noise * (2*mix(1, uint64(t.UnixMilli())) - 1)
	}
	return v
}

// Validate implements sample.Driver.
func (f *File) Validate(add func(string, ...any)) {
	if f.Path == "" {
		add("is missing: name the file that holds the value", "path")
	}
}

// Describe implements sample.Driver.
func (f *File) Describe() sample.Description { return sample.Description{Interval: time.Second} }

// Opener returns what reads the file.
func (f *File) Opener() sample.Opener {
	return func(context.Context, func()) (sample.Source, error) { return file{f}, nil }
}

type file struct{ *File }

// maxFile is more than a number takes.
const maxFile = 256

func (file) Close() error { return nil }

// Read returns what the file holds.
func (f file) Read(context.Context) (sample.Sample, error) {
	in, err := os.Open(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		path, _ := filepath.Abs(f.Path) // where it cannot be told the name as it is will do
		return sample.Sample{}, fmt.Errorf("there is no file %s: write a number into it", cmp.Or(path, f.Path))
	}
	if err != nil {
		return sample.Sample{}, err
	}
	defer in.Close()
	b, err := io.ReadAll(io.LimitReader(in, maxFile))
	if err != nil {
		return sample.Sample{}, err
	}
	text := strings.TrimSpace(string(b))
	if v, err := strconv.ParseFloat(text, 64); err == nil {
		return sample.Sample{Quantity: sensors.Quantity{Value: v}}, nil
	}
	q, err := sensors.ParseQuantity(text)
	if err != nil {
		return sample.Sample{}, fmt.Errorf("%s: %w", f.Path, err)
	}
	return sample.Sample{Quantity: q}, nil
}
