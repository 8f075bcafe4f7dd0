package sample

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/headgate-io/headgate/sensors"
)

// Calibration is a line through points: what is read, and what that means.
type Calibration struct {
	// Unit is that of From, One for the source's own.
	Unit sensors.Unit
	// From rises or falls, and To has as many values, in the sensor's unit.
	From, To []float64
	// Clamp keeps results within the smallest and the largest of To.
	Clamp bool
}

// MaxPoints bounds the points of a calibration.
const MaxPoints = 16

// Validate says what is wrong with the points.
func (c *Calibration) Validate() error {
	switch {
	case len(c.From) < 2 || len(c.From) > MaxPoints:
		return fmt.Errorf("from has %d points, it needs 2 to %d", len(c.From), MaxPoints)
	case len(c.From) != len(c.To):
		return fmt.Errorf("from has %d points and to has %d", len(c.From), len(c.To))
	}
	rising := c.From[1] > c.From[0]
	for i := 1; i < len(c.From); i++ {
		if c.From[i] == c.From[i-1] || (c.From[i] > c.From[i-1]) != rising {
			return errors.New("from must rise, or fall, from point to point")
		}
	}
	return nil
}

// Apply maps v. Outside of the points the nearest piece goes on.
func (c *Calibration) Apply(v float64) float64 {
	last := len(c.From) - 1
	rising := c.From[last] > c.From[0]
	i := 1
	for i < last && (v > c.From[i]) == rising && v != c.From[i] {
		i++
	}
	x0, x1, y0, y1 := c.From[i-1], c.From[i], c.To[i-1], c.To[i]
	y := y0 + (v-x0)*(y1-y0)/(x1-x0)
	if c.Clamp {
		y = min(max(y, slices.Min(c.To)), slices.Max(c.To))
	}
	return y
}

// Filter smooths values. At most one of the windows is set, to how many of the
// newest values count.
type Filter struct {
	Median, Average int
}

// MaxWindow bounds a filter's window.
const MaxWindow = 101

// window holds the newest values of a filter.
type window struct {
	filter Filter
	values []float64 // oldest first
	sorted []float64
}

// add takes a value in and returns the filtered one. Until the window is full
// those that are there count.
func (w *window) add(v float64) float64 {
	size := max(w.filter.Median, w.filter.Average)
	if size <= 1 {
		return v
	}
	if len(w.values) >= size {
		w.values = append(w.values[:0], w.values[len(w.values)-size+1:]...)
	}
	w.values = append(w.values, v)
	if w.filter.Average > 1 {
		sum := 0.0
		for _, x := range w.values {
			sum += x
		}
		return sum / float64(len(w.values))
	}
	w.sorted = append(w.sorted[:0], w.values...)
	slices.Sort(w.sorted)
	n := len(w.sorted)
	if n%2 == 1 {
		return w.sorted[n/2]
	}
	return (w.sorted[n/2-1] + w.sorted[n/2]) / 2
}

// reset forgets: what comes after a failure is not mixed with what was before.
func (w *window) reset() { w.values = w.values[:0] }

// value makes the sensor's value of what its source gave.
func (s *Sensor) value(q sensors.Quantity) (float64, error) {
	v := q.Value
	var err error
	switch {
	case s.Calibration != nil:
		if s.Calibration.Unit != sensors.One {
			if v, err = q.Unit.Convert(v, s.Calibration.Unit); err != nil {
				return 0, fmt.Errorf("calibrate.from: %w", err)
			}
		}
		v = s.Calibration.Apply(v)
	case q.Unit != sensors.One:
		if v, err = q.Unit.Convert(v, s.Unit); err != nil {
			return 0, fmt.Errorf("unit: %w", err)
		}
	}
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return 0, fmt.Errorf("the sensor gave %v", v)
	case s.Min != nil && v < *s.Min:
		return 0, fmt.Errorf("%s is not plausible: below min, %s", sensors.Quantity{Value: v, Unit: s.Unit}, sensors.Quantity{Value: *s.Min, Unit: s.Unit})
	case s.Max != nil && v > *s.Max:
		return 0, fmt.Errorf("%s is not plausible: above max, %s", sensors.Quantity{Value: v, Unit: s.Unit}, sensors.Quantity{Value: *s.Max, Unit: s.Unit})
	}
	return v, nil
}
