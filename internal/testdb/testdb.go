// Package testdb is what tests of several packages do with databases.
package testdb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Copy copies the files of a database as they are at this moment, as a kill
// would leave them, and returns where the copy is.
func Copy(t testing.TB, path string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), filepath.Base(path))
	for _, ext := range []string{"", "-wal"} {
		b, err := os.ReadFile(path + ext)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = os.WriteFile(to+ext, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}
