package command_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/controller/command"
	"github.com/headgate-io/headgate/controller/config"
)

// run runs the command line and returns what it said.
func run(t *testing.T, want int, args ...string) string {
	t.Helper()
	var said bytes.Buffer
	if code := command.Execute(t.Context(), args, &said, &said); code != want {
		t.Fatalf("%v: %d, want %d: %s", args, code, want, said.String())
	}
	return said.String()
}

// onLoopback has controllers of this test listen on loopback alone.
func onLoopback(t *testing.T) {
	t.Helper()
	for _, name := range []string{"HTTP__LISTEN", "MQTT__LISTEN"} {
		t.Setenv(config.EnvPrefix+name, "127.0.0.1:0")
	}
}

// filled is a controller's folder with something in each part of it.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	first := runApart(t, dir)
	run(t, 0, "--dir", dir, "token", "create", "--label", "site=north")
	if err := errors.Join(first.Process.Kill(), ignored(first.Wait())); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"content/tenant1/targets/functions/one/ab.bundle": "one", "content/tenant1/staged/uploads/" + strings.Repeat("a", 64): "two",
		"content/tenant1/metadata/1.root.json": "{}", "keys/some.json": "{}",
		"content/tenant1/staged/uploads/.part-1": "cut off",
	} {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func ignored(error) error { return nil }

// A controller that is backed up while it runs is whole again in an empty folder,
// and in no other.
func TestBackupAndRestore(t *testing.T) {
	onLoopback(t)
	dir := filled(t)
	file := filepath.Join(t.TempDir(), "b.tar")
	runApart(t, dir)
	if said := run(t, 0, "--dir", dir, "backup", file); !strings.Contains(said, "the database (") {
		t.Error(said)
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if said := run(t, 1, "--dir", dir, "backup", file); !strings.Contains(said, "is there already") {
		t.Error(said)
	}
	if left, err := os.ReadDir(filepath.Dir(file)); err != nil || len(left) != 1 {
		t.Errorf("it left %v, %v", left, err)
	}
	if said := run(t, 1, "--dir", dir, "restore", file); !strings.Contains(said, "held by another headgate-controller (process") {
		t.Error(said)
	}
	to := filepath.Join(t.TempDir(), "new")
	if said := run(t, 0, "--dir", to, "restore", file); !strings.Contains(said, "Restored to "+to) {
		t.Error(said)
	}
	if said := run(t, 0, "--dir", to, "token", "list"); !strings.Contains(said, "site=north") {
		t.Error(said)
	}
	for _, name := range []string{"ca.key", "ca.crt", "content/tenant1/targets/functions/one/ab.bundle", "content/tenant1/staged/uploads/" + strings.Repeat("a", 64), "keys/some.json"} {
		was, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		is, errIs := os.ReadFile(filepath.Join(to, filepath.FromSlash(name)))
		if err := errors.Join(err, errIs); err != nil || !bytes.Equal(was, is) {
			t.Errorf("%s is another: %v", name, err)
		}
	}
	for name, mode := range map[string]os.FileMode{"ca.key": 0o600, "keys/some.json": 0o600, "controller.db": 0o600, "content/tenant1/targets/functions/one/ab.bundle": 0o644} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if left, err := filepath.Glob(filepath.Join(to, "content/tenant1/staged/uploads/.*")); err != nil || len(left) > 0 {
		t.Errorf("%v, %v", left, err)
	}
	if said := run(t, 1, "--dir", to, "restore", file); !strings.Contains(said, "into an empty folder") {
		t.Error(said)
	}
	runApart(t, to)
}

// A file that is no whole backup is refused with what is wrong, and leaves an
// empty folder empty.
func TestBackupsThatAreNone(t *testing.T) {
	onLoopback(t)
	good := filepath.Join(t.TempDir(), "b.tar")
	run(t, 0, "--dir", filled(t), "backup", good)
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	replaced := func(name string, change func(*tar.Header, []byte) []byte) []byte {
		return rewritten(t, raw, name, change)
	}
	cases := map[string]struct {
		raw  []byte
		want string
	}{
		"nothing":           {nil, "it ends too early"},
		"truncated":         {raw[:len(raw)/2], "it ends too early"},
		"without its list":  {raw[:bytes.LastIndex(raw, []byte("manifest.json"))/512*512], "it ends too early"},
		"no tar":            {bytes.Repeat([]byte("x"), 4096), "it is no backup of a controller"},
		"another program's": {replaced("headgate-controller-backup.json", func(h *tar.Header, b []byte) []byte { h.Name = "etc/passwd"; return b }), "it is no backup of a controller"},
		"a path that leads out": {replaced("keys/some.json", func(h *tar.Header, b []byte) []byte {
			h.Name = "keys/../../x"
			return b
		}), "leads out of the folder"},
		"an absolute path": {replaced("keys/some.json", func(h *tar.Header, b []byte) []byte { h.Name = "/tmp/x"; return b }), "leads out of the folder"},
		"a link": {replaced("keys/some.json", func(h *tar.Header, _ []byte) []byte {
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, "/etc/passwd", 0
			return nil
		}), "is a link"},
		"a file of nobody's": {replaced("keys/some.json", func(h *tar.Header, b []byte) []byte { h.Name = "bin/sh"; return b }), "is of no controller"},
		"a changed file":     {replaced("ca.key", func(_ *tar.Header, b []byte) []byte { b[40] ^= 1; return b }), `"ca.key" is not what was backed up`},
		"a file twice":       {replaced("keys/some.json", func(h *tar.Header, b []byte) []byte { h.Name = "ca.crt"; return b }), "is in it twice"},
		"a missing file":     {replaced("keys/some.json", func(h *tar.Header, _ []byte) []byte { h.Name = ""; return nil }), `"keys/some.json" is not what was backed up`},
		"a changed word of what it is": {replaced("headgate-controller-backup.json", func(_ *tar.Header, b []byte) []byte {
			return bytes.Replace(b, []byte(`"created":"2`), []byte(`"created":"1`), 1)
		}), `"headgate-controller-backup.json" is not what was backed up`},
		"a newer program's": {replaced("headgate-controller-backup.json", func(h *tar.Header, b []byte) []byte {
			var v map[string]any
			if err := json.Unmarshal(b, &v); err != nil {
				t.Fatal(err)
			}
			v["schema"], v["version"] = 100000, "v99"
			b, err := json.Marshal(v)
			h.Size = int64(len(b))
			if err != nil {
				t.Fatal(err)
			}
			return b
		}), "a newer headgate-controller made it (v99"},
	}
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		file, to := filepath.Join(t.TempDir(), "bad.tar"), t.TempDir()
		if err := os.WriteFile(file, cases[name].raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if said := run(t, 1, "--dir", to, "restore", file); !strings.Contains(said, cases[name].want) {
			t.Errorf("%s: %s: want %q", name, said, cases[name].want)
		}
		left, err := os.ReadDir(to)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range left {
			if e.Name() != "controller.db.running" {
				t.Errorf("%s: it left %s", name, e.Name())
			}
		}
	}
}

// rewritten is a tar with one of its files another; without a name it is left
// out.
func rewritten(t *testing.T, raw []byte, name string, change func(*tar.Header, []byte) []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	in, w := tar.NewReader(bytes.NewReader(raw)), tar.NewWriter(&out)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		if h.Name == name {
			if b = change(h, b); h.Name == "" {
				continue
			}
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A restore that was killed leaves nothing that a controller would take for its
// own, and another one begins anew.
func TestRestoreKilled(t *testing.T) {
	onLoopback(t)
	dir := filled(t)
	for i := range 200 { // time to be killed in
		name := filepath.Join(dir, "content", "tenant1", "targets", fmt.Sprintf("%d.bundle", i))
		if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 64<<10), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(t.TempDir(), "b.tar")
	run(t, 0, "--dir", dir, "backup", file)
	killed := 0
	for range 20 {
		to := t.TempDir()
		if !killRestore(t, to, file) {
			continue // it was faster
		}
		killed++
		for _, args := range [][]string{{"run"}, {"backup", file + "2"}, {"certificate", "create", "--name", "x", "--out", t.TempDir()}} {
			if said := run(t, 1, append([]string{"--dir", to}, args...)...); !strings.Contains(said, "was cut off") {
				t.Fatalf("%v: %s", args, said)
			}
		}
		run(t, 0, "--dir", to, "restore", file)
		if said := run(t, 0, "--dir", to, "token", "list"); !strings.Contains(said, "site=north") {
			t.Error(said)
		}
		if killed == 2 {
			return
		}
	}
	if killed == 0 {
		t.Error("no restore was killed half way")
	}
}

// What a killed backup has left is removed by the next one, whatever its name, and
// never what is under way.
func TestBackupKilled(t *testing.T) {
	onLoopback(t)
	dir, to := filled(t), t.TempDir()
	for name, holds := range map[string]bool{"killed": false, "under-way": true} {
		part := filepath.Join(to, ".headgate-backup-"+name+".tar")
		if err := errors.Join(os.WriteFile(part, []byte("half"), 0o600), os.WriteFile(part+".db", []byte("half"), 0o600)); err != nil {
			t.Fatal(err)
		}
		if !holds {
			continue
		}
		f, err := os.Open(part)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
			t.Fatal(err)
		}
	}
	run(t, 0, "--dir", dir, "backup", filepath.Join(to, "today.tar"))
	left, err := os.ReadDir(to)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	if want := []string{".headgate-backup-under-way.tar", ".headgate-backup-under-way.tar.db", "today.tar"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("there is %v, %v", names, err)
	}
	if said := run(t, 1, "--dir", dir, "backup", filepath.Join(to, "under-way.tar")); !strings.Contains(said, "is under way") {
		t.Error(said)
	}
}

// A restore that was cut off began with folders that were empty: others, that the
// configuration names by now, are not its own.
func TestRestoreIntoOtherFolders(t *testing.T) {
	onLoopback(t)
	file, to, other := filepath.Join(t.TempDir(), "b.tar"), t.TempDir(), t.TempDir()
	run(t, 0, "--dir", filled(t), "backup", file)
	kept := filepath.Join(other, "kept")
	note := fmt.Sprintf("x.tar is being restored here.\ncontent %q\nkeys %q\ndatabase %q\n", to+"/content", to+"/keys", to+"/controller.db")
	if err := errors.Join(os.WriteFile(kept, nil, 0o600), os.WriteFile(filepath.Join(to, "restoring"), []byte(note), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv(config.EnvPrefix+"CONTENT__DIR", other)
	if said := run(t, 1, "--dir", to, "restore", file); !strings.Contains(said, "had other folders") {
		t.Error(said)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
	t.Setenv(config.EnvPrefix+"CONTENT__DIR", "content")
	run(t, 0, "--dir", to, "restore", file)
}

// killRestore kills a restore once it has begun to write; false says that it was
// done before.
func killRestore(t *testing.T, to, file string) bool {
	t.Helper()
	c := program(t, "--dir", to, "restore", file)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if _, err := os.Stat(filepath.Join(to, "content", "tenant1", "targets")); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	_ = c.Wait()
	_, err := os.Stat(filepath.Join(to, "restoring"))
	return err == nil
}

// A backup that is of later than now has a clock that was wrong, of which nothing
// may be counted unsaid.
func TestRestoreByAWrongClock(t *testing.T) {
	onLoopback(t)
	good := filepath.Join(t.TempDir(), "b.tar")
	run(t, 0, "--dir", filled(t), "backup", good)
	raw, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().AddDate(1, 0, 0).UTC().Truncate(time.Second)
	var header []byte
	raw = rewritten(t, raw, "headgate-controller-backup.json", func(h *tar.Header, b []byte) []byte {
		header = edited(t, b, func(m map[string]any) { m["created"] = later })
		h.Size = int64(len(header))
		return header
	})
	raw = rewritten(t, raw, "manifest.json", func(h *tar.Header, b []byte) []byte {
		b = edited(t, b, func(m map[string]any) {
			first := m["files"].([]any)[0].(map[string]any)
			first["bytes"], first["sha256"] = len(header), fmt.Sprintf("%x", sha256.Sum256(header))
		})
		h.Size = int64(len(b))
		return b
	})
	file, to := filepath.Join(t.TempDir(), "later.tar"), t.TempDir()
	if err := os.WriteFile(file, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := run(t, 1, "--dir", to, "restore", file); !strings.Contains(said, "set the clock and restore again") {
		t.Error(said)
	}
	if _, err := os.Stat(filepath.Join(to, "restoring")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it began: %v", err)
	}
	run(t, 0, "--dir", to, "restore", "--clock-was-wrong", file)
}

func edited(t *testing.T, raw []byte, change func(map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	err := json.Unmarshal(raw, &m)
	if err == nil {
		change(m)
		raw, err = json.Marshal(m)
	}
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
