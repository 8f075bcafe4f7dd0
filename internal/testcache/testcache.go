// Package testcache lets the gateways of a package's tests share one cache of
// compiled modules: compiling the script engines takes longer than most tests.
// Where TESTCACHE_DIR names a folder that the command warm has filled, each
// package begins with the engines that are in it.
package testcache

import (
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// Warm is the folder with the compiled engines, empty where there is none.
func Warm() string {
	if dir := os.Getenv("TESTCACHE_DIR"); dir != "" {
		return filepath.Join(dir, "engines")
	}
	return ""
}

// folder is where the modules are, until the test binary's Main removes it.
var folder = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "headgate-test-cache-")
	if warm := Warm(); err == nil && warm != "" {
		if _, missing := os.Stat(warm); missing == nil {
			err = os.CopyFS(dir, os.DirFS(warm))
		}
	}
	return dir, err
})

// Run runs the tests and removes the cache. It is the body of a TestMain.
func Run(m *testing.M) int {
	code := m.Run()
	if dir, err := folder(); err == nil {
		_ = os.RemoveAll(dir)
	}
	return code
}

// Folder is the shared cache itself, for a TestMain.
func Folder() (string, error) { return folder() }

// Dir is the shared cache itself, for tests of engines without a gateway.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := folder()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Link makes the cache of a gateway whose state is in stateDir the shared one,
// where it has none yet.
func Link(stateDir string) error {
	dir, err := folder()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return err
	}
	err = os.Symlink(dir, filepath.Join(stateDir, "cache"))
	if os.IsExist(err) {
		return nil
	}
	return err
}
