// Package sample reads sensors on time and makes readings of what they give:
// converted, calibrated, judged, filtered.
//
// Sensors on one bus are read by one goroutine, one after the other, and no
// bus waits for another: one that hangs makes its own sensors stale, nobody
// else's. What fails is set up anew and tried again, with growing pauses, and
// its reading says so meanwhile; a value is never made up.
package sample

import (
	"context"
	"errors"
	"time"

	"github.com/headgate-io/headgate/sensors"
)

// Source is a sensor that can be measured. It is used by one goroutine.
type Source interface {
	// Read measures. It ends soon after ctx.
	Read(ctx context.Context) (Sample, error)
	Close() error
}

// Sample is what a Source gives.
type Sample struct {
	sensors.Quantity
	// Age is how old the value was when it was read; zero for one that was
	// measured now.
	Age time.Duration
	// Retained marks a value of unknown age that a broker had kept.
	Retained bool
	// Warning, where not empty, says why the value is uncertain.
	Warning string
}

// ErrNothing is the error of a Source that waits for its first value. That is
// no failure.
var ErrNothing = errors.New("nothing has arrived yet")

// Opener sets a sensor up. The Source may call notify, from any goroutine, when
// it has something new, to be read ahead of its time.
type Opener func(ctx context.Context, notify func()) (Source, error)

// Sensor is one sensor and what is made of its values.
type Sensor struct {
	sensors.Info
	// Bus names what has to be read one after the other.
	Bus string
	// Open sets it up. It is called again after a failure.
	Open Opener
	// Passive is true for a source that is read only when it notifies, and at
	// most every Interval.
	Passive bool
	// Calibration, where not nil, maps what is read to Info.Unit; without it
	// units are converted.
	Calibration *Calibration
	// Min and Max, where not nil, bound what is plausible, in Info.Unit.
	Min, Max *float64
	// Filter smooths.
	Filter Filter
	// Change is by how much the value must move to be told, and Heartbeat after
	// what time it is told anyway. With Change zero every reading is told.
	Change    float64
	Heartbeat time.Duration
}

// Timing of failures: the first pause is retryFirst, doubled up to retryMost;
// a read may take readWithin.
const (
	retryFirst = time.Second
	retryMost  = time.Minute
	readWithin = 10 * time.Second
)

// Driver is a kind of sensor with its options, as a person configures it.
type Driver interface {
	// Validate calls add with every fault of the options, and where it is.
	Validate(add func(message string, path ...any))
	// Describe tells what the options ask for; they are valid.
	Describe() Description
}

// Description is what a Driver says of itself.
type Description struct {
	// Bus names what has to be read one after the other: I2C1. Empty is a
	// sensor that nobody shares anything with.
	Bus string
	// Unit is the driver's own, and Measures what the value is of, where that is
	// known: temperature, humidity, flow.
	Unit     sensors.Unit
	Measures string
	// Interval is how often it is read by default; zero for a sensor that is
	// read only when it has something new.
	Interval time.Duration
}
