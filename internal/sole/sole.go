// Package sole keeps a second process from what one alone may use: a state
// folder, a database in a file.
package sole

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrHeld is what another process has.
var ErrHeld = errors.New("held by another process")

// Lock is a lock of the kernel's on a file. It ends with the process that holds
// it, however that ends: no file has to be removed after a kill.
type Lock struct{ f *os.File }

// heldError says who has it.
type heldError struct {
	path, by string
	pid      int
}

// Error says who has it, and what to do first.
func (e *heldError) Error() string {
	who := "another " + e.by
	if e.pid > 0 {
		who += fmt.Sprintf(" (process %d)", e.pid)
	}
	return fmt.Sprintf("%s is held by %s: stop it first", e.path, who)
}

// Unwrap makes it an ErrHeld.
func (*heldError) Unwrap() error { return ErrHeld }

// Take takes the lock on the file at path, which is made where it is missing, and
// does not wait for it. by is what such a process is called. ErrHeld is one that
// another has.
func Take(path, by string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := Try(f); {
	case errors.Is(err, ErrHeld):
		return nil, errors.Join(&heldError{path: path, by: by, pid: holder(f)}, f.Close())
	case err != nil:
		return nil, errors.Join(err, f.Close())
	}
	// Who has it is for people alone: on a full disk it stays unsaid.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return &Lock{f}, nil
}

// Try locks an open file or folder until it is closed, and does not wait for it.
// ErrHeld is one that is locked already.
func Try(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	switch {
	case errors.Is(err, unix.EWOULDBLOCK):
		return ErrHeld
	case err != nil:
		return fmt.Errorf("lock %s: %w", f.Name(), err)
	}
	return nil
}

// holder is the process that wrote itself into the file; 0 is not known.
func holder(f *os.File) int {
	raw, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return 0
	}
	return pid
}

// Release lets go. A nil Lock, and one that was released, may be released.
func (l *Lock) Release() error {
	if l == nil || l.f == nil {
		return nil
	}
	f := l.f
	l.f = nil
	return f.Close()
}
