package repository

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/sync/ota"
)

// The faults of metadata that somebody else made.
var (
	// ErrWaiting is a change that waits for signatures, where none may.
	ErrWaiting = errors.New("another change waits for signatures")
	// ErrChanged is a change of what is not the newest any more.
	ErrChanged = errors.New("the repository has changed meanwhile")
	// ErrInvalid is metadata that gateways would not take, or should not.
	ErrInvalid = errors.New("the metadata is not a change of this repository")
)

// Files are the metadata of a repository: all that somebody needs to change it
// elsewhere. What is not there is empty.
type Files struct {
	Root, Timestamp, Snapshot, Targets []byte
	StagedRoot, StagedTargets          []byte
}

// Files returns the metadata as it is.
func (r *Repository) Files() (f Files, err error) {
	f.StagedRoot, err = rawStaged(r.newRoot)
	if err != nil {
		return f, err
	}
	if f.StagedTargets, err = rawStaged(r.newTargs); err != nil || r.root == nil {
		return f, err
	}
	if f.Root, err = r.RootJSON(); err != nil {
		return f, fmt.Errorf("repository: %w", err)
	}
	t, err := r.timestamp()
	if err != nil || t == nil {
		return f, err
	}
	snapshot, err := r.snapshot()
	if err != nil {
		return f, err
	}
	for name, into := range map[string]*[]byte{
		"timestamp.json": &f.Timestamp,
		fmt.Sprintf("%d.snapshot.json", t.Signed.Meta["snapshot.json"].Version):      &f.Snapshot,
		fmt.Sprintf("%d.targets.json", snapshot.Signed.Meta["targets.json"].Version): &f.Targets,
	} {
		if *into, err = os.ReadFile(filepath.Join(r.dir, "metadata", name)); err != nil {
			return f, fmt.Errorf("repository: %w", err)
		}
	}
	return f, nil
}

func rawStaged[T metadata.Roles](m *metadata.Metadata[T]) ([]byte, error) {
	if m == nil {
		return nil, nil
	}
	return json.Marshal(m)
}

// State names what a change is made of: who changes something says what it was.
// How new it is, the affair of the online key, is not in it.
func (f *Files) State() string {
	h := sha256.New()
	for _, part := range [][]byte{f.Root, f.Targets, f.StagedRoot, f.StagedTargets} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes everything
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Write makes a repository of the files, in a folder without one.
func (f *Files) Write(dir string) error {
	r, err := Empty(dir, time.Now)
	if err != nil {
		return err
	}
	names := map[string][]byte{
		"metadata/root.json": f.Root, "metadata/timestamp.json": f.Timestamp, "staged/root.json": f.StagedRoot, "staged/targets.json": f.StagedTargets,
	}
	if len(f.Timestamp) > 0 {
		t, err := metadata.Timestamp().FromBytes(f.Timestamp)
		if err != nil {
			return fmt.Errorf("repository: timestamp.json: %w", err)
		}
		snapshot, err := metadata.Snapshot().FromBytes(f.Snapshot)
		if err != nil {
			return fmt.Errorf("repository: snapshot.json: %w", err)
		}
		if t.Signed.Meta["snapshot.json"] == nil || snapshot.Signed.Meta["targets.json"] == nil {
			return fmt.Errorf("repository: %w: it names no snapshot or no targets", ErrInvalid)
		}
		names[fmt.Sprintf("metadata/%d.snapshot.json", t.Signed.Meta["snapshot.json"].Version)] = f.Snapshot
		names[fmt.Sprintf("metadata/%d.targets.json", snapshot.Signed.Meta["targets.json"].Version)] = f.Targets
	}
	for name, raw := range names {
		if len(raw) == 0 {
			continue
		}
		if err := r.putRaw(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// Empty makes the folders of a repository that has no root yet: Take brings the
// first.
func Empty(dir string, now func() time.Time) (*Repository, error) {
	for _, sub := range []string{"metadata", "targets", "staged"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return nil, fmt.Errorf("repository: %w", err)
		}
	}
	return &Repository{dir: dir, now: now}, nil
}

// Rootless reports whether there is no root, not even a staged one.
func (r *Repository) Rootless() bool { return r.root == nil && r.newRoot == nil }

// First reports whether nothing was ever published.
func (r *Repository) First() bool { return r.root == nil }

// Take stages metadata that somebody else made: a root, targets or both, that
// follow on what is published and have the good signature of a key that counts.
// Signatures that do not count are dropped, those of the same content that is
// staged already are kept. done says that just this is published: the answer to
// an earlier request was lost. Nothing is written where it is refused.
func (r *Repository) Take(root, targets []byte) (done bool, err error) {
	defer func() {
		if p := recover(); p != nil { // go-tuf does so on some of what is malformed
			err = fmt.Errorf("%w: %v", ErrInvalid, p)
		}
	}()
	if len(root) == 0 && len(targets) == 0 {
		return false, fmt.Errorf("%w: it has neither a root nor targets", ErrInvalid)
	}
	rootDone, err := r.takeRoot(root)
	if err != nil {
		return false, err
	}
	targetsDone, err := r.takeTargets(targets)
	if err != nil {
		return false, err
	}
	if rootDone && targetsDone {
		return true, nil
	}
	return false, r.saveStaged()
}

// maxSkipped bounds how many versions of the targets may be skipped at once, and
// lead is how many Lead does: other holders may have published something, too.
const (
	maxSkipped = 1 << 16
	lead       = 1000
)

// Lead stages what is published once more, as a version well after seen: what was
// published up to it is lost. What another holder has begun so stays, for more
// signatures. ErrWaiting is anything else that is staged: it is nobody's word yet,
// and who wants to sign the same again would sign it too.
func (r *Repository) Lead(seen int64) error {
	switch {
	case r.targets == nil:
		return fmt.Errorf("%w: nothing was published yet", ErrInvalid)
	case r.newRoot != nil || r.newTargs != nil && !r.leads(seen):
		return ErrWaiting
	case r.newTargs != nil:
		return nil
	}
	if err := r.stageTargets(); err != nil {
		return err
	}
	r.newTargs.Signed.Version = max(r.newTargs.Signed.Version, seen) + lead
	return r.saveStaged()
}

// leads reports whether the staged targets say what is published and nothing else,
// after seen, and for no longer than Lead would.
func (r *Repository) leads(seen int64) bool {
	staged, published := r.newTargs.Signed, &r.targets.Signed
	if staged.Version <= seen || staged.Version > max(published.Version, seen)+maxSkipped || staged.Expires.After(expiry(r.now(), TargetsFor+24*time.Hour)) {
		return false
	}
	staged.Version, staged.Expires = published.Version, published.Expires
	return same(r.targets, &metadata.Metadata[metadata.TargetsType]{Signed: staged})
}

func (r *Repository) takeRoot(raw []byte) (done bool, err error) {
	if len(raw) == 0 {
		return true, nil
	}
	m, err := metadata.Root().FromBytes(raw)
	if err != nil {
		return false, fmt.Errorf("%w: root: %w", ErrInvalid, err)
	}
	if err := checkRoot(m); err != nil {
		return false, fmt.Errorf("%w: root: %w", ErrInvalid, err)
	}
	if r.root != nil && same(r.root, m) {
		return true, nil
	}
	if want := version(r.root) + 1; m.Signed.Version != want {
		return false, fmt.Errorf("%w: root version %d does not follow on %d", ErrInvalid, m.Signed.Version, want-1)
	}
	if !m.Signed.Expires.After(r.now()) {
		return false, fmt.Errorf("%w: root: it has expired", ErrInvalid)
	}
	if same(r.newRoot, m) {
		m.Signatures = append(m.Signatures, r.newRoot.Signatures...)
	}
	holders := r.root // a root that only its own keys have signed is anybody's
	if holders == nil {
		holders = m
	}
	signed := len(counting(m, m.Signatures, metadata.ROOT, holders)) > 0
	m.Signatures = counting(m, m.Signatures, metadata.ROOT, r.root, m)
	if !signed {
		return false, fmt.Errorf("root version %d: %w: no key that counts has signed it", m.Signed.Version, ErrUnsigned)
	}
	r.newRoot = m
	return false, nil
}

func (r *Repository) takeTargets(raw []byte) (done bool, err error) {
	if len(raw) == 0 {
		return true, nil
	}
	root := r.next()
	if root == nil {
		return false, fmt.Errorf("%w: there is no root yet", ErrInvalid)
	}
	m, err := metadata.Targets().FromBytes(raw)
	if err != nil {
		return false, fmt.Errorf("%w: targets: %w", ErrInvalid, err)
	}
	if m.Signed.Delegations != nil {
		return false, fmt.Errorf("%w: targets: delegations are not understood", ErrInvalid)
	}
	if _, err := ota.ReadTargets(&m.Signed); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	if r.targets != nil && same(r.targets, m) && root.VerifyDelegate(metadata.TARGETS, r.targets) == nil {
		return true, nil
	}
	// A repository that was put back from a copy goes on above what was published
	// since: it skips versions.
	if at := version(r.targets); m.Signed.Version <= at || m.Signed.Version > at+maxSkipped {
		return false, fmt.Errorf("%w: targets version %d does not follow on %d", ErrInvalid, m.Signed.Version, at)
	}
	if !m.Signed.Expires.After(r.now()) {
		return false, fmt.Errorf("%w: targets: they have expired", ErrInvalid)
	}
	if same(r.newTargs, m) {
		m.Signatures = append(m.Signatures, r.newTargs.Signatures...)
	}
	m.Signatures = counting(m, m.Signatures, metadata.TARGETS, root)
	if len(m.Signatures) == 0 && r.newRoot == nil {
		return false, fmt.Errorf("targets version %d: %w: no key that counts has signed it", m.Signed.Version, ErrUnsigned)
	}
	r.newTargs = m
	return false, nil
}

// checkRoot refuses a root that leads gateways nowhere.
func checkRoot(m *metadata.Metadata[metadata.RootType]) error {
	if !m.Signed.ConsistentSnapshot {
		return errors.New("it is not one of consistent snapshots")
	}
	for _, name := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		role := m.Signed.Roles[name]
		if role == nil || role.Threshold < 1 || role.Threshold > len(role.KeyIDs) {
			return fmt.Errorf("nobody may sign as %s", name)
		}
		for _, id := range role.KeyIDs {
			if m.Signed.Keys[id] == nil {
				return fmt.Errorf("%s: there is no key %s", name, id)
			}
			key, err := m.Signed.Keys[id].ToPublicKey()
			if _, ok := key.(ed25519.PublicKey); err != nil || !ok {
				return fmt.Errorf("%s: %s is no Ed25519 key", name, id)
			}
			if own, err := m.Signed.Keys[id].ID(); err != nil || own != id {
				return fmt.Errorf("%s: %s is the id of another key", name, id)
			}
		}
	}
	return nil
}

func version[T metadata.Roles](m *metadata.Metadata[T]) int64 {
	if m == nil {
		return 0
	}
	switch s := any(&m.Signed).(type) {
	case *metadata.RootType:
		return s.Version
	case *metadata.TargetsType:
		return s.Version
	}
	return 0
}

// same reports whether two say the same, whoever signed it.
func same[T metadata.Roles](a, b *metadata.Metadata[T]) bool {
	if a == nil || b == nil {
		return false
	}
	x, err := json.Marshal(a.Signed)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b.Signed)
	return err == nil && bytes.Equal(x, y)
}

// counting are the signatures, one of each key, that are good and that one of
// the roots gives a role.
func counting[T metadata.Roles](m *metadata.Metadata[T], all []metadata.Signature, role string, roots ...*metadata.Metadata[metadata.RootType]) []metadata.Signature {
	out := []metadata.Signature{}
	for _, s := range all {
		good := slices.ContainsFunc(roots, func(root *metadata.Metadata[metadata.RootType]) bool {
			if root == nil || !slices.Contains(root.Signed.Roles[role].KeyIDs, s.KeyID) {
				return false
			}
			// The library knows thresholds only: of one, for this key alone.
			alone := metadata.Root()
			alone.Signed.Keys = root.Signed.Keys
			alone.Signed.Roles = map[string]*metadata.Role{role: {KeyIDs: []string{s.KeyID}, Threshold: 1}}
			return alone.VerifyDelegate(role, &metadata.Metadata[T]{Signed: m.Signed, Signatures: []metadata.Signature{s}}) == nil
		})
		if good && !signedBy(out, s.KeyID) {
			out = append(out, s)
		}
	}
	return out
}

// Complete reports whether what is staged has all of its signatures.
func (r *Repository) Complete() bool {
	waiting := r.Waiting()
	return len(waiting) > 0 && !slices.ContainsFunc(waiting, func(w Waiting) bool { return w.Missing != "" })
}

// Discard throws away what is staged.
func (r *Repository) Discard() error {
	r.newRoot, r.newTargs = nil, nil
	return r.unstage()
}

// Restage stages what was staged before a change that is not to be.
func (r *Repository) Restage(was *Files) error {
	if err := r.Discard(); err != nil {
		return err
	}
	for name, raw := range map[string][]byte{"staged/root.json": was.StagedRoot, "staged/targets.json": was.StagedTargets} {
		if len(raw) == 0 {
			continue
		}
		if err := r.putRaw(name, raw); err != nil {
			return err
		}
	}
	return nil
}

// Stages reports whether root metadata says what the staged root does, whoever
// signed it.
func (r *Repository) Stages(root []byte) bool {
	m, err := metadata.Root().FromBytes(root)
	return err == nil && same(r.newRoot, m)
}

func (r *Repository) unstage() error {
	for _, name := range []string{"staged/root.json", "staged/targets.json"} {
		if err := os.Remove(filepath.Join(r.dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("repository: %w", err)
		}
	}
	return nil
}

// NewTargets are the staged targets whose content is not among what is
// published.
func (r *Repository) NewTargets() ([]ota.Target, error) {
	if r.newTargs == nil {
		return nil, nil
	}
	staged, err := r.Published(true)
	if err != nil {
		return nil, err
	}
	before, err := r.Published(false)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(staged, func(t ota.Target) bool {
		return slices.ContainsFunc(before, func(b ota.Target) bool { return b.Path() == t.Path() && b.Bytes == t.Bytes })
	}), nil
}

// RootVersion is that of the published root; 0 is none.
func (r *Repository) RootVersion() int64 { return version(r.root) }

// TargetsVersion is that of the published targets; 0 is none.
func (r *Repository) TargetsVersion() int64 { return version(r.targets) }

// ReadVersion reads which version of its role metadata is, whoever signed it.
func ReadVersion(raw []byte) (int64, error) {
	var m struct {
		Signed struct {
			Version int64 `json:"version"`
		} `json:"signed"`
	}
	err := json.Unmarshal(raw, &m)
	return m.Signed.Version, err
}
