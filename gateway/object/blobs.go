package object

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/internal/fault"
)

// Folders below that of the blobs.
const (
	blobFolder   = "blobs"
	stagedFolder = "staged"
	uploadFolder = "uploads"
)

// maxCandidates bounds the digests that are noted for collection; beyond, the
// next collection looks at all files.
const maxCandidates = 1 << 14

// blobs are the files, by digest. It may be used from any goroutine.
type blobs struct {
	dir string
	log *slog.Logger

	// mu guards what follows. No file is touched with it held.
	mu sync.Mutex
	// held counts who needs a digest, deleting has those whose file is being
	// removed: each is closed at the end.
	held     map[string]int
	deleting map[string]chan struct{}
	// candidates may be without a row; all is true when every file may be.
	candidates map[string]struct{}
	all        bool

	folders                     sync.Map // those of digests that are on the disk for certain
	wake                        chan struct{}
	written, collected, missing atomic.Uint64
}

func openBlobs(dir string, log *slog.Logger) (*blobs, error) {
	b := &blobs{
		dir: dir, log: log, held: map[string]int{}, deleting: map[string]chan struct{}{}, candidates: map[string]struct{}{},
		all: true, wake: make(chan struct{}, 1),
	}
	// What was staged when the last process ended is nobody's.
	if err := os.RemoveAll(filepath.Join(dir, stagedFolder)); err != nil {
		return nil, err
	}
	for _, folder := range []string{blobFolder, stagedFolder, uploadFolder} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o700); err != nil {
			return nil, err
		}
	}
	return b, errors.Join(durable.SyncFolder(dir), durable.SyncFolder(filepath.Dir(dir)))
}

// path is where the file of a digest is. What is none, as a damaged or foreign
// database may say, is a place where nothing ever is.
func (b *blobs) path(digest string) string {
	hex, ok := strings.CutPrefix(digest, function.DigestPrefix)
	if !ok || len(hex) != 64 || strings.Trim(hex, "0123456789abcdef") != "" {
		return filepath.Join(b.dir, blobFolder, "none")
	}
	return filepath.Join(b.dir, blobFolder, hex[:2], hex)
}

// open opens the file of a digest for reading.
func (b *blobs) open(digest string) (*os.File, error) {
	f, err := os.Open(b.path(digest))
	if errors.Is(err, fs.ErrNotExist) {
		b.missing.Add(1)
	}
	return f, err
}

// hold keeps the file of a digest, if there is one, from being collected. It
// waits for a removal that is under way.
func (b *blobs) hold(digest string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		gone := b.deleting[digest]
		if gone == nil {
			break
		}
		b.mu.Unlock()
		<-gone
		b.mu.Lock()
	}
	b.held[digest]++
}

// release ends a hold.
func (b *blobs) release(digest string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.held[digest]--; b.held[digest] > 0 {
		return
	}
	delete(b.held, digest)
	b.noteLocked(digest)
}

// freed notes digests that a key stood for.
func (b *blobs) freed(digests []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, d := range digests {
		b.noteLocked(d)
	}
}

func (b *blobs) noteLocked(digest string) {
	if len(b.candidates) >= maxCandidates {
		b.all = true
	} else {
		b.candidates[digest] = struct{}{}
	}
	select {
	case b.wake <- struct{}{}:
	default: // it is awake already
	}
}

// temporary makes a file that is nobody's yet.
func (b *blobs) temporary() (*os.File, error) {
	return os.OpenFile(filepath.Join(b.dir, stagedFolder, rand.Text()), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

// place moves a complete file to the place of its digest, which must be held,
// and returns when it is on the disk.
func (b *blobs) place(from, digest string) error {
	err := syncFile(from)
	if err == nil {
		err = b.move(from, b.path(digest))
	}
	if err != nil {
		return errors.Join(fmt.Errorf("keep an object: %w", err), removeIfThere(from))
	}
	b.written.Add(1)
	fault.Reached(fault.Placed)
	return nil
}

func (b *blobs) move(from, to string) error {
	folder := filepath.Dir(to)
	if err := b.makeFolder(folder); err != nil {
		return err
	}
	// Where the same content is there already, the new file takes its place:
	// nobody can tell the two apart.
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return durable.SyncFolder(folder)
}

// makeFolder makes a folder, and returns when it is on the disk: whoever made
// it before may not have come so far.
func (b *blobs) makeFolder(folder string) error {
	if _, known := b.folders.Load(folder); known {
		return nil
	}
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := durable.SyncFolder(filepath.Dir(folder)); err != nil {
		return err
	}
	b.folders.Store(folder, true)
	return nil
}

// there reports whether the content of a digest is on the disk under its name.
// The digest must be held.
func (b *blobs) there(digest string) bool {
	path := b.path(digest)
	if _, err := os.Stat(path); err != nil {
		return false
	}
	// Whoever put it there may still be about to do this.
	return durable.SyncFolder(filepath.Dir(path)) == nil
}

func syncFile(path string) error {
	if fault.On(fault.BlobNotSynced) {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// collect removes the files of candidates that no row speaks of.
func (b *blobs) collect(ctx context.Context, spoken func(ctx context.Context, digest string) (bool, error)) error {
	b.mu.Lock()
	candidates, all := b.candidates, b.all
	b.candidates, b.all = map[string]struct{}{}, false
	b.mu.Unlock()
	if all {
		err := b.each(func(digest string) error { return b.collectOne(ctx, digest, spoken) })
		if err != nil {
			b.mu.Lock()
			b.all = true
			b.mu.Unlock()
		}
		return err
	}
	for digest := range candidates {
		if err := b.collectOne(ctx, digest, spoken); err != nil {
			b.freed([]string{digest})
			return err
		}
	}
	return nil
}

// collectOne removes one file that nobody holds and no row speaks of.
func (b *blobs) collectOne(ctx context.Context, digest string, spoken func(ctx context.Context, digest string) (bool, error)) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.mu.Lock()
	if b.held[digest] > 0 || b.deleting[digest] != nil {
		b.mu.Unlock()
		return nil // whoever holds it notes it again
	}
	gone := make(chan struct{})
	b.deleting[digest] = gone
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		delete(b.deleting, digest)
		b.mu.Unlock()
		close(gone)
	}()
	if yes, err := spoken(ctx, digest); yes || err != nil {
		return err
	}
	switch err := os.Remove(b.path(digest)); {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("remove an object: %w", err)
	}
	b.collected.Add(1)
	return nil
}

// each calls fn with the digest of every file.
func (b *blobs) each(fn func(digest string) error) error {
	root := filepath.Join(b.dir, blobFolder)
	folders, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if err := eachName(filepath.Join(root, folder.Name()), func(name string) error {
			if len(name) != 64 || name[:2] != folder.Name() {
				return nil // not ours
			}
			return fn(function.DigestPrefix + name)
		}); err != nil {
			return err
		}
	}
	return nil
}

// eachName calls fn with the names in a folder, a few at a time.
func eachName(folder string, fn func(name string) error) error {
	d, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }() // it was read alone
	for {
		names, err := d.Readdirnames(256)
		for _, name := range names {
			if err := fn(name); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}
