package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// ErrDamaged is a database whose pages do not fit together. Open puts such a
// file aside; when it is found while the store runs, the store has to be
// opened again.
var ErrDamaged = errors.New("the database is damaged")

// Recovery says what happened to the records, for a person to read.
type Recovery struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	// Kept is the folder that the damaged files were put into; empty for none.
	Kept string `json:"kept,omitempty"`
	// Tables are what was read from them.
	Tables []Salvaged `json:"tables,omitempty"`
}

// Salvaged is one table of a damaged database.
type Salvaged struct {
	Table string `json:"table"`
	Rows  int    `json:"rows"`
	// Error is what ended the reading; empty is all of it.
	Error string `json:"error,omitempty"`
}

// Recovery is the newest one, or nil.
func (s *Store) Recovery() *Recovery { return s.recovery }

// Damaged is closed when the running store finds that its file is damaged:
// close it and open it again.
func (s *Store) Damaged() <-chan struct{} { return s.damaged }

// isDamage reports whether err says that the file is no sound database.
func isDamage(err error) bool {
	var fault *sqlite.Error
	if !errors.As(err, &fault) {
		return errors.Is(err, ErrDamaged)
	}
	code := fault.Code() & 0xff // without the extension of the code
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// noteDamage takes an error of a query; where it says that the file is
// damaged, the next Open looks at all of it.
func (s *Store) noteDamage(err error) {
	if !isDamage(err) {
		return
	}
	s.damageOnce.Do(func() {
		s.log.Error("the database is damaged", "path", s.cfg.Path, "error", err)
		if e := s.markSuspect(err); e != nil {
			s.log.Error("note the damage for the next start", "error", e)
		}
		close(s.damaged)
	})
}

func (s *Store) suspectPath() string { return s.cfg.Path + ".suspect" }

// suspect checks a file that gave errors when it was last open.
func (s *Store) suspect(ctx context.Context) error {
	if _, err := os.Stat(s.suspectPath()); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := s.Check(ctx); err != nil {
		return err
	}
	return os.Remove(s.suspectPath())
}

// Check reads the whole database; its error is ErrDamaged when pages do not
// fit together, and the next Open puts the file aside then. It takes seconds
// for a large one.
func (s *Store) Check(ctx context.Context) error {
	var found string
	err := s.reader.db.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found)
	switch {
	case err != nil:
		err = fmt.Errorf("check: %w", err)
	case found != "ok":
		err = fmt.Errorf("%w: %s", ErrDamaged, found)
	}
	if isDamage(err) {
		return errors.Join(err, s.markSuspect(err))
	}
	return err
}

func (s *Store) markSuspect(cause error) error {
	return writeFile(s.suspectPath(), map[string]string{"error": cause.Error()})
}

// quarantine copies what can still be read into a new database, and puts that
// in the place of the damaged one. Interrupted anywhere, the next start finds
// the damaged one, or goes on.
func (s *Store) quarantine(ctx context.Context, cause error) error {
	s.log.Error("the database is damaged and is put aside", "path", s.cfg.Path, "error", cause)
	s.closeFiles()
	fresh := s.cfg.Path + ".new"
	if err := removeDatabase(fresh); err != nil {
		return err
	}
	if err := migrate(ctx, s.dsnOf(fresh, false)); err != nil {
		return err
	}
	tables, err := salvage(ctx, s.cfg.Path, s.dsnOf(fresh, false))
	if err != nil {
		s.log.Error("nothing could be read from the damaged database", "error", err)
	}
	for _, t := range tables {
		s.log.Warn("read from the damaged database", "table", t.Table, "rows", t.Rows, "error", t.Error)
	}
	if err := s.inject(StepSalvaged); err != nil {
		return err
	}
	r := &Recovery{At: s.cfg.Now(), Reason: strings.ReplaceAll(cause.Error(), "\n", "; "), Tables: tables}
	if err := errors.Join(syncFile(fresh), writeFile(s.recoveryPath(), r)); err != nil {
		return err
	}
	if err := os.Rename(fresh, s.cfg.Path+salvaged.suffix); err != nil {
		return err
	}
	return s.finishReplacement()
}

// rememberRecovery keeps the report in the database.
func (s *Store) rememberRecovery(ctx context.Context) error {
	if s.recovery == nil {
		text, err := s.Meta(ctx, metaRecovery)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		r := new(Recovery)
		if err := json.Unmarshal(text, r); err != nil {
			s.log.Warn("the report of an earlier recovery is damaged", "error", err)
			return nil
		}
		s.recovery = r
		return nil
	}
	text, err := json.Marshal(s.recovery)
	if err != nil {
		return err
	}
	return s.putMeta(ctx, metaRecovery, text)
}

// salvage copies every row that can be read, table by table.
func salvage(ctx context.Context, damaged, to string) ([]Salvaged, error) {
	from, err := sql.Open("sqlite", "file:"+(&url.URL{Path: damaged}).EscapedPath()+"?_pragma=query_only(1)")
	if err != nil {
		return nil, err
	}
	defer func() { _ = from.Close() }()
	into, err := sql.Open("sqlite", to)
	if err != nil {
		return nil, err
	}
	defer func() { _ = into.Close() }()
	into.SetMaxOpenConns(1)
	if _, err := into.ExecContext(ctx, `PRAGMA foreign_keys = 0`); err != nil {
		return nil, err
	}
	names, err := tableNames(ctx, into)
	if err != nil {
		return nil, err
	}
	var out []Salvaged
	for _, name := range names {
		t := Salvaged{Table: name}
		if t.Rows, err = copyTable(ctx, from, into, name); err != nil {
			t.Error = err.Error()
		}
		out = append(out, t)
	}
	_, err = into.ExecContext(ctx, `DELETE FROM alias WHERE NOT EXISTS
		(SELECT 1 FROM function_version v WHERE v.function = alias.function AND v.version = alias.version)`)
	return out, err
}

func tableNames(ctx context.Context, db *sql.DB) (names []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type = 'table'
		AND name NOT LIKE 'sqlite_%' AND name <> 'goose_db_version' ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// copyTable copies from the first row on until it cannot read on, then from
// the last one back.
func copyTable(ctx context.Context, from, into *sql.DB, table string) (rows int, err error) {
	columns, keys, err := sharedColumns(ctx, from, into, table)
	if err != nil {
		return 0, err
	}
	tx, err := into.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	rows, err = copyRows(ctx, from, tx, table, columns, "")
	if err != nil {
		order := " ORDER BY "
		for i, k := range keys {
			if i > 0 {
				order += ", "
			}
			order += k + " DESC"
		}
		more, _ := copyRows(ctx, from, tx, table, columns, order)
		rows += more
	}
	return rows, errors.Join(err, tx.Commit())
}

func copyRows(ctx context.Context, from *sql.DB, tx *sql.Tx, table string, columns []string, order string) (n int, err error) {
	list, marks := "", ""
	for i, c := range columns {
		if i > 0 {
			list, marks = list+", ", marks+", "
		}
		list, marks = list+c, marks+"?"
	}
	rows, err := from.QueryContext(ctx, "SELECT "+list+" FROM "+table+order) //nolint:gosec // names of our own schema
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	insert := "INSERT OR IGNORE INTO " + table + " (" + list + ") VALUES (" + marks + ")"
	values, places := make([]any, len(columns)), make([]any, len(columns))
	for i := range values {
		places[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(places...); err != nil {
			return n, err
		}
		r, err := tx.ExecContext(ctx, insert, values...)
		if err != nil {
			continue // a row that breaks a rule of the table is no row
		}
		if added, err := r.RowsAffected(); err == nil {
			n += int(added)
		}
	}
	return n, rows.Err()
}

// sharedColumns are the columns that both have, and those of the primary key.
func sharedColumns(ctx context.Context, from, into *sql.DB, table string) (columns, keys []string, err error) {
	old, _, err := tableColumns(ctx, from, table)
	if err != nil {
		return nil, nil, err
	}
	columns, keys, err = tableColumns(ctx, into, table)
	if err != nil {
		return nil, nil, err
	}
	columns = slices.DeleteFunc(columns, func(c string) bool { return !slices.Contains(old, c) })
	if len(columns) == 0 || len(keys) == 0 {
		return nil, nil, errors.New("the damaged database does not have it")
	}
	return columns, keys, nil
}

func tableColumns(ctx context.Context, db *sql.DB, table string) (columns, keys []string, err error) {
	rows, err := db.QueryContext(ctx, `SELECT name, pk FROM pragma_table_info(?)`, table)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		var key int
		if err := rows.Scan(&name, &key); err != nil {
			return nil, nil, err
		}
		if columns = append(columns, `"`+name+`"`); key > 0 {
			keys = append(keys, `"`+name+`"`)
		}
	}
	return columns, keys, rows.Err()
}
