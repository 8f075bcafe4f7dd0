// Package repository is the owner's side of signed updates: a folder that any
// static server can serve, and what it takes to change it.
//
// metadata/ and targets/ are what gateways read. staged/ has the root and the
// targets metadata that are still short of signatures: holders of keys sign
// there one after the other, and Commit publishes all of it at once when the
// last one that is needed has. Neither key of a person is ever in the folder.
package repository

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/internal/durable"
)

// How long signatures hold. The keys of people sign seldom; the timestamp tells
// a gateway that nothing is kept from it.
const (
	RootFor      = 2 * 365 * 24 * time.Hour
	TargetsFor   = 365 * 24 * time.Hour
	SnapshotFor  = 30 * 24 * time.Hour
	TimestampFor = 7 * 24 * time.Hour
)

// Role is what a key may sign.
type Role string

// The roles of keys. Online is snapshot and timestamp: one key, which is on the
// machine that publishes.
const (
	Root    Role = metadata.ROOT
	Targets Role = metadata.TARGETS
	Online  Role = "online"
)

// names are the roles of The Update Framework that a role stands for.
func (r Role) names() ([]string, error) {
	switch r {
	case Root, Targets:
		return []string{string(r)}, nil
	case Online:
		return []string{metadata.SNAPSHOT, metadata.TIMESTAMP}, nil
	}
	return nil, fmt.Errorf("there is no role %q: %s, %s or %s", r, Root, Targets, Online)
}

// The faults of a repository.
var (
	// ErrUnsigned is staged metadata that is short of signatures.
	ErrUnsigned = errors.New("signatures are missing")
	// ErrExists is a repository that is there already.
	ErrExists = errors.New("there is a repository already")
	// ErrOnline is an online key that the root does not name.
	ErrOnline = errors.New("the online key is not the one that the root names")
)

// Repository is an owner's repository. One process changes it at a time.
type Repository struct {
	dir string
	now func() time.Time

	root     *metadata.Metadata[metadata.RootType]    // published; nil before the first
	targets  *metadata.Metadata[metadata.TargetsType] // published; nil before the first
	newRoot  *metadata.Metadata[metadata.RootType]    // staged, or nil
	newTargs *metadata.Metadata[metadata.TargetsType] // staged, or nil
}

// Plan is who may sign what, in the beginning.
type Plan struct {
	Root, Targets                   []ed25519.PublicKey
	RootThreshold, TargetsThreshold int
	Online                          ed25519.PublicKey
}

// Create makes a repository and stages its first root and its empty targets:
// they wait for their signatures.
func Create(dir string, now func() time.Time, p Plan) (*Repository, error) {
	if _, err := os.Stat(filepath.Join(dir, "metadata")); err == nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	r, err := Empty(dir, now)
	if err != nil {
		return nil, err
	}
	r.newRoot = metadata.Root(expiry(now(), RootFor))
	for role, keys := range map[Role][]ed25519.PublicKey{Root: p.Root, Targets: p.Targets, Online: {p.Online}} {
		for _, k := range keys {
			if err := r.addKey(role, k); err != nil {
				return nil, err
			}
		}
	}
	if err := errors.Join(r.setThreshold(Root, p.RootThreshold), r.setThreshold(Targets, p.TargetsThreshold)); err != nil {
		return nil, err
	}
	r.newTargs = metadata.Targets(expiry(now(), TargetsFor))
	return r, r.saveStaged()
}

// Open reads a repository.
func Open(dir string, now func() time.Time) (*Repository, error) {
	r := &Repository{dir: dir, now: now}
	if _, err := os.Stat(filepath.Join(dir, "metadata")); err != nil {
		return nil, fmt.Errorf("%s is no repository ('headgate keys init %s' makes one): %w", dir, dir, err)
	}
	err := errors.Join(r.load(&r.newRoot, "staged/root.json"), r.loadTargets(&r.newTargs, "staged/targets.json"),
		r.load(&r.root, "metadata/root.json"))
	if err != nil || r.root == nil {
		return r, err
	}
	snapshot, err := r.snapshot()
	if err != nil || snapshot == nil {
		return r, err
	}
	name := fmt.Sprintf("metadata/%d.targets.json", snapshot.Signed.Meta["targets.json"].Version)
	if err := r.loadTargets(&r.targets, name); err != nil {
		return r, err
	}
	return r, r.forget()
}

// forget lets go of what is staged and published: a power cut came between the
// two. A root without the timestamp that goes with it is published once more.
func (r *Repository) forget() error {
	if r.newTargs != nil && r.targets != nil && version(r.newTargs) <= version(r.targets) {
		r.newTargs = nil
	}
	if r.newRoot == nil || r.newTargs != nil || version(r.newRoot) > version(r.root) {
		return nil
	}
	t, err := r.timestamp()
	if err == nil && r.root.VerifyDelegate(metadata.TIMESTAMP, t) == nil {
		r.newRoot = nil
	}
	return err
}

func (r *Repository) load(into **metadata.Metadata[metadata.RootType], name string) error {
	m, err := metadata.Root().FromFile(filepath.Join(r.dir, name))
	if err == nil {
		*into = m
	}
	return missing(name, err)
}

func (r *Repository) loadTargets(into **metadata.Metadata[metadata.TargetsType], name string) error {
	m, err := metadata.Targets().FromFile(filepath.Join(r.dir, name))
	if err == nil {
		*into = m
	}
	return missing(name, err)
}

// missing is no fault of a file that is not there yet.
func missing(name string, err error) error {
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return fmt.Errorf("repository: %s: %w", name, err)
}

func (r *Repository) timestamp() (*metadata.Metadata[metadata.TimestampType], error) {
	m, err := metadata.Timestamp().FromFile(filepath.Join(r.dir, "metadata/timestamp.json"))
	if err != nil {
		return nil, missing("timestamp.json", err)
	}
	return m, nil
}

func (r *Repository) snapshot() (*metadata.Metadata[metadata.SnapshotType], error) {
	t, err := r.timestamp()
	if err != nil || t == nil {
		return nil, err
	}
	name := fmt.Sprintf("metadata/%d.snapshot.json", t.Signed.Meta["snapshot.json"].Version)
	m, err := metadata.Snapshot().FromFile(filepath.Join(r.dir, name))
	if err != nil {
		return nil, fmt.Errorf("repository: %s: %w", name, err)
	}
	return m, nil
}

// RootJSON is the published root: what gateways pin.
func (r *Repository) RootJSON() ([]byte, error) {
	return os.ReadFile(filepath.Join(r.dir, "metadata/root.json"))
}

// saveStaged writes what waits for signatures.
func (r *Repository) saveStaged() error {
	if r.newRoot != nil {
		if err := r.put("staged/root.json", r.newRoot); err != nil {
			return err
		}
	}
	if r.newTargs != nil {
		return r.put("staged/targets.json", r.newTargs)
	}
	return nil
}

func (r *Repository) put(name string, m any) error {
	raw, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return r.putRaw(name, raw)
}

// putRaw writes a file that a static server can read.
func (r *Repository) putRaw(name string, raw []byte) error {
	file := filepath.Join(r.dir, name)
	if err := durable.Replace(file, raw); err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	return os.Chmod(file, 0o644)
}

func expiry(now time.Time, d time.Duration) time.Time { return now.Add(d).UTC().Truncate(time.Second) }

// stageRoot begins a change of the root.
func (r *Repository) stageRoot() error {
	if r.newRoot != nil {
		r.newRoot.Signatures = nil
		return nil
	}
	raw, err := r.root.ToBytes(false)
	if err != nil {
		return err
	}
	if r.newRoot, err = metadata.Root().FromBytes(raw); err != nil {
		return err
	}
	r.newRoot.Signed.Version++
	r.newRoot.Signed.Expires = expiry(r.now(), RootFor)
	r.newRoot.Signatures = nil
	return nil
}

// stageTargets begins a change of the targets.
func (r *Repository) stageTargets() error {
	if r.newTargs == nil {
		raw, err := r.targets.ToBytes(false)
		if err != nil {
			return err
		}
		if r.newTargs, err = metadata.Targets().FromBytes(raw); err != nil {
			return err
		}
		r.newTargs.Signed.Version++
	}
	r.newTargs.Signed.Expires = expiry(r.now(), TargetsFor)
	r.newTargs.Signatures = nil
	return nil
}
