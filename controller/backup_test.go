package controller_test

import (
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/controller"
	"github.com/headgate-io/headgate/controller/backup"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/store"
)

// A database on PostgreSQL is not in a backup. It is put back first, and told by
// the restore that it has forgotten something.
func TestRestoreOnPostgreSQL(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	cfg := settings(t.TempDir())
	cfg.Database = postgres.Database(t)
	base, err := controller.Open(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = base.Store.Close() })
	if _, err := base.First(t.Context()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "b.tar")
	s, err := backup.Write(t.Context(), &cfg, file, "v1")
	if err != nil || s.Schema != 0 || s.Files != 2 {
		t.Fatalf("%+v, %v", s, err)
	}
	// The database knows what was after the backup: that is not forgotten, and who
	// was put out in it stays out.
	known := s.Created.Add(time.Hour)
	var gateway string
	err = base.Store.Update(t.Context(), func(tx *store.Tx) error {
		tenant, err := tx.TenantNamed(t.Context(), controller.FirstTenant)
		gateway = store.NewID()
		if err == nil {
			err = tx.AddGateway(t.Context(), store.Gateway{ID: gateway, Tenant: tenant.ID, Name: "gw-1"})
		}
		if err == nil {
			err = tx.AddKey(t.Context(), store.Key{Gateway: gateway, Public: []byte("key"), Since: known})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	to := cfg
	to.Dir = t.TempDir()
	for want, change := range map[string]func(*config.Config){
		"it has no database":      func(c *config.Config) { c.Database = "sqlite:controller.db" },
		"pg_restore":              func(c *config.Config) { c.Database = postgres.Database(t) },
		"is not empty (there is ": func(c *config.Config) { c.Dir = cfg.Dir },
	} {
		bad := to
		bad.Dir = t.TempDir()
		change(&bad)
		if _, err := backup.Restore(t.Context(), &bad, file, backup.Options{Log: log}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %q", err, want)
		}
	}
	if _, err := backup.Restore(t.Context(), &to, file, backup.Options{Log: log}); err != nil {
		t.Fatal(err)
	}
	var first uint64
	err = base.Store.View(t.Context(), func(tx *store.Tx) error {
		windows, err := tx.Windows(t.Context())
		if len(windows) != 1 || !windows[0].From.Equal(known) {
			t.Errorf("it knows of %v", windows)
		}
		d, errDesired := tx.Desired(t.Context(), gateway)
		if d.Revision < 1<<20 {
			t.Errorf("a gateway's revision is %d", d.Revision)
		}
		first = d.Revision
		if err == nil {
			err = errDesired
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	again, err := controller.Open(t.Context(), to, log)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Store.Close()
	// Another one, by a clock that is behind: the gateway may follow every revision
	// since the first.
	err = base.Store.Update(t.Context(), func(tx *store.Tx) error {
		if err := tx.RaiseDesired(t.Context(), gateway, 1); err != nil {
			return err
		}
		d, err := tx.Desired(t.Context(), gateway)
		if d.Revision < first+1<<20 {
			t.Errorf("revision %d follows on %d", d.Revision, first)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
