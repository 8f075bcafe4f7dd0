package store_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/slow"
)

// filled makes a database with something in most tables and closes it.
func filled(t *testing.T) string {
	t.Helper()
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	for i := range 400 {
		w := function.Write{Namespace: fmt.Sprintf("fn-%d", i%5), Key: fmt.Sprintf("key-%d", i), Value: bytes.Repeat([]byte{byte(i)}, 300)}
		if err := s.SetState(ctx, w.Namespace, w.Key, w.Value, 0); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.PutVersion(ctx, store.Version{Function: "irrigate", Digest: "d", Author: "a"}, bytes.Repeat([]byte("bundle"), 5000), "live"); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		if err := s.PutDevice(ctx, store.Device{Name: fmt.Sprintf("soil-%d", i), Secret: "hash", Publish: []string{"farm/#"}}, false); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	return path
}

// TestDamagedDatabase opens what is no database: it is put aside, and the
// store works.
func TestDamagedDatabase(t *testing.T) {
	path := dbPath(t)
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	r := s.Recovery()
	if r == nil || r.Kept == "" || !strings.Contains(r.Reason, "not a database") {
		t.Fatalf("recovery is %+v", r)
	}
	kept, err := os.ReadFile(filepath.Join(r.Kept, "headgate.db"))
	if err != nil || !bytes.HasPrefix(kept, []byte("no database")) {
		t.Errorf("kept %.20q, %v", kept, err)
	}
	if err := s.SetState(context.Background(), "a", "k", []byte("v"), 0); err != nil {
		t.Error(err)
	}
}

// TestDamagedPages overwrites pages of a good database, each in turn. The
// store opens, works, and has what can still be read; what it cannot read it
// says.
func TestDamagedPages(t *testing.T) {
	slow.Both(t, slow.OneGoroutine)
	good, err := os.ReadFile(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	const page = 4096
	random := rand.New(rand.NewPCG(1, 1))
	pages := len(good) / page
	quarantined, complete := 0, 0
	for n := 0; n < pages; n += 1 + pages/40 {
		bad := bytes.Clone(good)
		for i := range page {
			bad[n*page+i] = byte(random.Uint32())
		}
		path := dbPath(t)
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, path)
		devices := readAll(t, s)
		select {
		case <-s.Damaged(): // found by reading: the next start sees to it
			closeStore(t, s)
			s = open(t, path)
			devices = readAll(t, s)
			if s.Recovery() == nil {
				t.Errorf("page %d: damage was found and forgotten", n)
			}
		default:
		}
		if err := s.SetState(context.Background(), "new", "k", []byte("v"), 0); err != nil {
			t.Errorf("page %d: the store does not work: %v", n, err)
		}
		if s.Recovery() != nil {
			quarantined++
		}
		if devices == 40 {
			complete++
		}
		closeStore(t, s)
	}
	t.Logf("%d damaged pages of %d tried: %d databases put aside, %d still had every device", (pages+pages/40)/(1+pages/40), pages, quarantined, complete)
	if quarantined == 0 || complete == 0 {
		t.Errorf("%d put aside, %d complete: neither may be 0", quarantined, complete)
	}
}

// readAll reads everything as the gateway does and counts the devices.
func readAll(t *testing.T, s *store.Store) int {
	t.Helper()
	ctx := context.Background()
	for i := range 400 {
		_, _, _ = s.GetState(ctx, fmt.Sprintf("fn-%d", i%5), fmt.Sprintf("key-%d", i))
	}
	_, _ = s.Versions(ctx, "irrigate")
	devices, err := s.Devices(ctx)
	if err != nil {
		return 0
	}
	return len(devices)
}

// TestSalvage loses one page in the middle of a table: the rows before and
// behind it are kept.
func TestSalvage(t *testing.T) {
	path := filled(t)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// The header of the file stays sound; a leaf of the state is overwritten.
	at := bytes.Index(b, []byte("key-201"))
	if at < 0 {
		t.Fatal("no such key in the file")
	}
	at -= at % 4096
	copy(b[at:at+4096], bytes.Repeat([]byte{0xAA}, 4096))
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".suspect", []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	r := s.Recovery()
	if r == nil {
		t.Fatal("not put aside")
	}
	for _, table := range r.Tables {
		switch table.Table {
		case "kv":
			if table.Rows < 300 || table.Rows >= 400 || table.Error == "" {
				t.Errorf("kv: %+v", table)
			}
		case "device":
			if table.Rows != 40 || table.Error != "" {
				t.Errorf("device: %+v", table)
			}
		}
	}
	if bundle, err := s.Bundle(context.Background(), "irrigate", 1); err != nil || len(bundle) != 30_000 {
		t.Errorf("bundle of %d bytes, %v", len(bundle), err)
	}
}

// TestLostDatabase takes the database away: the gateway is the same one, in a
// new epoch, and says why.
func TestLostDatabase(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	first := s.Identity()
	if first.ID == "" || first.Epoch != 1 || s.Recovery() != nil {
		t.Fatalf("identity %+v, recovery %+v", first, s.Recovery())
	}
	closeStore(t, s)
	s = open(t, path)
	if s.Identity() != first || s.Recovery() != nil {
		t.Fatalf("after a restart: %+v, recovery %+v", s.Identity(), s.Recovery())
	}
	closeStore(t, s)
	for _, how := range []func() error{func() error { return os.Remove(path) }, func() error { return os.Truncate(path, 0) }} {
		if err := how(); err != nil {
			t.Fatal(err)
		}
		s = open(t, path)
		next := s.Identity()
		if next.ID != first.ID || next.Epoch != first.Epoch+1 || s.Recovery() == nil {
			t.Errorf("after the loss: %+v after %+v, recovery %+v", next, first, s.Recovery())
		}
		first = next
		closeStore(t, s)
	}
}

// TestOldCopy puts an older copy of the database in place by hand.
func TestOldCopy(t *testing.T) {
	path := dbPath(t)
	s := open(t, path)
	closeStore(t, s)
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	s = open(t, path) // epoch 2
	closeStore(t, s)
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	if got := s.Identity().Epoch; got != 3 {
		t.Errorf("epoch %d, want 3", got)
	}
}
