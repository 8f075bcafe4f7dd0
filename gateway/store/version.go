package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Version is a published version of a function. It is immutable.
type Version struct {
	Function string
	// Number counts the function's versions from 1.
	Number  int
	Created time.Time
	// Digest names the bundle's content, Author the key that signed it.
	Digest, Author string
}

// Alias is a movable pointer to a version, or to two.
type Alias struct {
	Function string
	Name     string
	Version  int
	// Split is the version that takes Weight of 10 000 of the traffic; 0 is none.
	Split   int
	Weight  int
	Updated time.Time
}

// PutVersion publishes a bundle as the function's next version and points
// aliases to it, all in one commit, and returns its number. Versions beyond
// Config.MaxVersions to which no alias points go, oldest first.
func (s *Store) PutVersion(ctx context.Context, v Version, bundle []byte, aliases ...string) (int, error) {
	if s.Stopped(Blobs) {
		return 0, s.spaceError(Blobs)
	}
	var number int
	if len(bundle) == 0 {
		bundle = []byte{} // nil would be NULL
	}
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		// Numbers of versions that are gone are not given again while newer
		// ones exist; a removed function starts where it ended.
		err := c.QueryRowContext(ctx, `SELECT 1 + max(
			(SELECT coalesce(max(version), 0) FROM function_version WHERE function = ?1),
			(SELECT coalesce(max(value), 0) FROM meta WHERE key = 'versions/' || ?1))`, v.Function).Scan(&number)
		if err != nil {
			return err
		}
		now := unixMillis(s.cfg.Now())
		_, err = c.ExecContext(ctx, `INSERT INTO function_version (function, version, created, digest, author, bundle) VALUES (?, ?, ?, ?, ?, ?)`,
			v.Function, number, now, v.Digest, v.Author, bundle)
		if err != nil {
			return err
		}
		if _, err = c.ExecContext(ctx, `INSERT OR REPLACE INTO meta (key, value) VALUES ('versions/' || ?, ?)`, v.Function, number); err != nil {
			return err
		}
		for _, a := range aliases {
			if err := setAlias(ctx, c, Alias{Function: v.Function, Name: a, Version: number, Updated: time.UnixMilli(now)}); err != nil {
				return err
			}
		}
		_, err = c.ExecContext(ctx, `DELETE FROM function_version WHERE function = ?1
			AND version NOT IN (SELECT version FROM alias WHERE function = ?1 UNION SELECT split FROM alias WHERE function = ?1)
			AND version NOT IN (SELECT version FROM function_version WHERE function = ?1 ORDER BY version DESC LIMIT ?2)`,
			v.Function, s.cfg.MaxVersions)
		if err != nil {
			return err
		}
		return s.withinFunctions(ctx, c)
	})
	if err != nil {
		return 0, fmt.Errorf("publish %s: %w", v.Function, err)
	}
	return number, nil
}

// withinFunctions refuses what goes beyond the bounds of all functions
// together; the names of removed ones count, since their numbers are kept.
func (s *Store) withinFunctions(ctx context.Context, c *sql.Conn) error {
	var names, bytes int64
	err := c.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM meta WHERE key >= 'versions/' AND key < 'versions0'),
		(SELECT coalesce(sum(length(bundle)), 0) FROM function_version)`).Scan(&names, &bytes)
	switch {
	case err != nil:
		return err
	case names > s.cfg.MaxFunctions:
		return &QuotaError{What: "functions", Slot: -1, Limit: s.cfg.MaxFunctions, Unit: "names"}
	case bytes > s.cfg.MaxBundleBytes:
		return &QuotaError{What: "functions", Slot: -1, Limit: s.cfg.MaxBundleBytes, Unit: "bytes of versions"}
	}
	return nil
}

func setAlias(ctx context.Context, c *sql.Conn, a Alias) error {
	_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO alias (function, alias, version, split, weight, updated) VALUES (?, ?, ?, ?, ?, ?)`,
		a.Function, a.Name, a.Version, a.Split, a.Weight, unixMillis(a.Updated))
	return err
}

// SetAlias points an alias to versions that exist, and returns after the
// commit.
func (s *Store) SetAlias(ctx context.Context, a Alias) error {
	a.Updated = s.cfg.Now()
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		for _, version := range [...]int{a.Version, a.Split} {
			var n int
			err := c.QueryRowContext(ctx, `SELECT count(*) FROM function_version WHERE function = ? AND version = ?`, a.Function, version).Scan(&n)
			if err == nil && n == 0 && (version != 0 || version == a.Version) {
				err = fmt.Errorf("version %d: %w", version, ErrNotFound)
			}
			if err != nil {
				return err
			}
		}
		return setAlias(ctx, c, a)
	})
	if err != nil {
		return fmt.Errorf("set alias %s@%s: %w", a.Function, a.Name, err)
	}
	return nil
}

// DropAlias deletes an alias, or returns ErrNotFound. The versions stay.
func (s *Store) DropAlias(ctx context.Context, function, alias string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		return deleted(c.ExecContext(ctx, `DELETE FROM alias WHERE function = ? AND alias = ?`, function, alias))
	})
	if err != nil {
		return fmt.Errorf("remove alias %s@%s: %w", function, alias, err)
	}
	return nil
}

// RemoveFunction deletes a function's aliases and versions; its state, queue,
// dead letters and usage stay. It returns ErrNotFound when there is none.
func (s *Store) RemoveFunction(ctx context.Context, function string) error {
	err := s.exec(ctx, func(ctx context.Context, c *sql.Conn) error {
		if _, err := c.ExecContext(ctx, `DELETE FROM alias WHERE function = ?`, function); err != nil {
			return err
		}
		return deleted(c.ExecContext(ctx, `DELETE FROM function_version WHERE function = ?`, function))
	})
	if err != nil {
		return fmt.Errorf("remove %s: %w", function, err)
	}
	return nil
}

// Versions lists the versions of a function, newest first; function "" is all
// functions.
func (s *Store) Versions(ctx context.Context, function string) ([]Version, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT function, version, created, digest, author FROM function_version
		WHERE ? = '' OR function = ? ORDER BY function, version DESC`, function, function)
	if err != nil {
		return nil, fmt.Errorf("list versions: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Version
	for rows.Next() {
		var v Version
		var created int64
		if err := rows.Scan(&v.Function, &v.Number, &created, &v.Digest, &v.Author); err != nil {
			return nil, fmt.Errorf("list versions: %w", err)
		}
		v.Created = fromMillis(created)
		out = append(out, v)
	}
	return out, rows.Err()
}

// Bundle returns the bundle of a version, or ErrNotFound.
func (s *Store) Bundle(ctx context.Context, function string, version int) ([]byte, error) {
	var b []byte
	err := s.reader.db.QueryRowContext(ctx, `SELECT bundle FROM function_version WHERE function = ? AND version = ?`, function, version).Scan(&b)
	if err != nil {
		return nil, fmt.Errorf("bundle of %s version %d: %w", function, version, notFound(err))
	}
	return b, nil
}

// Aliases lists every alias, by function and name.
func (s *Store) Aliases(ctx context.Context) ([]Alias, error) {
	rows, err := s.reader.db.QueryContext(ctx, `SELECT function, alias, version, split, weight, updated FROM alias ORDER BY function, alias`)
	if err != nil {
		return nil, fmt.Errorf("list aliases: %w", err)
	}
	defer func() { _ = rows.Close() }()
	var out []Alias
	for rows.Next() {
		var a Alias
		var updated int64
		if err := rows.Scan(&a.Function, &a.Name, &a.Version, &a.Split, &a.Weight, &updated); err != nil {
			return nil, fmt.Errorf("list aliases: %w", err)
		}
		a.Updated = fromMillis(updated)
		out = append(out, a)
	}
	return out, rows.Err()
}
