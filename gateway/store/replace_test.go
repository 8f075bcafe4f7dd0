package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/gateway/store"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testdb"
)

// interrupt has Open end at the n-th pass of a step, as a power cut would.
func interrupt(t *testing.T, path string, step store.Step, n int) {
	t.Helper()
	cut := errors.New("power cut")
	s, err := store.Open(context.Background(), store.Config{Path: path, MinFreeBytes: -1, Inject: func(at store.Step) error {
		if at == step {
			n--
		}
		if n == 0 {
			return cut
		}
		return nil
	}})
	if err == nil {
		closeStore(t, s)
		t.Fatalf("%s was not passed", step)
	}
	if !errors.Is(err, cut) {
		t.Fatal(err)
	}
}

// replacements are the places where putting a database in place of another may
// be interrupted.
var replacements = []struct {
	step store.Step
	n    int
}{{store.StepPutAside, 1}, {store.StepPutAside, 4}, {store.StepReplaced, 1}, {store.StepIdentify, 1}}

// TestInterruptedRestore: the copy gets in place, what it replaces is kept
// whole, and a new epoch begins, wherever the power fails.
func TestInterruptedRestore(t *testing.T) {
	ctx := context.Background()
	for _, at := range replacements {
		t.Run(fmt.Sprint(at.step, at.n), func(t *testing.T) {
			path := dbPath(t)
			s := open(t, path)
			if err := s.SetState(ctx, "a", "k", []byte("then"), 0); err != nil {
				t.Fatal(err)
			}
			staged := filepath.Join(t.TempDir(), "copy")
			if err := s.Backup(ctx, staged); err != nil {
				t.Fatal(err)
			}
			if err := s.SetState(ctx, "a", "k", []byte("now"), 0); err != nil {
				t.Fatal(err)
			}
			epoch := s.Identity().Epoch
			killed := testdb.Copy(t, path) // with what is newest in the log
			copyFile(t, filepath.Join(filepath.Dir(path), "identity.json"), filepath.Join(filepath.Dir(killed), "identity.json"))
			copyFile(t, staged, killed+".restore")

			interrupt(t, killed, at.step, at.n)
			s = open(t, killed)
			if got, _, err := s.GetState(ctx, "a", "k"); err != nil || string(got) != "then" {
				t.Errorf("got %q, %v", got, err)
			}
			r := s.Recovery()
			if r == nil || r.Reason != "a backup was restored" {
				t.Fatalf("recovery %+v", r)
			}
			if s.Identity().Epoch <= epoch {
				t.Errorf("epoch %d after %d", s.Identity().Epoch, epoch)
			}
			kept := open(t, filepath.Join(r.Kept, "headgate.db"))
			if got, _, err := kept.GetState(ctx, "a", "k"); err != nil || string(got) != "now" {
				t.Errorf("the replaced one has %q, %v", got, err)
			}
			epoch = s.Identity().Epoch
			closeStore(t, s)
			if s = open(t, killed); s.Identity().Epoch != epoch {
				t.Errorf("another epoch without a reason: %d after %d", s.Identity().Epoch, epoch)
			}
		})
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestInterruptedQuarantine: what can be read of a damaged database is not
// forgotten when the power fails while it is read.
func TestInterruptedQuarantine(t *testing.T) {
	slow.Both(t, slow.OneGoroutine)
	good, err := os.ReadFile(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	damaged := damagedDevices(t, good)
	for _, at := range append(replacements, struct {
		step store.Step
		n    int
	}{store.StepSalvaged, 1}) {
		t.Run(fmt.Sprint(at.step, at.n), func(t *testing.T) {
			path := dbPath(t)
			if err := os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path+".suspect", nil, 0o600); err != nil {
				t.Fatal(err)
			}
			interrupt(t, path, at.step, at.n)
			s := open(t, path)
			if devices := readAll(t, s); devices != 40 {
				t.Errorf("%d devices are left", devices)
			}
			r := s.Recovery()
			if r == nil || len(r.Tables) == 0 {
				t.Fatalf("recovery %+v", r)
			}
			if kept, err := os.ReadFile(filepath.Join(r.Kept, "headgate.db")); err != nil || !bytes.Equal(kept[:1024], damaged[:1024]) {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			if s.Identity().Epoch < 2 {
				t.Errorf("epoch %d", s.Identity().Epoch)
			}
		})
	}
}

// damagedDevices returns the database with a page damaged that no device is on.
func damagedDevices(t *testing.T, good []byte) []byte {
	t.Helper()
	const page = 4096
	for n := len(good)/page - 1; n > 0; n-- {
		bad := bytes.Clone(good)
		for i := range page {
			bad[n*page+i] = byte(i * 7)
		}
		path := dbPath(t)
		if err := errors.Join(os.WriteFile(path, bad, 0o600), os.WriteFile(path+".suspect", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		s := open(t, path)
		if s.Recovery() != nil && readAll(t, s) == 40 {
			return bad
		}
	}
	t.Fatal("no such page")
	return nil
}

// TestCheckedDamage: what the doctor has found the next start sees to.
func TestCheckedDamage(t *testing.T) {
	slow.UnderRace(t, slow.OneGoroutine)
	good, err := os.ReadFile(filled(t))
	if err != nil {
		t.Fatal(err)
	}
	path := dbPath(t)
	if err := os.WriteFile(path, damagedDevices(t, good), 0o600); err != nil {
		t.Fatal(err)
	}
	s := open(t, path)
	if s.Recovery() != nil {
		t.Fatal("the start has found it by itself: nothing is tested")
	}
	if err := s.Check(t.Context()); !errors.Is(err, store.ErrDamaged) {
		t.Fatalf("check: %v", err)
	}
	closeStore(t, s)
	if s = open(t, path); s.Recovery() == nil {
		t.Error("the damage was forgotten")
	}
}

// TestKeptAcrossClocks: which of the kept databases is newest is not asked of a
// clock that has gone back to 1970.
func TestKeptAcrossClocks(t *testing.T) {
	path := dbPath(t)
	for i, now := range []time.Time{time.Now(), time.Now().AddDate(10, 0, 0), time.Unix(0, 0), time.Unix(100, 0)} {
		if err := os.WriteFile(path, []byte(strings.Repeat(fmt.Sprint("no database ", i), 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		s := open(t, path, func(c *store.Config) { c.Now = func() time.Time { return now } })
		kept, err := os.ReadFile(filepath.Join(s.Recovery().Kept, "headgate.db"))
		if err != nil || !bytes.HasPrefix(kept, []byte(fmt.Sprint("no database ", i))) {
			t.Errorf("kept %.20q, %v", kept, err)
		}
		closeStore(t, s)
	}
	if left, err := os.ReadDir(filepath.Join(filepath.Dir(path), "damaged")); err != nil || len(left) != 2 {
		t.Errorf("kept: %v, %v", left, err)
	}
}

// TestRestoreRefusesForeign databases: with one in place the gateway would not
// start again.
func TestRestoreRefusesForeign(t *testing.T) {
	ctx := context.Background()
	path := dbPath(t)
	s := open(t, path)
	for name, statement := range map[string]string{
		"another program's": `DROP TABLE kv; DROP TABLE session; CREATE TABLE session (id TEXT PRIMARY KEY)`,
		"with a trigger":    `CREATE TRIGGER t AFTER INSERT ON kv BEGIN DELETE FROM device; END`,
		"without a table":   `DROP TABLE outgoing`,
		"of no version":     `DELETE FROM goose_db_version WHERE version_id > 3`,
	} {
		file := filepath.Join(t.TempDir(), "copy")
		if err := s.Backup(ctx, file); err != nil {
			t.Fatal(err)
		}
		change(t, file, statement)
		if err := s.StageRestore(ctx, file); err == nil || !strings.Contains(err.Error(), "no backup of a gateway") {
			t.Errorf("%s: %v", name, err)
		}
	}
	file := filepath.Join(t.TempDir(), "copy")
	if err := s.Backup(ctx, file); err != nil {
		t.Fatal(err)
	}
	change(t, file, `UPDATE meta SET value = 'damaged'`)
	if err := s.StageRestore(ctx, file); err != nil {
		t.Fatal(err)
	}
	closeStore(t, s)
	if s = open(t, path); s.Identity().ID == "" || s.Identity().Epoch < 2 {
		t.Errorf("identity %+v", s.Identity())
	}
}

func change(t *testing.T, file, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
