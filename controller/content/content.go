// Package content keeps the repositories of signed updates that a controller
// serves: it takes in what their owners have signed, publishes it, and keeps it
// fresh. It holds online keys alone: with them it says how new what is signed
// is, and can make no gateway run anything.
package content

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/sync/ota/keyring"
	"github.com/headgate-io/headgate/sync/ota/repository"
)

// Every is how often repositories are looked at: far more often than a
// timestamp's half time, so that days of trouble cost nothing.
const Every = time.Hour

// Keeper has a folder with a repository for each tenant. It may be used from any
// goroutine.
type Keeper struct {
	dir  string
	ring keyring.Ring
	now  func() time.Time
	log  *slog.Logger

	// changing is held through each change of a repository. Replicas that share
	// the folder are kept apart by the database, and by the repository's own
	// lock.
	changing sync.Mutex

	mu    sync.Mutex // leaf; guards stats
	stats Stats
}

// Stats counts what a Keeper has done.
type Stats struct {
	// Repositories are those that were looked at last, Keyless those of them
	// whose online key is not here.
	Repositories, Keyless int
	// Signed counts signatures, Failed repositories that could not be kept.
	Signed, Failed uint64
	// Published counts what owners published, Refused what they or somebody else
	// tried to, Uploaded the bytes of targets that came, Swept the uploads that
	// nothing named in time.
	Published, Refused, Uploaded, Swept uint64
}

// New makes a keeper of the repositories in the folders of dir, with the keys of
// a ring.
func New(dir string, ring keyring.Ring, now func() time.Time, log *slog.Logger) *Keeper {
	return &Keeper{dir: dir, ring: ring, now: now, log: log}
}

// Stats returns the counters.
func (k *Keeper) Stats() Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stats
}

// Run keeps them until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	tick := time.NewTicker(Every)
	defer tick.Stop()
	for {
		k.Keep()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Keep looks at each repository once. One that cannot be kept is reported, and
// keeps no other from it.
func (k *Keeper) Keep() {
	s := Stats{}
	k.changing.Lock()
	defer k.changing.Unlock()
	keys, err := k.keys()
	if err != nil {
		k.log.Error("online keys", "error", err)
		s.Failed++
	}
	folders, err := os.ReadDir(k.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		k.log.Error("content", "error", err)
		s.Failed++
	}
	for _, f := range folders {
		dir := filepath.Join(k.dir, f.Name())
		n, err := k.sweep(f.Name())
		if s.Swept += n; err != nil {
			s.Failed++
			k.log.Error("remove uploads that nothing names", "repository", f.Name(), "error", err)
		}
		if _, err := os.Stat(filepath.Join(dir, "metadata", "timestamp.json")); err != nil {
			continue // nothing is published there
		}
		s.Repositories++
		signed, known, err := k.keep(f.Name(), keys)
		switch {
		case err != nil:
			s.Failed++
			k.log.Error("a repository of signed updates cannot be kept fresh: its gateways will take nothing new", "repository", f.Name(), "error", err)
		case !known:
			s.Keyless++
		case signed:
			s.Signed++
			k.log.Info("a repository was signed anew", "repository", f.Name())
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stats.Repositories, k.stats.Keyless = s.Repositories, s.Keyless
	k.stats.Signed, k.stats.Failed, k.stats.Swept = k.stats.Signed+s.Signed, k.stats.Failed+s.Failed, k.stats.Swept+s.Swept
}

// Lift signs each repository under versions from floor on, after it was put back
// from a copy. keyless are those whose online key is not here.
func (k *Keeper) Lift(floor int64) (lifted int, keyless []string, err error) {
	k.changing.Lock()
	defer k.changing.Unlock()
	keys, err := k.keys()
	if err != nil {
		return 0, nil, err
	}
	folders, err := os.ReadDir(k.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil, nil
	}
	for _, f := range folders {
		dir := filepath.Join(k.dir, f.Name())
		if _, err := os.Stat(filepath.Join(dir, "metadata", "timestamp.json")); err != nil {
			continue // nothing is published there
		}
		r, err := repository.Open(dir, k.now)
		if err != nil {
			return lifted, keyless, err
		}
		key := keys.signing(f.Name(), r)
		if key == nil {
			keyless = append(keyless, f.Name())
			continue
		}
		if err := r.Lift(key, floor); err != nil {
			return lifted, keyless, fmt.Errorf("repository %s: %w", f.Name(), err)
		}
		lifted++
	}
	return lifted, keyless, err
}

// count changes the counters.
func (k *Keeper) count(change func(*Stats)) {
	k.mu.Lock()
	defer k.mu.Unlock()
	change(&k.stats)
}

func (k *Keeper) keep(tenant string, keys onlineKeys) (signed, known bool, err error) {
	r, err := repository.Open(filepath.Join(k.dir, tenant), k.now)
	if err != nil {
		return false, false, err
	}
	key := keys.of(tenant, r)
	if key == nil {
		return false, false, nil
	}
	if r.Complete() { // what a power cut kept from being published
		err := k.uploaded(tenant, r)
		if err == nil {
			err = k.place(tenant, r)
		}
		if err == nil {
			err = r.Commit(key)
		}
		return true, true, err
	}
	if signed, err = r.Refresh(key); err != nil {
		return false, true, fmt.Errorf("sign it anew: %w", err)
	}
	return signed, true, nil
}
