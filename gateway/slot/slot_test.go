package slot

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program is this test's own binary, with a tail that tells copies apart.
func program(t *testing.T, tail string) []byte {
	t.Helper()
	raw, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return append(raw, tail...)
}

func newDir(t *testing.T) *Dir {
	t.Helper()
	base := filepath.Join(t.TempDir(), "headgate")
	if err := os.WriteFile(base, []byte("base"), 0o700); err != nil {
		t.Fatal(err)
	}
	d, err := Open(filepath.Join(t.TempDir(), "slots"), base)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func stage(t *testing.T, d *Dir, tail string) Binary {
	t.Helper()
	b, err := d.Stage(t.Context(), bytes.NewReader(program(t, tail)), Update{})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func next(t *testing.T, d *Dir, want Name, trial bool) {
	t.Helper()
	c, err := d.Next()
	if err != nil {
		t.Fatal(err)
	}
	if c.Slot != want || (c.Trial != nil) != trial {
		t.Fatalf("next is %s (trial %v), want %s (trial %v)", c.Slot, c.Trial, want, trial)
	}
	if c.Path != d.Path(want) {
		t.Fatalf("path %s", c.Path)
	}
}

func TestConfirmed(t *testing.T) {
	d := newDir(t)
	next(t, d, Base, false)
	stage(t, d, "1")
	next(t, d, A, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	next(t, d, A, false)
	stage(t, d, "2")
	next(t, d, B, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	next(t, d, B, false)
	s, err := d.Load()
	if err != nil || s.Previous != A {
		t.Fatalf("%+v, %v", s, err)
	}
}

func TestTakenBack(t *testing.T) {
	d := newDir(t)
	stage(t, d, "1")
	for range MaxStarts {
		next(t, d, A, true)
	}
	next(t, d, Base, false)
	s, err := d.Load()
	if err != nil || s.Failure == nil || !strings.Contains(s.Failure.Reason, "3 times") {
		t.Fatalf("%+v, %v", s, err)
	}
	stage(t, d, "2")
	next(t, d, A, true)
	if err := d.Reject("it is not ready"); err != nil {
		t.Fatal(err)
	}
	next(t, d, Base, false)
}

func TestOneTrialAtATime(t *testing.T) {
	d := newDir(t)
	stage(t, d, "1")
	if _, err := d.Stage(t.Context(), bytes.NewReader(program(t, "2")), Update{}); !errors.Is(err, ErrTrial) {
		t.Fatal(err)
	}
}

// TestDamage flips a bit in what runs, and in the file that says so.
func TestDamage(t *testing.T) {
	d := newDir(t)
	stage(t, d, "1")
	next(t, d, A, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	stage(t, d, "2")
	next(t, d, B, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.Path(B), []byte("garbage"), 0o700); err != nil {
		t.Fatal(err)
	}
	next(t, d, A, false)
	if err := os.Remove(d.Path(A)); err != nil {
		t.Fatal(err)
	}
	next(t, d, Base, false)
	if err := os.WriteFile(filepath.Join(d.path, stateFile), []byte("{\x00"), 0o600); err != nil {
		t.Fatal(err)
	}
	next(t, d, Base, false)
}

func TestNewBaseWins(t *testing.T) {
	d := newDir(t)
	stage(t, d, "1")
	next(t, d, A, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.base, []byte("a newer image"), 0o700); err != nil {
		t.Fatal(err)
	}
	next(t, d, Base, false)
}

func TestRefused(t *testing.T) {
	foreign := program(t, "")
	foreign[18] = 8 // e_machine: MIPS
	cases := map[string]struct {
		content []byte
		update  Update
		want    string
	}{
		"no program": {[]byte("PK\x03\x04 an archive"), Update{}, "no program"},
		"foreign":    {foreign, Update{}, "for EM_MIPS"},
		"digest":     {program(t, ""), Update{SHA256: strings.Repeat("0", 64)}, "not arrive whole"},
		"signature":  {program(t, ""), Update{Verify: func(context.Context, string) error { return errors.New("unsigned") }}, "unsigned"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDir(t)
			if _, err := d.Stage(t.Context(), bytes.NewReader(c.content), c.update); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v", err)
			}
			next(t, d, Base, false)
			if left, _ := filepath.Glob(filepath.Join(d.path, "*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// TestDiskFullKeepsWhatWasConfirmed cannot write what is known of the slots: not
// the trial runs then, and not the base, which may be years older than the
// records, but the binary that was confirmed.
func TestDiskFullKeepsWhatWasConfirmed(t *testing.T) {
	d := newDir(t)
	stage(t, d, "one")
	next(t, d, A, true)
	if err := d.Confirm(); err != nil {
		t.Fatal(err)
	}
	stage(t, d, "two")
	file := filepath.Join(d.path, stateFile)
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	full := &Dir{path: d.path, base: d.base, now: d.now, replace: func(string, []byte) error { return errors.New("no space left on device") }}
	c, err := full.Next()
	if err == nil || c.Slot != A || c.Path != d.Path(A) || c.Trial != nil {
		t.Errorf("%+v, %v", c, err)
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(raw, after) {
		t.Errorf("the state has changed: %v", err)
	}
	next(t, d, B, true)
}

// TestOneUpdateArrivesAtATime has a second update come while the first is on
// its way.
func TestOneUpdateArrivesAtATime(t *testing.T) {
	d := newDir(t)
	r, w := io.Pipe()
	first := make(chan error, 1)
	go func() {
		_, err := d.Stage(context.WithoutCancel(t.Context()), r, Update{})
		first <- err
	}()
	whole := program(t, "one")
	if _, err := w.Write(whole[:100]); err != nil { // it is being read
		t.Fatal(err)
	}
	if _, err := d.Stage(t.Context(), bytes.NewReader(program(t, "two")), Update{}); !errors.Is(err, ErrStaging) {
		t.Errorf("the second: %v", err)
	}
	if _, err := w.Write(whole[100:]); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Close(), <-first); err != nil {
		t.Fatal(err)
	}
	next(t, d, A, true)
}
