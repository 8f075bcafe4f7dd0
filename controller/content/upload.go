package content

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/internal/sole"
	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// The bounds of what waits to be named by signed metadata, for each tenant.
const (
	maxUploads     = 64
	maxUploadBytes = 512 << 20
	// uploadsKept is how long.
	uploadsKept = 7 * 24 * time.Hour
	// partsKept is how long what was cut off is, on file systems without locks.
	partsKept = time.Hour
)

var digest = regexp.MustCompile(`^[0-9a-f]{64}$`)

// uploads has what nothing that is published names yet. Gateways cannot fetch
// it from there under a name that they would ask for.
func (k *Keeper) uploads(tenant string) string {
	return filepath.Join(k.dir, tenant, "staged", "uploads")
}

// Uploaded reports whether a target of this digest and length waits to be named.
func (k *Keeper) Uploaded(tenant, sum string) (bool, error) {
	if !digest.MatchString(sum) {
		return false, refuse("%.80q is no SHA-256: it has 64 hex digits, in lower case", sum)
	}
	_, err := os.Stat(filepath.Join(k.uploads(tenant), sum))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// Upload takes the content of a target in, before the metadata that names it.
// What has another digest, or is too much, leaves nothing behind.
func (k *Keeper) Upload(tenant, sum string, content io.Reader) (err error) {
	defer func() {
		if err != nil {
			k.count(func(s *Stats) { s.Refused++ })
		}
	}()
	if done, err := k.Uploaded(tenant, sum); err != nil || done {
		return err
	}
	if err := k.room(tenant); err != nil {
		return err
	}
	f, err := k.part(tenant)
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // it is gone when all went well
	h := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, h), io.LimitReader(content, ota.MaxSystemBytes+1))
	if err == nil && n > ota.MaxSystemBytes {
		err = refuse("a target has at most %d bytes", int64(ota.MaxSystemBytes))
	}
	if err == nil && hex.EncodeToString(h.Sum(nil)) != sum {
		err = refuse("what came has the SHA-256 %x, not the one that it was announced with: send it again", h.Sum(nil))
	}
	defer f.Close() // and with it the lock ends
	if err = errors.Join(err, f.Chmod(0o644), f.Sync()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), filepath.Join(k.uploads(tenant), sum)); err != nil {
		return err
	}
	k.count(func(s *Stats) { s.Uploaded += uint64(n) })
	return durable.SyncFolder(k.uploads(tenant))
}

// partPrefix begins the name of an upload under way.
const partPrefix = ".part-"

// part makes the file of an upload. As long as it is locked no keeper, of whichever
// replica, takes it for one that was killed.
func (k *Keeper) part(tenant string) (*os.File, error) {
	for {
		f, err := os.CreateTemp(k.uploads(tenant), partPrefix+"*")
		if err != nil {
			return nil, err
		}
		_ = sole.Try(f) // a file system without locks goes by its age
		if _, err := os.Lstat(f.Name()); err == nil {
			return f, nil
		}
		f.Close() // swept between the two
	}
}

// abandoned reports whether an upload under way has nobody any more: its lock is
// free, or where there are none nothing was written for an hour.
func (k *Keeper) abandoned(path string, written time.Time) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	switch err := sole.Try(f); {
	case err == nil:
		return true
	case errors.Is(err, sole.ErrHeld):
		return false
	}
	return k.now().Sub(written) > partsKept
}

// room refuses what would be one upload too many.
func (k *Keeper) room(tenant string) error {
	if err := os.MkdirAll(k.uploads(tenant), 0o755); err != nil {
		return err
	}
	all, err := os.ReadDir(k.uploads(tenant))
	if err != nil {
		return err
	}
	var bytes int64
	for _, e := range all {
		if info, err := e.Info(); err == nil {
			bytes += info.Size()
		}
	}
	if len(all) >= maxUploads || bytes >= maxUploadBytes {
		return refuse("%d uploads with %d bytes wait to be named by signed targets, the most that may: what nothing names is removed after %v", len(all), bytes, uploadsKept)
	}
	return nil
}

// uploaded refuses metadata that names what is not here.
func (k *Keeper) uploaded(tenant string, r *repository.Repository) error {
	fresh, err := r.NewTargets()
	if err != nil {
		return err
	}
	for i := range fresh {
		t := &fresh[i]
		if bytes, err := k.size(tenant, t); err != nil {
			return err
		} else if bytes != t.Bytes {
			return refuse("target %s: %d bytes of its content are here, not %d: upload it before the metadata that names it", t.Name, bytes, t.Bytes)
		}
	}
	return nil
}

// size is how much of a target is here.
func (k *Keeper) size(tenant string, t *ota.Target) (int64, error) {
	for _, file := range []string{filepath.Join(k.dir, tenant, filepath.FromSlash(t.Path())), filepath.Join(k.uploads(tenant), t.SHA256)} {
		info, err := os.Lstat(file)
		if err == nil && info.Mode().IsRegular() {
			return info.Size(), nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return 0, err
		}
	}
	return 0, nil
}

// place moves what is going to be published to where gateways ask for it. Under
// one digest there may be several names.
func (k *Keeper) place(tenant string, r *repository.Repository) error {
	fresh, err := r.NewTargets()
	if err != nil {
		return err
	}
	for i := range fresh {
		to := filepath.Join(k.dir, tenant, filepath.FromSlash(fresh[i].Path()))
		if _, err := os.Lstat(to); err == nil {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.Link(filepath.Join(k.uploads(tenant), fresh[i].SHA256), to); err != nil {
			return err
		}
		if err := durable.SyncFolder(filepath.Dir(to)); err != nil {
			return err
		}
	}
	for i := range fresh {
		if err := os.Remove(filepath.Join(k.uploads(tenant), fresh[i].SHA256)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// sweep removes uploads that nothing has named in time, and what was cut off.
func (k *Keeper) sweep(tenant string) (n uint64, err error) {
	all, err := os.ReadDir(k.uploads(tenant))
	if err != nil || len(all) == 0 {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return 0, err
	}
	r, err := k.open(tenant)
	if err != nil {
		return 0, err
	}
	named, err := r.NewTargets()
	if err != nil {
		return 0, err
	}
	for _, e := range all {
		info, err := e.Info()
		if err != nil {
			continue
		}
		path := filepath.Join(k.uploads(tenant), e.Name())
		if strings.HasPrefix(e.Name(), partPrefix) {
			if k.abandoned(path, info.ModTime()) {
				if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return n, err
				}
				n++
			}
			continue
		}
		if k.now().Sub(info.ModTime()) < uploadsKept {
			continue
		}
		waits := false
		for i := range named {
			waits = waits || named[i].SHA256 == e.Name()
		}
		if waits {
			continue
		}
		if err := os.Remove(path); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
