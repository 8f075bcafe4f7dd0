package secret

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/store"
)

const value = "hunter2-is-the-key"

// rig is a vault over a real store, in a folder of its own.
type rig struct {
	*testing.T
	dir   string
	store *store.Store
	vault *Vault
}

func start(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, dir: t.TempDir()}
	var err error
	if r.store, err = store.Open(t.Context(), store.Config{Path: filepath.Join(r.dir, "headgate.db")}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.store.Close(context.WithoutCancel(t.Context())) })
	r.vault = r.open(nil)
	return r
}

func (r *rig) keyFile() string { return filepath.Join(r.dir, "secret.key") }

func (r *rig) open(s Store) *Vault {
	r.Helper()
	if s == nil {
		s = r.store
	}
	v, err := Open(r.Context(), s, r.keyFile(), slog.New(slog.DiscardHandler))
	if err != nil {
		r.Fatal(err)
	}
	return v
}

func (r *rig) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func read(t *testing.T, v *Vault, fn, name string) string {
	t.Helper()
	b, found, err := v.For(fn).Secret(name)
	if err != nil {
		t.Fatalf("%s of %s: %v", name, fn, err)
	}
	if !found {
		return ""
	}
	return string(b)
}

// TestSecretsAtRest looks for a secret in every file of the gateway's folder,
// then opens it with a new process's vault.
func TestSecretsAtRest(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	files, err := os.ReadDir(r.dir)
	r.must(err)
	for _, f := range files {
		raw, err := os.ReadFile(filepath.Join(r.dir, f.Name()))
		r.must(err)
		if bytes.Contains(raw, []byte("hunter2")) {
			t.Errorf("the secret is in %s", f.Name())
		}
	}
	if info, err := os.Stat(r.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v", info, err)
	}
	v := r.open(nil)
	if got := read(t, v, "dry", "key"); got != value {
		t.Errorf("got %q", got)
	}
	for _, other := range [][2]string{{"wet", "key"}, {"dry", "other"}, {"dr", "ykey"}} {
		if got := read(t, v, other[0], other[1]); got != "" {
			t.Errorf("%v got %q", other, got)
		}
	}
}

// TestMovedSecretsDoNotOpen gives the row of one function to another, as who can
// write the database may, and changes it in every other way.
func TestMovedSecretsDoNotOpen(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	rows, err := r.store.Secrets(t.Context())
	r.must(err)
	for name, change := range map[string]func(*store.Secret){
		"function":  func(s *store.Secret) { s.Function = "nosy" },
		"name":      func(s *store.Secret) { s.Function, s.Name = "nosy", "other" },
		"bytes":     func(s *store.Secret) { s.Function = "dry"; s.Sealed[len(s.Sealed)-1] ^= 1 },
		"cut":       func(s *store.Secret) { s.Sealed = s.Sealed[:10] },
		"empty":     func(s *store.Secret) { s.Sealed = []byte{} },
		"other key": func(s *store.Secret) { s.KeyID = "000000000000" },
	} {
		row := rows[0]
		row.Sealed = bytes.Clone(row.Sealed)
		change(&row)
		r.must(r.store.PutSecrets(t.Context(), row))
		if _, found, err := r.open(nil).For(row.Function).Secret(row.Name); found || !errors.Is(err, ErrSealed) {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

// TestLostKey takes the key file away, and puts it back.
func TestLostKey(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	r.must(os.Rename(r.keyFile(), r.keyFile()+".away"))
	v := r.open(nil)
	if l := v.List(""); len(l) != 1 || !l[0].Lost {
		t.Errorf("list %+v", l)
	}
	if _, _, err := v.For("dry").Secret("key"); !errors.Is(err, ErrSealed) {
		t.Errorf("without its key: %v", err)
	}
	if _, err := v.Rekey(t.Context()); !errors.Is(err, ErrSealed) {
		t.Errorf("rekey: %v", err)
	}
	r.must(os.Rename(r.keyFile()+".away", r.keyFile()))
	r.must(v.Reload())
	if got := read(t, v, "dry", "key"); got != value {
		t.Errorf("got %q", got)
	}
}

// failing is a store that does not take rows.
type failing struct{ *store.Store }

var errDisk = errors.New("disk is full")

func (failing) PutSecrets(context.Context, ...store.Secret) error { return errDisk }

// TestRekey changes the key; one that is interrupted loses nothing.
func TestRekey(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	r.must(r.vault.Set(t.Context(), "wet", "key", []byte("another")))
	before, err := os.ReadFile(r.keyFile())
	r.must(err)
	if _, err := r.open(failing{r.store}).Rekey(t.Context()); !errors.Is(err, errDisk) {
		t.Fatalf("with a full disk: %v", err)
	}
	v := r.open(nil)
	if read(t, v, "dry", "key") != value || read(t, v, "wet", "key") != "another" {
		t.Error("an interrupted change of the key lost secrets")
	}
	n, err := v.Rekey(t.Context())
	if n != 2 || err != nil {
		t.Fatalf("%d, %v", n, err)
	}
	v = r.open(nil)
	if read(t, v, "dry", "key") != value || read(t, v, "wet", "key") != "another" {
		t.Error("the change of the key lost secrets")
	}
	after, err := os.ReadFile(r.keyFile())
	r.must(err)
	for line := range strings.Lines(string(before)) {
		if line[0] != '#' && strings.Contains(string(after), line) {
			t.Error("the old key is still there")
		}
	}
	if n := strings.Count(string(after), "\n"); n != 2 {
		t.Errorf("the key file has %d lines", n)
	}
}

func TestRemovedFunctionsLeaveNothing(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "a", []byte(value)))
	r.must(r.vault.Set(t.Context(), "dry", "b", []byte(value)))
	r.must(r.vault.Set(t.Context(), "wet", "a", []byte(value)))
	r.must(r.vault.RemoveFunction(t.Context(), "dry"))
	for _, v := range []*Vault{r.vault, r.open(nil)} {
		if l := v.List(""); len(l) != 1 || l[0].Function != "wet" {
			t.Errorf("left: %+v", l)
		}
	}
}

// A key file that others can read is closed; a damaged one is not quoted.
func TestKeyFile(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	r.must(os.Chmod(r.keyFile(), 0o644))
	r.open(nil)
	if info, err := os.Stat(r.keyFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	r.must(os.Remove(r.keyFile()))
	r.must(os.Symlink(filepath.Join(r.dir, "elsewhere"), r.keyFile()+".new"))
	v := r.open(nil)
	r.must(v.Set(t.Context(), "dry", "key", []byte(value)))
	if _, err := os.Stat(filepath.Join(r.dir, "elsewhere")); err == nil {
		t.Error("the key was written through a link")
	}
}

// TestDamagedKeyFile: the gateway opens with it, does not quote it, does not
// replace it, and has its secrets again when it is put right.
func TestDamagedKeyFile(t *testing.T) {
	r := start(t)
	r.must(r.vault.Set(t.Context(), "dry", "key", []byte(value)))
	good, err := os.ReadFile(r.keyFile())
	r.must(err)
	r.must(os.WriteFile(r.keyFile(), []byte("almost-a-key\n"), 0o600))
	var log bytes.Buffer
	v, err := Open(t.Context(), r.store, r.keyFile(), slog.New(slog.NewTextHandler(&log, nil)))
	r.must(err)
	if text := log.String(); strings.Contains(text, "almost") || !strings.Contains(text, "secret.key:1") {
		t.Errorf("the log: %s", text)
	}
	if _, _, err := v.For("dry").Secret("key"); !errors.Is(err, ErrSealed) {
		t.Errorf("with a damaged key: %v", err)
	}
	if err := v.Set(t.Context(), "wet", "key", []byte(value)); !errors.Is(err, ErrSealed) {
		t.Errorf("set: %v", err)
	}
	if _, err := v.Rekey(t.Context()); !errors.Is(err, ErrSealed) {
		t.Errorf("rekey: %v", err)
	}
	if lost, all, err := v.Lost(); lost != 1 || all != 1 || err == nil {
		t.Errorf("%d of %d are lost, %v", lost, all, err)
	}
	if left, err := os.ReadFile(r.keyFile()); err != nil || string(left) != "almost-a-key\n" {
		t.Errorf("the key file is %q, %v", left, err)
	}
	r.must(os.WriteFile(r.keyFile(), good, 0o600))
	r.must(v.Reload())
	if got := read(t, v, "dry", "key"); got != value {
		t.Errorf("got %q", got)
	}
	if lost, _, err := v.Lost(); lost != 0 || err != nil {
		t.Errorf("%d are lost, %v", lost, err)
	}
}

func TestFaults(t *testing.T) {
	r := start(t)
	for _, c := range []struct {
		fn, name string
		size     int
	}{{"Dry", "key", 1}, {"dry", "../key", 1}, {"dry", "", 1}, {"dry", "key", 0}, {"dry", "key", MaxBytes + 1}} {
		if err := r.vault.Set(t.Context(), c.fn, c.name, make([]byte, c.size)); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := r.vault.Remove(t.Context(), "dry", "key"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("remove nothing: %v", err)
	}
}

// BenchmarkSecret opens one secret of 32 bytes, as the host call does.
func BenchmarkSecret(b *testing.B) {
	s, err := store.Open(b.Context(), store.Config{Path: filepath.Join(b.TempDir(), "headgate.db")})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(context.WithoutCancel(b.Context())) })
	v, err := Open(b.Context(), s, filepath.Join(b.TempDir(), "secret.key"), slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	if err := v.Set(b.Context(), "dry", "key", make([]byte, 32)); err != nil {
		b.Fatal(err)
	}
	of := v.For("dry")
	b.ReportAllocs()
	for b.Loop() {
		if _, found, err := of.Secret("key"); !found || err != nil {
			b.Fatal(err)
		}
	}
}
