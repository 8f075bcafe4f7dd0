package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/headgate-io/headgate/internal/durable"
)

// Backup writes a consistent copy of the database to a new file while the
// store goes on working. The copy is on the disk when it returns.
func (s *Store) Backup(ctx context.Context, path string) (err error) {
	if s.Stopped(Blobs) {
		return s.spaceError(Blobs)
	}
	if size, free := fileSize(s.cfg.Path), s.Space().Free; s.cfg.MinFreeBytes >= 0 && free-size < s.marks()[Blobs] {
		return fmt.Errorf("backup: the copy takes up to %d bytes, and %d are free on the disk: make room", size, free)
	}
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("backup: %s: %w", path, ErrExists)
	}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: s.cfg.Path}).EscapedPath()+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := db.ExecContext(ctx, `VACUUM INTO ?`, path); err != nil {
		return errors.Join(fmt.Errorf("backup: %w", err), removeIfThere(path))
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Chmod(0o600), f.Sync(), f.Close(), durable.SyncFolder(filepath.Dir(path)))
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// StageRestore checks a copy that Backup made and lays it ready: the next Open
// works with it, and keeps the database that is there now in the folder
// replaced.
func (s *Store) StageRestore(ctx context.Context, path string) error {
	if err := s.checkCopy(ctx, path); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path, s.cfg.Path+restored.suffix); err != nil {
		return err
	}
	return durable.SyncFolder(filepath.Dir(s.cfg.Path))
}

// checkCopy refuses what is no sound database of this or an earlier version.
func (s *Store) checkCopy(ctx context.Context, path string) (err error) {
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: path}).EscapedPath()+"?mode=ro")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		return fmt.Errorf("it is no backup of a gateway: %w", err)
	}
	if found != "ok" {
		return fmt.Errorf("%w: %s", ErrDamaged, found)
	}
	theirs, err := schemaVersion(ctx, db)
	if err != nil {
		return fmt.Errorf("it is no backup of a gateway: %w", err)
	}
	ours, err := schemaVersion(ctx, s.reader.db)
	if err != nil {
		return err
	}
	if theirs > ours {
		return fmt.Errorf("it was made by a newer version (schema %d, this one knows %d): update the gateway first", theirs, ours)
	}
	return s.checkTables(ctx, path)
}

// checkTables brings the copy up to date, while there is still the database
// that is in use to go on with, and looks whether it has what it needs.
func (s *Store) checkTables(ctx context.Context, path string) (err error) {
	dsn := s.dsnOf(path, false)
	if err := migrate(ctx, dsn); err != nil {
		return fmt.Errorf("it is no backup of a gateway: %w", err)
	}
	db, err := sql.Open("sqlite", dsn)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ours, err := schema(ctx, s.reader.db)
	if err != nil {
		return err
	}
	theirs, err := schema(ctx, db)
	if err != nil {
		return err
	}
	for name, definition := range ours {
		if theirs[name] != definition {
			return fmt.Errorf("it is no backup of a gateway: its %s is not one of ours", name)
		}
		delete(theirs, name)
	}
	for name := range theirs {
		return fmt.Errorf("it is no backup of a gateway: it has a %s, which is not one of ours", name)
	}
	return nil
}

// schema is what there is, by kind and name, with its columns.
func schema(ctx context.Context, db *sql.DB) (map[string]string, error) {
	rows, err := db.QueryContext(ctx, `SELECT m.type || ' ' || m.name, coalesce((SELECT group_concat(c.name || ' ' || c.type || ' ' || c.pk)
		FROM pragma_table_info(m.name) c), '') FROM sqlite_master m WHERE m.name NOT LIKE 'sqlite_%'`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	all := map[string]string{}
	for rows.Next() {
		var name, columns string
		if err := rows.Scan(&name, &columns); err != nil {
			return nil, err
		}
		all[name] = columns
	}
	return all, rows.Err()
}

func schemaVersion(ctx context.Context, db *sql.DB) (v int64, err error) {
	err = db.QueryRowContext(ctx, `SELECT max(version_id) FROM goose_db_version WHERE is_applied`).Scan(&v)
	return v, err
}
