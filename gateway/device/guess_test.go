package device_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/mqtt/broker"
)

// TestGuesses tries many wrong passwords at once for a device whose password
// was chosen, which is slow to check. Most are turned away unchecked, none is
// right, and a device with a made password does not wait behind them.
func TestGuesses(t *testing.T) {
	r := open(t, false)
	made, err := r.Add(t.Context(), store.Device{Name: "made", Publish: []string{"a"}}, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(t.Context(), store.Device{Name: "chosen", Publish: []string{"a"}}, "correct horse"); err != nil {
		t.Fatal(err)
	}
	const guesses = 60
	var wg sync.WaitGroup
	var wrong, turnedAway atomic.Int32
	for range guesses {
		wg.Go(func() {
			_, err := login(t, r, "chosen", "wrong horse")
			switch {
			case err == nil:
				t.Error("a wrong password was right")
			case errors.Is(err, broker.ErrBadCredentials):
				wrong.Add(1)
			default:
				turnedAway.Add(1)
			}
		})
	}
	if _, err := login(t, r, "made", made); err != nil {
		t.Errorf("a device with a made password: %v", err)
	}
	wg.Wait()
	if wrong.Load() == 0 || turnedAway.Load() == 0 {
		t.Errorf("%d were wrong, %d were turned away", wrong.Load(), turnedAway.Load())
	}
	if _, err := login(t, r, "chosen", "correct horse"); err != nil {
		t.Errorf("the right one afterwards: %v", err)
	}
}
