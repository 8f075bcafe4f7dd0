package object

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDigestsThatAreNone looks for, and collects, what a damaged row or one of a
// foreign backup names: it ends nobody, and touches no other file.
func TestDigestsThatAreNone(t *testing.T) {
	dir := t.TempDir()
	b, err := openBlobs(filepath.Join(dir, "objects"), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(dir, "victim")
	if err := os.WriteFile(victim, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	nobody := func(context.Context, string) (bool, error) { return false, nil }
	for _, digest := range []string{
		"", "sha256:", "sha256:a", "sha512:" + strings.Repeat("a", 64), "sha256:" + strings.Repeat("A", 64), strings.Repeat("a", 64),
		"sha256:../../../victim", "sha256:" + strings.Repeat("../", 20) + "vict", "sha256:" + strings.Repeat("a", 63) + "\x00",
	} {
		if f, err := b.open(digest); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v %v", digest, f, err)
		}
		b.hold(digest)
		if b.there(digest) {
			t.Errorf("%q is there", digest)
		}
		b.release(digest)
	}
	if err := errors.Join(b.collect(t.Context(), nobody), b.collect(t.Context(), nobody)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
}
