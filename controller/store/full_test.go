package store

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A database without room refuses changes, keeps what it had, reads, and takes
// changes again once there is room, by itself.
func TestFull(t *testing.T) {
	s, err := Open(t.Context(), "sqlite:"+filepath.Join(t.TempDir(), "c.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	set := func(name string, bytes int) error {
		return s.Update(t.Context(), func(tx *Tx) error { return tx.SetMeta(t.Context(), name, strings.Repeat("x", bytes)) })
	}
	if err := set("before", 1); err != nil {
		t.Fatal(err)
	}
	var pages int
	if err := s.write.QueryRow(`PRAGMA page_count`).Scan(&pages); err != nil {
		t.Fatal(err)
	}
	limit := func(most int) {
		t.Helper()
		if _, err := s.write.Exec(`PRAGMA max_page_count = ` + strconv.Itoa(most)); err != nil {
			t.Fatal(err)
		}
	}
	limit(pages)
	for range 3 {
		if err := set("more", 1<<20); !errors.Is(err, ErrFull) {
			t.Fatalf("a full database: %v", err)
		}
	}
	if n := s.Stats().Full; n != 3 {
		t.Errorf("%d are counted", n)
	}
	err = s.View(t.Context(), func(tx *Tx) error {
		before, err := tx.Meta(t.Context(), "before")
		more, errMore := tx.Meta(t.Context(), "more")
		if before != "x" || more != "" {
			t.Errorf("it has %q and %d bytes", before, len(more))
		}
		return errors.Join(err, errMore)
	})
	if err != nil {
		t.Error(err)
	}
	limit(1 << 20)
	if err := set("more", 1<<20); err != nil {
		t.Errorf("with room: %v", err)
	}
}
