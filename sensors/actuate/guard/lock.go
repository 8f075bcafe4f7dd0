package guard

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Lock keeps two guards from owning the same pins. It is a lock of the kernel's
// on a file: it ends with the process that holds it.
type Lock struct {
	path string
	f    *os.File
}

// NewLock returns a lock on the file at path, which is made where it is
// missing.
func NewLock(path string) *Lock { return &Lock{path: path} }

// What Take grants an earlier guard to leave by itself: one whose gateway is
// gone does so at once.
const leaveWithin = 3 * time.Second

// Take takes the lock. An earlier guard that does not leave by itself (it hangs,
// or is stopped) is ended: its outlets are free then.
func (l *Lock) Take(ctx context.Context) error {
	f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("the guard's lock: %w", err)
	}
	evict := time.Now().Add(leaveWithin)
	for {
		// Of POSIX, because those tell who holds them.
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lk)
		if err == nil {
			l.f = f
			return nil
		}
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES) {
			return errors.Join(fmt.Errorf("lock %s: %w", l.path, err), f.Close())
		}
		if time.Now().After(evict) {
			if err := endHolder(f); err != nil {
				return errors.Join(err, f.Close())
			}
			evict = time.Now().Add(leaveWithin)
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), f.Close())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func endHolder(f *os.File) error {
	lk := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, &lk); err != nil {
		return fmt.Errorf("who holds %s: %w", f.Name(), err)
	}
	if lk.Type == unix.F_UNLCK || lk.Pid <= 0 {
		return nil // it has left meanwhile
	}
	if err := unix.Kill(int(lk.Pid), unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the guard that holds %s, process %d: %w", f.Name(), lk.Pid, err)
	}
	return nil
}

// Release lets go. A Lock that was not taken may be released.
func (l *Lock) Release() {
	if l.f != nil {
		_ = l.f.Close()
		l.f = nil
	}
}
