package sandbox_test

import (
	"fmt"
	"os"
	"testing"
)

var cacheDir string

// sharedCache is one cache for the tests of a run: what one of them compiled
// the others load, as one gateway does.
func sharedCache(testing.TB) string { return cacheDir }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "headgate-sandbox")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cacheDir = dir
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}
