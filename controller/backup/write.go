package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/headgate-io/headgate/controller/ca"
	"github.com/headgate-io/headgate/controller/config"
	"github.com/headgate-io/headgate/controller/store"
	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/internal/sole"
)

// Write copies the controller of a configuration into a new file, which its owner
// alone may read. The controller may run meanwhile: what is in the copy belongs
// together. It is on the disk when Write returns, and not there under its name
// before.
func Write(ctx context.Context, cfg *config.Config, file, version string) (s Summary, err error) {
	if err := Unfinished(cfg.Dir); err != nil {
		return s, err
	}
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return s, errors.Join(fmt.Errorf("%s is there already: a backup replaces none; choose another name", file), err)
	}
	sweep(filepath.Dir(file))
	part := filepath.Join(filepath.Dir(file), partPrefix+filepath.Base(file))
	f, err := open(part, file)
	if err != nil {
		return s, err
	}
	defer f.Close()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("back up to %s: %w", file, err), os.Remove(part))
		}
	}()
	if err := errors.Join(f.Truncate(0), f.Chmod(0o600)); err != nil { // what a kill left
		return s, err
	}
	w := &writer{ctx: ctx, places: placesOf(cfg), tar: tar.NewWriter(f)}
	if err := w.all(version, part+databaseSuffix); err != nil {
		return s, err
	}
	if err := errors.Join(w.tar.Close(), f.Sync()); err != nil {
		return s, err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, part, unix.AT_FDCWD, file, unix.RENAME_NOREPLACE); err != nil {
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS) {
			return s, err
		}
		if err := os.Rename(part, file); err != nil { // a file system without it
			return s, err
		}
	}
	return w.summary, durable.SyncFolder(filepath.Dir(file))
}

// Names of a backup under way, beside it: its own, and after it that of the copy
// of the database.
const (
	partPrefix     = ".headgate-backup-"
	databaseSuffix = ".db"
)

// open makes the file of a backup under way, which as long as it is locked no
// other backup takes for one that was killed.
func open(part, file string) (*os.File, error) {
	for {
		f, err := os.OpenFile(part, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := sole.Try(f); err != nil {
			return nil, errors.Join(fmt.Errorf("another backup to %s is under way (%w)", file, err), f.Close())
		}
		mine, err := f.Stat()
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if there, err := os.Lstat(part); err == nil && os.SameFile(mine, there) {
			return f, nil
		}
		f.Close() // swept between the two
	}
}

// sweep removes what killed backups have left in a folder: whoever names each by
// its day would never come to the same name again. What cannot be removed stays.
func sweep(dir string) {
	all, err := filepath.Glob(filepath.Join(escaped(dir), partPrefix+"*"))
	if err != nil {
		return
	}
	for _, part := range all {
		if strings.HasSuffix(part, databaseSuffix) {
			continue // with its backup
		}
		f, err := os.OpenFile(part, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		if sole.Try(f) == nil {
			_ = errors.Join(os.Remove(part+databaseSuffix), os.Remove(part))
		}
		f.Close()
	}
}

// escaped is a folder whose name means itself in a pattern.
func escaped(dir string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(dir)
}

// writer fills one backup.
type writer struct {
	ctx     context.Context //nolint:containedctx // one call of Write
	places  places
	tar     *tar.Writer
	list    manifest
	summary Summary
}

// all writes everything, the database first: what is signed and published after
// it is in the backup and nobody asks for it; the other way round a deployment
// could name what is not there.
func (w *writer) all(version, copied string) (err error) {
	if !ca.In(w.places.dir) {
		return fmt.Errorf("there is no controller in %s: name its folder with --dir, or its configuration with --config", w.places.dir)
	}
	a, err := ca.Open(w.places.dir, nil)
	if err != nil {
		return err
	}
	h := Header{Format: format, Version: version, Created: time.Now().UTC().Truncate(time.Second), CA: a.Fingerprint()}
	if w.places.database != "" {
		if err := removed(copied); err != nil { // what a kill left
			return err
		}
		defer func() { err = errors.Join(err, removed(copied)) }()
		if h.Schema, err = copyDatabase(w.ctx, w.places.dsn, copied); err != nil {
			return err
		}
	}
	w.summary.Header = h
	raw, err := json.Marshal(h)
	if err == nil {
		err = w.bytes(headerName, raw)
	}
	if err == nil && w.places.database != "" {
		err = w.file(databaseName, copied)
		w.summary.Database = w.summary.Bytes
	}
	for _, name := range authority {
		if err == nil {
			err = w.file(name, filepath.Join(w.places.dir, name))
		}
	}
	if err == nil {
		err = w.content()
	}
	if err == nil {
		err = w.folder(keysName, w.places.keys)
	}
	if err != nil {
		return err
	}
	if raw, err = json.Marshal(w.list); err != nil {
		return err
	}
	return w.put(manifestName, int64(len(raw)), bytes.NewReader(raw), nil)
}

func copyDatabase(ctx context.Context, dsn, to string) (schema int64, err error) {
	s, err := store.OpenAsIs(dsn)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.Copy(ctx, to)
}

// bytes writes a file of our own.
func (w *writer) bytes(name string, raw []byte) error {
	return w.entry(name, int64(len(raw)), bytes.NewReader(raw))
}

// file writes a file that does not change.
func (w *writer) file(name, path string) error {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return w.opened(name, f)
}

func (w *writer) opened(name string, f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is no file: a backup takes files alone; move it out of there", f.Name())
	}
	return w.entry(name, info.Size(), f)
}

// entry writes a file and lists it.
func (w *writer) entry(name string, size int64, content io.Reader) error {
	sum := sha256.New()
	if err := w.put(name, size, content, sum); err != nil {
		return err
	}
	w.list.Files = append(w.list.Files, entry{name, size, hex.EncodeToString(sum.Sum(nil))})
	if name != headerName {
		w.summary.Files++
		w.summary.Bytes += size
	}
	return nil
}

func (w *writer) put(name string, size int64, content io.Reader, sum hash.Hash) error {
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o600, ModTime: w.summary.Created, Format: tar.FormatPAX}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var to io.Writer = w.tar
	if sum != nil {
		to = io.MultiWriter(w.tar, sum)
	}
	if n, err := io.Copy(to, io.LimitReader(&stopping{w.ctx, content}, size)); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	} else if n != size {
		return fmt.Errorf("%s changed while it was copied: begin again", name)
	}
	return nil
}

// folder writes the files of a folder, which need not be there.
func (w *writer) folder(prefix, dir string) error {
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || passing(filepath.Base(path)) {
			return err
		}
		return w.file(prefix+filepath.ToSlash(rel), path)
	})
	if errors.Is(err, fs.ErrNotExist) {
		if _, gone := os.Stat(dir); errors.Is(gone, fs.ErrNotExist) {
			return nil
		}
	}
	return err
}

// stopping reads until its context ends.
type stopping struct {
	ctx  context.Context //nolint:containedctx // one copy
	from io.Reader
}

// Read implements io.Reader.
func (s *stopping) Read(b []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.from.Read(b)
}

func removed(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
