package store

import (
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	sqlitedriver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is how a database is spoken to. Statements are those that both
// understand; what differs is here.
type dialect int

const (
	sqlite dialect = iota
	postgres
)

// placeholders makes $1, $2, … of the question marks that statements are
// written with. No statement of ours has one in a literal.
func (d dialect) placeholders(query string) string {
	if d == sqlite {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}

// schema translates a migration, which is written as SQLite's strict tables
// are: 64-bit integers, text that is compared by its bytes, and blobs.
func (d dialect) schema(migration string) string {
	if d == sqlite {
		return migration
	}
	return strings.NewReplacer(
		" INTEGER", " BIGINT", " TEXT", ` TEXT COLLATE "C"`, " BLOB", " BYTEA", ") STRICT, WITHOUT ROWID;", ");", ") STRICT;", ");",
	).Replace(migration)
}

// options are how a transaction is begun. PostgreSQL reads a snapshot, as
// SQLite does by itself.
func (d dialect) options(readOnly bool) *sql.TxOptions {
	if d == postgres && readOnly {
		return &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	}
	return &sql.TxOptions{}
}

// Codes of PostgreSQL (its manual, appendix A).
const (
	pgUniqueViolation      = "23505"
	pgNotInRepertoire      = "22021" // what is no UTF-8, and NUL
	pgUntranslatable       = "22P05" // NUL as \u0000 in JSON
	pgForeignKeyViolation  = "23503"
	pgSerializationFailure = "40001"
	pgDeadlock             = "40P01"
	pgDiskFull             = "53100"
)

// fault makes the package's own errors of a database's.
func fault(err error) error {
	var lite *sqlitedriver.Error
	var pg *pgconn.PgError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sql.ErrNoRows):
		return ErrNotFound
	case errors.As(err, &lite):
		switch lite.Code() {
		case sqlite3.SQLITE_CONSTRAINT_UNIQUE, sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY:
			return ErrExists
		case sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY:
			return ErrNotFound
		}
		if lite.Code()&0xff == sqlite3.SQLITE_FULL {
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	case errors.As(err, &pg):
		switch pg.Code {
		case pgUniqueViolation:
			return ErrExists
		case pgForeignKeyViolation:
			return ErrNotFound
		case pgNotInRepertoire, pgUntranslatable:
			return fmt.Errorf("%w: %w", ErrText, err)
		case pgDiskFull:
			return fmt.Errorf("%w: %w", ErrFull, err)
		}
	}
	return err
}

// again reports whether a transaction failed for no fault of its own.
func again(err error) bool {
	var lite *sqlitedriver.Error
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &lite):
		return lite.Code()&0xff == sqlite3.SQLITE_BUSY
	case errors.As(err, &pg):
		return pg.Code == pgSerializationFailure || pg.Code == pgDeadlock
	}
	return false
}
