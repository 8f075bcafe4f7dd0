package bridge

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// TestEndReading: reading ends at once, also where it was about to give the
// next packet its time.
func TestEndReading(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		for name, end := range map[string]func(*wire){
			"before": func(w *wire) { w.endReading() },
			"while":  func(w *wire) { go w.endReading() },
		} {
			here, there := net.Pipe()
			w := newWire(here, 1<<10, time.Minute)
			end(w)
			if _, err := w.read(); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: %v", name, err)
			}
			_, _ = here.Close(), there.Close()
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it took %s", took)
		}
	})
}

// TestAnswerBy: before the other broker has answered it has less time than
// later between two packets.
func TestAnswerBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		w := newWire(here, 1<<10, time.Minute)
		began := time.Now()
		w.answerBy = began.Add(15 * time.Second)
		for _, want := range []time.Duration{15 * time.Second, 75 * time.Second} {
			if _, err := w.read(); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(began) != want {
				t.Errorf("after %s: %v", time.Since(began), err)
			}
			w.answerBy = time.Time{}
		}
	})
}
