package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/configs"
)

// newBoard is a root without anything, and an installer for it. Adding the user is
// played: systemd may not be there.
func newBoard(t *testing.T) (*installer, *bytes.Buffer) {
	t.Helper()
	var out bytes.Buffer
	i := &installer{out: &out, root: t.TempDir()}
	i.run = func(_ context.Context, name string, args ...string) error {
		if want := []string{"--root=" + i.root, "headgate.conf"}; name != "systemd-sysusers" || !slices.Equal(args, want) {
			t.Errorf("it runs %s %v", name, args)
		}
		if _, err := os.Stat(i.path(installedSysusers)); err != nil {
			t.Error(err)
		}
		if err := os.MkdirAll(i.path("/etc"), 0o755); err != nil {
			return err
		}
		return os.WriteFile(i.path("/etc/group"), []byte("root:x:0:\nheadgate:x:"+strconv.Itoa(os.Getegid())+":\n"), 0o644)
	}
	return i, &out
}

func TestInstall(t *testing.T) {
	i, out := newBoard(t)
	for range 2 { // again is no harm
		out.Reset()
		if err := i.install(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if !strings.Contains(out.String(), "keep "+installedBinary) {
		t.Errorf("the second time:\n%s", out)
	}
	for path, mode := range map[string]os.FileMode{installedBinary: 0o755, installedUnit: 0o644, installedConfig: 0o640, "/etc/headgate": os.ModeDir | 0o750} {
		info, err := os.Stat(i.path(path))
		if err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v", path, info, err)
		}
	}
	unit := must(os.ReadFile(i.path(installedUnit)))
	if string(unit) != configs.Service {
		t.Errorf("unit:\n%s", unit)
	}

	put(t, i.path(installedConfig), "log: {level: warn}\n")
	put(t, i.path("/var/lib/headgate/headgate.db"), "data")
	put(t, i.path(installedUnit), "an older one")
	if err := i.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := string(must(os.ReadFile(i.path(installedConfig)))); got != "log: {level: warn}\n" {
		t.Errorf("an upgrade changed the configuration: %s", got)
	}
	if got := string(must(os.ReadFile(i.path(installedUnit)))); got != configs.Service {
		t.Errorf("an upgrade kept the old unit: %s", got)
	}

	if err := i.uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, path := range []string{installedBinary, installedUnit, installedConfig, "/var/lib/headgate/headgate.db"} {
		if _, err := os.Stat(i.path(path)); err == nil {
			left = append(left, path)
		}
	}
	if got := strings.Join(left, " "); got != installedConfig+" /var/lib/headgate/headgate.db" {
		t.Errorf("after uninstalling there is %s", got)
	}
}

func TestInstallDry(t *testing.T) {
	i, out := newBoard(t)
	i.dryRun = true
	if err := i.install(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := i.uninstall(t.Context()); err != nil {
		t.Fatal(err)
	}
	if entries := must(os.ReadDir(i.root)); len(entries) > 0 || !strings.Contains(out.String(), "write "+installedUnit) {
		t.Errorf("%v\n%s", entries, out)
	}
}

func TestInstallBesidePackage(t *testing.T) {
	i, _ := newBoard(t)
	put(t, i.path(packagedBinary), "packaged")
	if err := i.install(t.Context()); err == nil || !strings.Contains(err.Error(), "apt install") {
		t.Error(err)
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
