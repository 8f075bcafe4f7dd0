package store_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/testdb"
)

// TestBackup copies while writers go on: the copy is one moment of the
// database, and a store opens it.
func TestBackup(t *testing.T) {
	ctx := context.Background()
	s := open(t, dbPath(t))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			// Both keys change in one commit.
			u := &store.Unit{Slots: []store.Slot{{Writes: nil}}}
			u.Slots[0].Writes = append(u.Slots[0].Writes, set("a", "left", fmt.Sprint(i)), set("a", "right", fmt.Sprint(i)))
			done := make(chan error, 1)
			u.Done = func(err error) { done <- err }
			if _, err := s.Seal(u); err != nil {
				t.Error(err)
				return
			}
			if err := <-done; err != nil {
				t.Error(err)
				return
			}
		}
	})
	var copies []string
	for i := range 5 {
		to := filepath.Join(t.TempDir(), fmt.Sprintf("copy-%d.db", i))
		if err := s.Backup(ctx, to); err != nil {
			t.Fatal(err)
		}
		copies = append(copies, to)
	}
	close(stop)
	wg.Wait()
	if err := s.Backup(ctx, copies[0]); !errors.Is(err, store.ErrExists) {
		t.Errorf("over a file that is there: %v", err)
	}
	for _, path := range copies {
		c := open(t, path)
		left, _, err := c.GetState(ctx, "a", "left")
		if err != nil {
			t.Fatal(err)
		}
		right, _, err := c.GetState(ctx, "a", "right")
		if err != nil {
			t.Fatal(err)
		}
		if string(left) != string(right) {
			t.Errorf("the copy has left %s and right %s", left, right)
		}
	}
}

// TestRestore goes back to a copy: what came after it is gone, the old
// database is kept, and a new epoch begins.
func TestRestore(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	before := s.Identity()
	if err := s.SetState(ctx, "a", "k", []byte("then"), 0); err != nil {
		t.Fatal(err)
	}
	staged := filepath.Join(filepath.Dir(path), "upload")
	if err := s.Backup(ctx, staged); err != nil {
		t.Fatal(err)
	}
	if err := s.SetState(ctx, "a", "k", []byte("now"), 0); err != nil {
		t.Fatal(err)
	}
	if err := s.StageRestore(ctx, staged); err != nil {
		t.Fatal(err)
	}
	// A crash instead of a restart: the log of the old database is still
	// there, and must not be taken for the new one's.
	closeStore(t, s)
	s = open(t, path)
	if got, _, err := s.GetState(ctx, "a", "k"); err != nil || string(got) != "then" {
		t.Errorf("got %q, %v", got, err)
	}
	r := s.Recovery()
	if r == nil || r.Reason != "a backup was restored" {
		t.Fatalf("recovery %+v", r)
	}
	if _, err := os.Stat(filepath.Join(r.Kept, "headgate.db")); err != nil {
		t.Errorf("the replaced database is gone: %v", err)
	}
	if id := s.Identity(); id.ID != before.ID || id.Epoch != before.Epoch+1 {
		t.Errorf("identity %+v after %+v", id, before)
	}
}

// TestRestoreAfterKill has the log of the replaced database beside it, as a
// kill leaves it.
func TestRestoreAfterKill(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := s.Backup(ctx, copied); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		if err := s.SetState(ctx, "a", fmt.Sprint(i), []byte("now"), 0); err != nil {
			t.Fatal(err)
		}
	}
	killed := testdb.Copy(t, path)
	b, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(killed+".restore", b, 0o600); err != nil {
		t.Fatal(err)
	}
	r := open(t, killed)
	if _, found, err := r.GetState(ctx, "a", "7"); err != nil || found {
		t.Errorf("a key of the replaced database is there: %v, %v", found, err)
	}
	if err := r.Check(ctx); err != nil {
		t.Error(err)
	}
}

// TestRestoreRefuses what is no sound copy.
func TestRestoreRefuses(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	dir := t.TempDir()
	for name, content := range map[string]string{"text": strings.Repeat("text ", 2000), "empty": ""} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := s.StageRestore(ctx, file); err == nil || !strings.Contains(err.Error(), "no backup of a gateway") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(path + ".restore"); err == nil {
		t.Error("something was staged")
	}
}
