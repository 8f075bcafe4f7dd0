package repository

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/headgate-io/headgate/internal/durable"
	"github.com/headgate-io/headgate/sync/ota"
)

// Add puts a file into the repository and stages it as a target. The aliases of
// its release leave what had them before. Nothing that gateways see changes.
func (r *Repository) Add(content io.Reader, release ota.Release) (ota.Target, error) {
	release.Published = r.now().UTC().Truncate(time.Second)
	if err := release.Validate(); err != nil {
		return ota.Target{}, err
	}
	if r.newTargs == nil && r.targets == nil {
		return ota.Target{}, fmt.Errorf("the repository has no targets metadata yet: its first root waits for signatures ('headgate keys sign')")
	}
	temporary, sum, n, err := r.receive(content)
	if err != nil {
		return ota.Target{}, err
	}
	defer func() { _ = os.Remove(temporary) }() // it is gone when all went well
	t := ota.Target{Name: targetName(&release), Bytes: n, SHA256: sum, Release: release}
	if err := r.place(temporary, &t); err != nil {
		return t, err
	}
	if err := r.stageTargets(); err != nil {
		return t, err
	}
	if len(r.newTargs.Signed.Targets) >= ota.MaxTargets {
		return t, fmt.Errorf("the repository has %d targets, the most that it may have: withdraw old ones", ota.MaxTargets)
	}
	if old, err := ota.ReadRelease(r.newTargs.Signed.Targets[t.Name]); err == nil && len(release.Aliases) == 0 {
		release.Aliases = old.Aliases // it is there already, and stays what it is
	}
	for name := range r.newTargs.Signed.Targets {
		if err := r.retire(name, &release); err != nil {
			return t, err
		}
	}
	raw, err := release.Custom()
	if err != nil {
		return t, err
	}
	digest, err := hex.DecodeString(sum)
	if err != nil {
		return t, err
	}
	r.newTargs.Signed.Targets[t.Name] = &metadata.TargetFiles{Length: n, Hashes: metadata.Hashes{"sha256": digest}, Custom: &raw, Path: t.Name}
	return t, r.saveStaged()
}

// targetName is where a release is among the targets.
func targetName(r *ota.Release) string {
	if r.Kind == ota.System {
		return fmt.Sprintf("system/%s/%s/headgate", r.Version, r.Arch)
	}
	return fmt.Sprintf("functions/%s/%s.bundle", r.Function, r.Digest[:16])
}

// receive writes content beside the targets.
func (r *Repository) receive(content io.Reader) (file, sum string, n int64, err error) {
	f, err := os.CreateTemp(filepath.Join(r.dir, "staged"), "target-*")
	if err != nil {
		return "", "", 0, fmt.Errorf("repository: %w", err)
	}
	h := sha256.New()
	n, err = io.Copy(io.MultiWriter(f, h), io.LimitReader(content, ota.MaxSystemBytes+1))
	if err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close()); err == nil && n > ota.MaxSystemBytes {
		err = fmt.Errorf("it has more than %d bytes", ota.MaxSystemBytes)
	}
	if err != nil {
		return "", "", 0, errors.Join(fmt.Errorf("repository: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), hex.EncodeToString(h.Sum(nil)), n, nil
}

func (r *Repository) place(temporary string, t *ota.Target) error {
	file := filepath.Join(r.dir, t.Path())
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	if err := os.Rename(temporary, file); err != nil {
		return fmt.Errorf("repository: %w", err)
	}
	return durable.SyncFolder(filepath.Dir(file))
}

// retire takes from a staged target the aliases that by has of the same thing.
func (r *Repository) retire(name string, by *ota.Release) error {
	f := r.newTargs.Signed.Targets[name]
	x, err := ota.ReadRelease(f)
	if err != nil || x.Kind != by.Kind || x.Function != by.Function || x.Arch != by.Arch {
		return nil //nolint:nilerr // what a newer version put there is its own affair
	}
	x.Aliases = slices.DeleteFunc(x.Aliases, func(a string) bool { return slices.Contains(by.Aliases, a) })
	raw, err := x.Custom()
	f.Custom = &raw
	return err
}

// Withdraw stages that a target is not signed any more: no gateway takes it from
// then on. Its file stays, for gateways that are just fetching it.
func (r *Repository) Withdraw(name string) error {
	if r.targets == nil {
		return fmt.Errorf("no target %s", name)
	}
	if err := r.stageTargets(); err != nil {
		return err
	}
	if r.newTargs.Signed.Targets[name] == nil {
		return fmt.Errorf("no target %s: 'headgate repository list' shows them", name)
	}
	delete(r.newTargs.Signed.Targets, name)
	return r.saveStaged()
}

// Point stages that aliases point to a target that is there already: how a
// version before is made live again.
func (r *Repository) Point(name string, aliases ...string) error {
	if r.targets == nil {
		return fmt.Errorf("no target %s", name)
	}
	if err := r.stageTargets(); err != nil {
		return err
	}
	f := r.newTargs.Signed.Targets[name]
	release, err := ota.ReadRelease(f)
	if err != nil {
		return fmt.Errorf("target %s: %w: 'headgate repository list' shows them", name, err)
	}
	release.Aliases = aliases
	for other := range r.newTargs.Signed.Targets {
		if err := r.retire(other, release); err != nil {
			return err
		}
	}
	raw, err := release.Custom()
	if err != nil {
		return err
	}
	f.Custom = &raw
	return r.saveStaged()
}

// Commit publishes all that is staged, when it has its signatures, with a
// snapshot and a timestamp by the online key. Where signatures are missing it is
// ErrUnsigned, and nothing that gateways see changes.
func (r *Repository) Commit(online ed25519.PrivateKey) error {
	for _, w := range r.Waiting() {
		if w.Missing != "" {
			return fmt.Errorf("%s version %d: %w: %s", w.Role, w.Version, ErrUnsigned, w.Missing)
		}
	}
	root, targets := r.next(), r.targets
	if r.newTargs != nil {
		targets = r.newTargs
	}
	if err := root.VerifyDelegate(metadata.TARGETS, targets); err != nil {
		return fmt.Errorf("targets version %d: %w: %w", targets.Signed.Version, ErrUnsigned, err)
	}
	if err := r.locked(func() error { return r.publish(root, targets, online) }); err != nil {
		return err
	}
	r.root, r.targets, r.newRoot, r.newTargs = root, targets, nil, nil
	return r.unstage()
}

// publish writes a set. The timestamp comes last: until then gateways see the
// set before.
func (r *Repository) publish(root *metadata.Metadata[metadata.RootType], targets *metadata.Metadata[metadata.TargetsType], online ed25519.PrivateKey) error {
	if err := r.fresh(); err != nil {
		return err
	}
	signer, err := signature.LoadED25519Signer(online)
	if err != nil {
		return err
	}
	meta, err := r.putVersion(fmt.Sprintf("metadata/%d.targets.json", targets.Signed.Version), targets, targets.Signed.Version)
	if err != nil {
		return err
	}
	snapshot, err := r.nextSnapshot(meta, signer)
	if err != nil {
		return err
	}
	if err := root.VerifyDelegate(metadata.SNAPSHOT, snapshot); err != nil {
		return fmt.Errorf("%w: %w", ErrOnline, err)
	}
	if meta, err = r.putVersion(fmt.Sprintf("metadata/%d.snapshot.json", snapshot.Signed.Version), snapshot, snapshot.Signed.Version); err != nil {
		return err
	}
	if r.newRoot != nil {
		if _, err := r.putVersion(fmt.Sprintf("metadata/%d.root.json", root.Signed.Version), root, 0); err != nil {
			return err
		}
		if err := r.put("metadata/root.json", root); err != nil {
			return err
		}
	}
	return r.stamp(root, meta, signer)
}

// fresh refuses to go on from what somebody else has published something after.
func (r *Repository) fresh() error {
	snapshot, err := r.snapshot()
	if err != nil || snapshot == nil {
		return err
	}
	if now := snapshot.Signed.Meta["targets.json"].Version; now != version(r.targets) {
		return fmt.Errorf("%w: its targets are version %d by now", ErrChanged, now)
	}
	return nil
}

// putVersion writes metadata and describes it.
func (r *Repository) putVersion(name string, m any, version int64) (*metadata.MetaFiles, error) {
	raw, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(raw)
	return &metadata.MetaFiles{Length: int64(len(raw)), Hashes: metadata.Hashes{"sha256": sum[:]}, Version: version}, r.putRaw(name, raw)
}

func (r *Repository) nextSnapshot(targets *metadata.MetaFiles, signer signature.Signer) (*metadata.Metadata[metadata.SnapshotType], error) {
	next := metadata.Snapshot(expiry(r.now(), SnapshotFor))
	before, err := r.snapshot()
	if err != nil {
		return nil, err
	}
	if before != nil {
		next.Signed.Version = before.Signed.Version + 1
	}
	next.Signed.Meta["targets.json"] = targets
	_, err = next.Sign(signer)
	return next, err
}

// stamp names the newest snapshot.
func (r *Repository) stamp(root *metadata.Metadata[metadata.RootType], snapshot *metadata.MetaFiles, signer signature.Signer) error {
	return r.stampFrom(root, snapshot, signer, 1)
}

// stampFrom does so under a version from floor on.
func (r *Repository) stampFrom(root *metadata.Metadata[metadata.RootType], snapshot *metadata.MetaFiles, signer signature.Signer, floor int64) error {
	next := metadata.Timestamp(expiry(r.now(), TimestampFor))
	before, err := r.timestamp()
	if err != nil {
		return err
	}
	if before != nil {
		next.Signed.Version = before.Signed.Version + 1
	}
	next.Signed.Version = max(next.Signed.Version, floor)
	next.Signed.Meta["snapshot.json"] = snapshot
	if _, err := next.Sign(signer); err != nil {
		return err
	}
	if err := root.VerifyDelegate(metadata.TIMESTAMP, next); err != nil {
		return fmt.Errorf("%w: %w", ErrOnline, err)
	}
	return r.put("metadata/timestamp.json", next)
}

// Refresh signs snapshot and timestamp anew when half their time is over, and
// says whether it did. Whoever holds the online key calls it now and then:
// gateways that hear nothing new stop taking new code.
func (r *Repository) Refresh(online ed25519.PrivateKey) (done bool, err error) {
	err = r.locked(func() error { done, err = r.refresh(online); return err })
	return done, err
}

func (r *Repository) refresh(online ed25519.PrivateKey) (bool, error) {
	t, err := r.timestamp()
	if err != nil || t == nil {
		return false, err
	}
	snapshot, err := r.snapshot()
	if err != nil {
		return false, err
	}
	signer, err := signature.LoadED25519Signer(online)
	if err != nil {
		return false, err
	}
	due := func(end time.Time, whole time.Duration) bool { return end.Sub(r.now()) < whole/2 }
	meta := t.Signed.Meta["snapshot.json"]
	if due(snapshot.Signed.Expires, SnapshotFor) {
		next, err := r.nextSnapshot(snapshot.Signed.Meta["targets.json"], signer)
		if err != nil {
			return false, err
		}
		if meta, err = r.putVersion(fmt.Sprintf("metadata/%d.snapshot.json", next.Signed.Version), next, next.Signed.Version); err != nil {
			return false, err
		}
	} else if !due(t.Signed.Expires, TimestampFor) {
		return false, nil
	}
	return true, r.stamp(r.root, meta, signer)
}

// Lift signs the same again under versions from floor on: a repository that was
// put back from a copy is behind what gateways have seen, and they take nothing
// that is older.
func (r *Repository) Lift(online ed25519.PrivateKey, floor int64) error {
	return r.locked(func() error {
		t, err := r.timestamp()
		if err != nil || t == nil {
			return err
		}
		before, err := r.snapshot()
		if err != nil {
			return err
		}
		signer, err := signature.LoadED25519Signer(online)
		if err != nil {
			return err
		}
		snapshot := metadata.Snapshot(expiry(r.now(), SnapshotFor))
		snapshot.Signed.Version = max(before.Signed.Version+1, floor)
		snapshot.Signed.Meta["targets.json"] = before.Signed.Meta["targets.json"]
		if _, err := snapshot.Sign(signer); err != nil {
			return err
		}
		meta, err := r.putVersion(fmt.Sprintf("metadata/%d.snapshot.json", snapshot.Signed.Version), snapshot, snapshot.Signed.Version)
		if err != nil {
			return err
		}
		return r.stampFrom(r.root, meta, signer, floor)
	})
}

// Published is what gateways see; with staged, what they will see.
func (r *Repository) Published(staged bool) ([]ota.Target, error) {
	m := r.targets
	if staged && r.newTargs != nil {
		m = r.newTargs
	}
	if m == nil {
		return nil, nil
	}
	t, err := ota.ReadTargets(&m.Signed)
	if err != nil {
		return nil, err
	}
	return t.All, nil
}
