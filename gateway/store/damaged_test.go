package store_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/store"
)

// TestDamagedDatabase opens what is no database: the error says what to do.
func TestDamagedDatabase(t *testing.T) {
	path := dbPath(t)
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(context.Background(), store.Config{Path: path})
	if err == nil {
		_ = s.Close(context.Background())
		t.Fatal("opened")
	}
	if !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "put a copy back") {
		t.Errorf("got %v", err)
	}
}
