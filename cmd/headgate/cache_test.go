package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestCacheOfOthers runs no compiled code from folders that another user owns
// or may write to.
func TestCacheOfOthers(t *testing.T) {
	base, uid := t.TempDir(), os.Getuid()
	dir, err := cacheIn(base, uid)
	if err != nil || dir != filepath.Join(base, "headgate", "sandbox") {
		t.Fatal(dir, err)
	}
	planted := filepath.Join(dir, "machinecode")
	if err := os.WriteFile(planted, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cacheIn(base, uid); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(planted); err != nil {
		t.Errorf("what is the user's own stays: %v", err)
	}
	beside := filepath.Join(filepath.Dir(dir), "rust")
	if err := os.Mkdir(beside, 0o755); err != nil { //nolint:gosec // as other tools make it
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { //nolint:gosec // nobody else can write there
		t.Fatal(err)
	}
	if _, err := cacheIn(base, uid); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(planted); err != nil {
		t.Errorf("what others could only read stays: %v", err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if err := os.Chmod(d, 0o777); err != nil { //nolint:gosec // it is to be found like this
			t.Fatal(err)
		}
	}
	if _, err := cacheIn(base, uid); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{dir, filepath.Dir(dir)} {
		if info, err := os.Stat(d); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v %v", d, info.Mode(), err)
		}
	}
	if _, err := os.Stat(planted); err == nil {
		t.Error("what others may have put there is still there")
	}
	if _, err := os.Stat(beside); err != nil {
		t.Errorf("what is not run has to stay: %v", err)
	}
	if dir, err := cacheIn(base, uid+1); err == nil {
		t.Errorf("%s is somebody else's", dir)
	}
	other := t.TempDir()
	if err := os.Symlink(base, filepath.Join(other, "headgate")); err != nil {
		t.Fatal(err)
	}
	if dir, err := cacheIn(other, uid); err == nil {
		t.Errorf("%s lies behind a link", dir)
	}
}
