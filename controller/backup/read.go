package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/headgate-io/headgate/controller/store"
)

// reader goes through a backup.
type reader struct {
	ctx    context.Context //nolint:containedctx // one pass
	file   *os.File
	places places
	size   int64
	first  entry // what the header was
}

// open opens a backup and says how long it is.
func (r *reader) open(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no file: a backup is read twice, so it must lie on a disk", file)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size = f, info.Size()
	return nil
}

// pass reads all of it. take gets each file with the place that it belongs to, and
// must read it to its end. When pass returns without an error every file was the
// one that the manifest lists, and none is missing.
func (r *reader) pass(take func(path, name string, content io.Reader) error) (s Summary, err error) {
	if _, err := r.file.Seek(0, io.SeekStart); err != nil {
		return s, err
	}
	in := tar.NewReader(&stopping{r.ctx, r.file})
	if s.Header, err = r.header(in); err != nil {
		return s, err
	}
	read := map[string]entry{}
	for {
		h, err := in.Next()
		if err != nil {
			return s, cut(err)
		}
		if h.Name == manifestName {
			return s, r.manifest(in, h, read)
		}
		path, err := r.check(h, read)
		if err != nil {
			return s, err
		}
		sum := sha256.New()
		if err := take(path, h.Name, io.TeeReader(in, sum)); err != nil {
			return s, cut(err)
		}
		read[h.Name] = entry{h.Name, h.Size, hex.EncodeToString(sum.Sum(nil))}
		s.Files++
		s.Bytes += h.Size
		if h.Name == databaseName {
			s.Database = h.Size
		}
	}
}

// cut says of a file that ends too early that it does.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: it ends too early: copy it again from where it was made", ErrUnfit)
	}
	if errors.Is(err, tar.ErrHeader) {
		return fmt.Errorf("%w: it is damaged, or no backup of a controller (%w)", ErrUnfit, err)
	}
	return err
}

func (r *reader) header(in *tar.Reader) (h Header, err error) {
	first, err := in.Next()
	if errors.Is(err, tar.ErrHeader) || err == nil && first.Name != headerName {
		return h, fmt.Errorf("%w: it is no backup of a controller ('headgate-controller backup FILE.tar' makes one)", ErrUnfit)
	}
	if err != nil {
		return h, cut(err)
	}
	if first.Size > maxHeaderBytes {
		return h, fmt.Errorf("%w: it says too much of itself", ErrUnfit)
	}
	raw, err := io.ReadAll(in)
	if err != nil {
		return h, cut(err)
	}
	sum := sha256.Sum256(raw)
	r.first = entry{headerName, first.Size, hex.EncodeToString(sum[:])}
	if err := json.Unmarshal(raw, &h); err != nil {
		return h, fmt.Errorf("%w: what it says of itself cannot be read: %w", ErrUnfit, err)
	}
	latest, err := store.LatestSchema()
	switch {
	case err != nil:
		return h, err
	case h.Format != format || h.Schema > latest:
		return h, fmt.Errorf("%w: a newer headgate-controller made it (%.64s, tables of version %d; this one knows %d): restore it with that one", ErrUnfit, h.Version, h.Schema, latest)
	case h.Schema == 0 && r.places.database != "":
		return h, fmt.Errorf("%w: it has no database, which was on PostgreSQL: put that back with pg_restore, and name it in the configuration (database)", ErrUnfit)
	}
	return h, nil
}

// check says where a file belongs, or what is wrong with it.
func (r *reader) check(h *tar.Header, read map[string]entry) (path string, err error) {
	if h.Typeflag != tar.TypeReg {
		return "", fmt.Errorf("%w: %.200q is a link, a folder or something else that no backup has", ErrUnfit, h.Name)
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse") {
			return "", fmt.Errorf("%w: %.200q is sparse, which nothing in a backup is", ErrUnfit, h.Name)
		}
	}
	if path, err = r.places.place(h.Name); err != nil {
		return "", err
	}
	if _, twice := read[h.Name]; twice {
		return "", fmt.Errorf("%w: %.200q is in it twice", ErrUnfit, h.Name)
	}
	if h.Size > r.size {
		return "", cut(io.ErrUnexpectedEOF)
	}
	if len(read) >= maxFiles {
		return "", fmt.Errorf("%w: it has more than %d files", ErrUnfit, maxFiles)
	}
	return path, nil
}

// manifest compares what was read with what is listed.
func (r *reader) manifest(in *tar.Reader, h *tar.Header, read map[string]entry) error {
	if h.Size > min(r.size, maxManifestBytes) {
		return fmt.Errorf("%w: its list of files is too long", ErrUnfit)
	}
	var m manifest
	raw, err := io.ReadAll(in)
	if err != nil {
		return cut(err)
	}
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("%w: its list of files cannot be read: %w", ErrUnfit, err)
	}
	read[headerName] = r.first
	for _, e := range m.Files {
		if read[e.Name] != e {
			return fmt.Errorf("%w: %.200q is not what was backed up: the file was damaged or changed", ErrUnfit, e.Name)
		}
	}
	if len(m.Files) != len(read) {
		return fmt.Errorf("%w: it has %d files, and its list names %d", ErrUnfit, len(read), len(m.Files))
	}
	for _, name := range authority {
		if _, there := read[name]; !there {
			return fmt.Errorf("%w: %s is missing", ErrUnfit, name)
		}
	}
	if _, there := read[databaseName]; !there && r.places.database != "" {
		return fmt.Errorf("%w: %s is missing", ErrUnfit, databaseName)
	}
	return nil
}
