package store_test

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
)

// TestRemovedDatabase removes the open database: nothing more is acknowledged,
// for what SQLite wrote into the nameless file a restart would not find.
func TestRemovedDatabase(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	write := func(value string) error {
		return seal(t, s, &store.Unit{Slots: []store.Slot{{Writes: []function.Write{set("f", "a", value)}}}})
	}
	if err := write("old"); err != nil {
		t.Fatal(err)
	}
	away := path + ".away"
	if err := os.Rename(path, away); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- write("new") }()
	for s.Stats().CommitErrors == 0 {
		select {
		case err := <-done:
			t.Fatalf("acknowledged without a file: %v", err)
		default:
			runtime.Gosched()
		}
	}
	// Recovery makes no new database, and goes on until the file is back.
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("something is in the database's place: %v", err)
	}
	if err := os.Rename(away, path); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, store.ErrRolledBack) {
		t.Fatalf("written while the database was away: %v", err)
	}
	if err := write("newer"); err != nil {
		t.Fatalf("once it is back: %v", err)
	}
	if got := get(t, s, "f", "a"); got != "newer" {
		t.Errorf("a = %s", got)
	}
}

// TestRollbackSaysWhy names the cause to an operator's command.
func TestRollbackSaysWhy(t *testing.T) {
	f := &fail{step: store.StepCommit}
	s := open(t, dbPath(t), func(c *store.Config) { c.Inject = f.inject })
	f.times.Store(1)
	err := s.SetState(context.Background(), "f", "a", []byte("x"), 0)
	if !errors.Is(err, store.ErrRolledBack) || !strings.Contains(err.Error(), "disk I/O error (injected)") {
		t.Errorf("got %v", err)
	}
}
