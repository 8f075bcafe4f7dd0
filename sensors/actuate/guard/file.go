package guard

import (
	"errors"
	"fmt"
	"os"
	"strconv"
)

// fileLine simulates an output: the file holds what it is set to. It is written
// in place, so that a full disk cannot hold it up.
type fileLine struct{ f *os.File }

// fileWidth is how many bytes the file always has: a number, padded.
const fileWidth = 8

// OpenFile opens a simulated output.
func OpenFile(path string) (Line, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("simulated output: %w", err)
	}
	l := &fileLine{f}
	if err := l.Set(0); err != nil {
		return nil, fmt.Errorf("simulated output: %w", errors.Join(err, f.Close()))
	}
	return l, nil
}

// Set implements Line.
func (l *fileLine) Set(value float64) error {
	text := strconv.FormatFloat(value, 'f', -1, 64)
	text = text[:min(len(text), fileWidth-1)]
	_, err := l.f.WriteAt(fmt.Appendf(nil, "%-*s\n", fileWidth-1, text), 0)
	return err
}

// Close implements Line.
func (l *fileLine) Close() error { return l.f.Close() }
