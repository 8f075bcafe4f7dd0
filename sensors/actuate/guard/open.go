package guard

import (
	"errors"
	"fmt"

	"github.com/headgate-io/headgate/sensors/periphio"
)

// Open returns the Opener of this machine. The board is looked at when the
// first pin is asked for.
func Open() Opener {
	var host *periphio.Host
	board := func() (*periphio.Host, error) {
		if host != nil && len(host.Chips()) > 0 {
			return host, nil
		}
		h, err := periphio.Open(periphio.Options{Consumer: "headgate guard"})
		if err == nil {
			host = h
		}
		return h, err
	}
	return func(u *Unit) (Lines, error) { return openLines(u, board) }
}

func openLines(u *Unit, board func() (*periphio.Host, error)) (Lines, error) {
	o := &u.Outlet
	var open func(first bool) (Line, error)
	switch {
	case o.File != "":
		open = func(first bool) (Line, error) { return OpenFile(either(first, o.File, o.FileClose)) }
	case o.PWM != "":
		open = func(bool) (Line, error) {
			h, err := board()
			if err != nil {
				return nil, err
			}
			return h.PWM(o.PWM, o.Frequency, o.ActiveLow)
		}
	case o.GPIO != "":
		open = func(first bool) (Line, error) {
			h, err := board()
			if err != nil {
				return nil, err
			}
			return h.Output(either(first, o.GPIO, o.Close), o.ActiveLow)
		}
	default:
		return Lines{}, errors.New("it is wired to nothing")
	}
	main, err := open(true)
	if err != nil {
		return Lines{}, err
	}
	l := Lines{Main: main}
	if u.Pulse > 0 {
		if l.Shut, err = open(false); err != nil {
			return Lines{}, fmt.Errorf("the output that closes it: %w", errors.Join(err, main.Close()))
		}
	}
	return l, nil
}

func either(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}
