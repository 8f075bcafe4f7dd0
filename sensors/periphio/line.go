package periphio

import (
	"errors"
	"time"
)

// Line is a GPIO line held by this process. Closing it gives it back; what an
// output does then is the chip's affair.
type Line interface {
	// Get reads whether the line is active now. An output can be read too.
	Get() (bool, error)
	// Set makes an output active or inactive.
	Set(active bool) error
	// Next waits for the next edge that was asked for, until the deadline; a
	// zero deadline waits for ever. An error that is os.ErrDeadlineExceeded
	// says that there was none, os.ErrClosed that the line was closed.
	Next(deadline time.Time) (Edge, error)
	Close() error
}

// Edge is a change of a line.
type Edge struct {
	// Active is what it became.
	Active bool
	// At is when, on the kernel's monotonic clock.
	At time.Duration
	// Sequence counts the line's edges since it was requested, from 1. A gap
	// is edges that nobody fetched in time: the kernel keeps a few, but counts
	// all.
	Sequence uint32
}

// ErrNoGPIO is the error of asking for a line where there are none at all.
var ErrNoGPIO = errors.New("this system has no GPIO character devices")
