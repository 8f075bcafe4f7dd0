package repository

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// locked keeps other processes of this machine from publishing meanwhile: who
// publishes and who signs the timestamp anew are different ones.
func (r *Repository) locked(do func() error) error { return Locked(r.dir, do) }

// Locked does something while no process of this machine publishes in the
// repository of a folder.
func Locked(dir string, do func() error) error {
	file := filepath.Join(dir, "staged", ".lock")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { // it need not be copied along
		return fmt.Errorf("repository: %w", err)
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	defer f.Close() // and with it the lock ends
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("repository: lock %s: %w", file, err)
	}
	return do()
}
