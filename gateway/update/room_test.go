package update

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// full is a disk without room for another version.
type full struct {
	*disk
	until time.Time
	tries *atomic.Int64
}

func (f full) Install(ctx context.Context, raw []byte, alias string, percent float64) (int, error) {
	f.tries.Add(1)
	if time.Now().Before(f.until) {
		return 0, fmt.Errorf("%w: %w", errors.New("no space left on device"), ErrLater)
	}
	return f.disk.Install(ctx, raw, alias, percent)
}

// TestNoRoomIsTriedAgain has the disk full for three hours: that is no fault of
// the version, which is taken once there is room.
func TestNoRoomIsTriedAgain(t *testing.T) {
	s := newSigned(t)
	synctest.Test(t, func(t *testing.T) {
		d := &disk{t: t, versions: []string{"one"}, live: 1, facts: map[string][]byte{}}
		f := full{disk: d, until: time.Now().Add(3 * time.Hour), tries: new(atomic.Int64)}
		d.functions = f
		d.run(s, 10, false, 2*time.Hour)
		if d.live != 1 || f.tries.Load() < 2 {
			t.Errorf("on the full disk version %d is live, after %d tries", d.live, f.tries.Load())
		}
		d.run(s, 10, false, 10*time.Hour)
		if d.live != 2 {
			t.Errorf("with room version %d is live, after %d tries", d.live, f.tries.Load())
		}
	})
}
