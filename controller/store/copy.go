package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/pressly/goose/v3"
)

// OpenAsIs opens a database without bringing its tables up to date: a program of
// another version may work with it.
func OpenAsIs(dsn string) (*Store, error) { return connect(dsn) }

// Copy writes all of a SQLite database, as it is at one moment, to a file that is
// not there. Who works with the database meanwhile goes on. schema is
// the version of its tables.
func (s *Store) Copy(ctx context.Context, to string) (schema int64, err error) {
	if s.dialect != sqlite {
		return 0, errors.New("a database on PostgreSQL is copied with pg_dump")
	}
	f, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	if err := f.Close(); err != nil {
		return 0, err
	}
	if _, err := s.write.ExecContext(ctx, `VACUUM INTO ?`, to); err != nil {
		return 0, fmt.Errorf("copy database %s: %w", s.name, err)
	}
	return s.Schema(ctx)
}

// Schema is the version of the database's tables; 0 is a database without any.
func (s *Store) Schema(ctx context.Context) (int64, error) {
	var there int
	query := `SELECT COUNT(*) FROM sqlite_master WHERE name = 'goose_db_version'`
	if s.dialect == postgres {
		query = `SELECT COUNT(*) FROM pg_tables WHERE tablename = 'goose_db_version' AND schemaname = ANY (current_schemas(false))`
	}
	if err := s.read.QueryRowContext(ctx, query).Scan(&there); err != nil || there == 0 {
		return 0, err
	}
	var n int64
	err := s.read.QueryRowContext(ctx, `SELECT COALESCE(MAX(version_id), 0) FROM goose_db_version`).Scan(&n)
	return n, err
}

// LatestSchema is the version of the tables that this program makes.
func LatestSchema() (latest int64, err error) {
	files, err := migrations.ReadDir("migrations")
	for _, f := range files {
		n, err := goose.NumericComponent(f.Name())
		if err != nil {
			return 0, err
		}
		latest = max(latest, n)
	}
	return latest, err
}

// Window is the time that a database has forgotten: from the backup that it was
// restored from to the restore.
type Window struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to"`
}

// windowsFact is what was forgotten, and maxWindows bounds it; gonePrefix and a
// gateway's ID say that it was deleted since.
const (
	gonePrefix  = "gone/"
	windowsFact = "restored"
	maxWindows  = 64
)

// Windows are the times that the database has forgotten.
func (t *Tx) Windows(ctx context.Context) (out []Window, err error) {
	text, err := t.Meta(ctx, windowsFact)
	if err != nil || text == "" {
		return nil, err
	}
	return out, json.Unmarshal([]byte(text), &out)
}

// Latest is when the database last noted a change, or a gateway's key: what came
// after it the database does not know. The zero time is an empty one.
func (t *Tx) Latest(ctx context.Context) (time.Time, error) {
	at, err := one(ctx, t, func(at *time.Time) []any { return []any{stamp{at}} },
		`SELECT MAX(latest) FROM (SELECT COALESCE(MAX(at), 0) AS latest FROM audit UNION ALL SELECT COALESCE(MAX(since), 0) FROM gateway_key) AS both_of_them`)
	return at, err
}

// AddWindow notes a time that the database has forgotten.
func (t *Tx) AddWindow(ctx context.Context, w Window) error {
	all, err := t.Windows(ctx)
	if err != nil {
		return err
	}
	all = append(all, w)
	raw, err := json.Marshal(all[max(0, len(all)-maxWindows):])
	if err != nil {
		return err
	}
	return t.SetMeta(ctx, windowsFact, string(raw))
}

// Gone reports whether a gateway was deleted after a restore.
func (t *Tx) Gone(ctx context.Context, gateway string) (bool, error) {
	text, err := t.Meta(ctx, gonePrefix+gateway)
	return text != "", err
}

// RevisionFloor is a revision above every one that was made before a moment: they
// grow by no more than one in a second for years.
func RevisionFloor(at time.Time) int64 {
	return max(1, int64(at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))/time.Second))
}

// leap is how far a revision jumps that is above the floor already: a clock was
// wrong once, or two restores follow on each other. A gateway leaps 4096 of them.
const leap = 1 << 20

// RaiseDesired has what is wanted of a gateway begin again at a revision, at
// least, and be made and sent anew: the gateway may follow one of the same number
// that the database has forgotten.
func (t *Tx) RaiseDesired(ctx context.Context, gateway string, floor int64) error {
	_, err := t.exec(ctx, `INSERT INTO desired (gateway, revision, document, fleet, touched, follows, pushed, error) VALUES (?, ?, ?, 0, 1, 0, 0, '')
		ON CONFLICT (gateway) DO UPDATE SET revision = CASE WHEN desired.revision < excluded.revision THEN excluded.revision ELSE desired.revision + ? END,
		fleet = 0, touched = desired.touched + 1, follows = 0`, gateway, floor, []byte{}, int64(leap))
	return err
}
