package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestStateDir(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	shut := filepath.Join(dir, "shut")
	if err := os.Mkdir(shut, 0o500); err != nil {
		t.Fatal(err)
	}
	expect(t, StateDir(dir), OK, dir+" can be written")
	expect(t, StateDir(file), Fail, "not a directory", "state_dir")
	expect(t, StateDir(filepath.Join(dir, "gone")), Fail, "no such file", "have a folder there")
	if os.Geteuid() == 0 { // root may
		expect(t, StateDir(shut), OK)
	} else {
		expect(t, StateDir(shut), Fail, "may not write in "+shut, "sudo chown -R USER "+shut)
	}
}
