package sole_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/sole"
)

// Who comes second is told who was first, and gets it when that one has let go.
func TestOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.lock")
	first, err := sole.Take(path, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sole.Take(path, "gateway")
	want := fmt.Sprintf("%s is held by another gateway (process %d): stop it first", path, os.Getpid())
	if !errors.Is(err, sole.ErrHeld) || !strings.Contains(err.Error(), want) {
		t.Errorf("%v: want %q", err, want)
	}
	if err := errors.Join(first.Release(), first.Release()); err != nil {
		t.Error(err)
	}
	second, err := sole.Take(path, "gateway")
	if err != nil {
		t.Fatal(err)
	}
	if err := second.Release(); err != nil {
		t.Error(err)
	}
}
