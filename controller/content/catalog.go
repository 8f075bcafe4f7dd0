package content

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/sync/ota"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// catalogues bounds how many repositories a Catalog remembers.
const catalogues = 256

// Catalog says what is signed in the repositories of signed updates. It may be
// used from any goroutine.
type Catalog struct {
	dir string
	now func() time.Time

	mu   sync.Mutex
	read map[string]catalogue
}

// catalogue is what was read of a repository when its timestamp was this.
type catalogue struct {
	at      time.Time
	bytes   int64
	targets []ota.Target
}

// NewCatalog makes a catalog of the repositories in the folders of dir.
func NewCatalog(dir string, now func() time.Time) *Catalog {
	return &Catalog{dir: dir, now: now, read: map[string]catalogue{}}
}

// Targets are what is signed in a repository, by name; nothing is signed in one
// that is not there. They are not to be changed.
func (c *Catalog) Targets(name string) ([]ota.Target, error) {
	dir := filepath.Join(c.dir, name)
	info, err := os.Stat(filepath.Join(dir, "metadata", "timestamp.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	known, ok := c.read[name]
	c.mu.Unlock()
	if ok && known.at.Equal(info.ModTime()) && known.bytes == info.Size() {
		return known.targets, nil
	}
	r, err := repository.Open(dir, c.now)
	if err != nil {
		return nil, err
	}
	targets, err := r.Published(false)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.read) >= catalogues {
		clear(c.read)
	}
	c.read[name] = catalogue{info.ModTime(), info.Size(), targets}
	return targets, nil
}
