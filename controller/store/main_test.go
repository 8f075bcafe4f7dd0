package store_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/controller/store/pgtest"
)

var postgres pgtest.Server

func TestMain(m *testing.M) {
	code := m.Run()
	postgres.Stop()
	os.Exit(code)
}

// both runs a test on each kind of database. reopen opens it once more, as
// another replica or after a restart.
func both(t *testing.T, test func(t *testing.T, s *store.Store, reopen func() *store.Store)) {
	run := func(t *testing.T, dsn string) {
		open := func() *store.Store {
			s, err := store.Open(t.Context(), dsn)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
			return s
		}
		test(t, open(), open)
	}
	t.Run("sqlite", func(t *testing.T) { run(t, "sqlite:"+filepath.Join(t.TempDir(), "a folder", "controller.db")) })
	t.Run("postgres", func(t *testing.T) { run(t, postgres.Database(t)) })
}

var epoch = time.Date(2026, 3, 29, 1, 59, 59, 123456000, time.UTC)

// update must succeed.
func update(t *testing.T, s *store.Store, fn func(context.Context, *store.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), func(tx *store.Tx) error { return fn(t.Context(), tx) }); err != nil {
		t.Fatal(err)
	}
}

// addTenant adds one called name whose ID is the same.
func addTenant(t *testing.T, s *store.Store, name string) {
	t.Helper()
	update(t, s, func(ctx context.Context, tx *store.Tx) error {
		return tx.AddTenant(ctx, store.Tenant{ID: name, Name: name, Created: epoch})
	})
}
