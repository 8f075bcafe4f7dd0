// Package store is the controller's database: SQLite in a file of its own, or
// PostgreSQL where several controllers share it. Both speak one set of
// statements and one set of migrations, so that what is tested on one is what
// runs on the other.
//
// Everything is read and written through a Tx: View for what only reads, Update
// for what changes. Times are whole microseconds in UTC, zero for never.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // the database/sql driver pgx
	_ "modernc.org/sqlite"             // the database/sql driver sqlite

	"github.com/headgate-io/headgate/internal/sole"
)

// Faults that a caller may branch on.
var (
	// ErrNotFound is what is not there, or is another tenant's.
	ErrNotFound = errors.New("not found")
	// ErrText is text that the database does not take.
	ErrText = errors.New("text that is no UTF-8, or has a NUL in it")
	// ErrExists is a name or a key that is taken.
	ErrExists = errors.New("exists already")
	// ErrFull is a disk, or a quota, without room for a change: nothing of it was
	// made.
	ErrFull = errors.New("the disk is full")
	// ErrUsedUp is an enrolment token that admits no further gateway.
	ErrUsedUp = errors.New("used up, expired or revoked")
)

// MissingError is an ErrNotFound that says what kind of thing is not there.
type MissingError struct{ Kind string }

// Error says what there is not.
func (e *MissingError) Error() string { return "there is no such " + e.Kind }

// Unwrap makes it an ErrNotFound.
func (*MissingError) Unwrap() error { return ErrNotFound }

// missing says what was not found.
func missing[T any](v T, err error) func(kind string) (T, error) {
	return func(kind string) (T, error) {
		if errors.Is(err, ErrNotFound) {
			err = &MissingError{kind}
		}
		return v, err
	}
}

// Bounds of the connections to a database.
const (
	maxConnections = 16
	sqliteReaders  = 4
)

// Store is one database. Its methods may be called from any goroutine.
type Store struct {
	name    string // of the database, without its password
	dialect dialect
	read    *sql.DB
	write   *sql.DB // the same as read on PostgreSQL
	// prepared are the statements of each pool; none on PostgreSQL.
	prepared map[*sql.DB]*statements
	stats    counters
}

// Open opens the database that dsn names, sqlite:path or postgres://…, and
// brings its tables up to date.
func Open(ctx context.Context, dsn string) (*Store, error) {
	s, err := connect(dsn)
	if err != nil {
		return nil, err
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open database %s: %w", s.name, err), s.Close())
	}
	return s, nil
}

// Alone keeps a second controller from a database in a file, whichever folder it
// has: until the lock is released no other gets it. Commands that work beside a
// controller need none. On PostgreSQL, which any number share, it is nil.
func Alone(dsn string) (*sole.Lock, error) {
	path, ok := SQLitePath(dsn)
	if !ok {
		return nil, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	// The lock is the file's, by whatever links it is reached.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	} else if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	l, err := sole.Take(path+".running", "headgate-controller")
	if errors.Is(err, sole.ErrHeld) {
		err = fmt.Errorf("database: %w, or give this one another folder with --dir; several at once take PostgreSQL", err)
	}
	return l, err
}

// SQLitePath is the file of a SQLite database; empty is another database.
func SQLitePath(dsn string) (path string, ok bool) {
	if path, ok = strings.CutPrefix(dsn, "sqlite:"); !ok {
		return "", false
	}
	return path, true
}

func connect(dsn string) (*Store, error) {
	if path, ok := SQLitePath(dsn); ok {
		return connectSQLite(path)
	}
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		// The address itself is not repeated: it may hold a password.
		return nil, errors.New("database: want sqlite:PATH or postgres://USER@HOST/DATABASE")
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", u.Redacted(), err)
	}
	db.SetMaxOpenConns(maxConnections)
	db.SetMaxIdleConns(maxConnections)
	db.SetConnMaxIdleTime(5 * time.Minute)
	return &Store{name: u.Redacted(), dialect: postgres, read: db, write: db}, nil
}

// connectSQLite opens one connection that writes, and some that read beside it.
// A transaction that writes takes the lock at its beginning, so that none fails
// half way because another was faster.
func connectSQLite(path string) (*Store, error) {
	if path == "" || strings.HasPrefix(path, ":memory:") {
		return nil, errors.New("database: want sqlite:PATH, the path of a file")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	if f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fmt.Errorf("database: %w: make the folder writable for this user, or choose another", err)
	} else if err := f.Close(); err != nil {
		return nil, fmt.Errorf("database: %w", err)
	}
	pragmas := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)"
	file := "file:" + (&url.URL{Path: path}).EscapedPath() + pragmas
	write, err := sql.Open("sqlite", file+"&_txlock=immediate")
	if err != nil {
		return nil, fmt.Errorf("database %s: %w", path, err)
	}
	read, err := sql.Open("sqlite", file+"&_pragma=query_only(1)")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), write.Close())
	}
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(sqliteReaders)
	read.SetMaxIdleConns(sqliteReaders)
	prepared := map[*sql.DB]*statements{read: newStatements(), write: newStatements()}
	return &Store{name: path, dialect: sqlite, read: read, write: write, prepared: prepared}, nil
}

// Close waits for running statements and closes the database.
func (s *Store) Close() error {
	err := s.read.Close()
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	return err
}

// Ping reports whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	if err := s.read.PingContext(ctx); err != nil {
		return fmt.Errorf("database %s: %w", s.name, err)
	}
	return nil
}

// Shared reports whether several controllers may use the database at once.
func (s *Store) Shared() bool { return s.dialect == postgres }
