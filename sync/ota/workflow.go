package ota

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"

	"github.com/headgate-io/headgate/internal/fault"
)

// workflow is one refresh: the client workflow of the TUF specification,
// section 5, over the library's checks.
type workflow struct {
	c    *Client
	from Source
	set  *trustedmetadata.TrustedMetadata
}

func (w *workflow) run(ctx context.Context) (*Targets, error) {
	for _, step := range []func(context.Context) error{w.roots, w.timestamp, w.snapshot, w.targets} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	t, err := ReadTargets(&w.set.Targets[metadata.TARGETS].Signed)
	if err != nil {
		return nil, err
	}
	t.Root, t.Expires = w.set.Root.Signed.Version, expires(w.set)
	if t.Unknown > 0 {
		w.c.cfg.Logger.Warn("targets that this version of headgate does not understand are left out: update it", "targets", t.Unknown)
	}
	return t, nil
}

// roots goes from the trusted root to the newest, each signed by the keys of
// the one before it and by its own (5.3).
func (w *workflow) roots(ctx context.Context) error {
	for range maxRotations {
		next := w.set.Root.Signed.Version + 1
		name := fmt.Sprintf("%d.%s", next, rootFile)
		raw, err := read(ctx, w.from, "metadata/"+name, maxRootBytes)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := guarded(name, func() error { _, err := w.set.UpdateRoot(raw); return err }); err != nil {
			return err
		}
		if err := w.keep(rootFile, raw); err != nil {
			return err
		}
		w.c.cfg.Logger.Info("the keys have changed", "root", next)
	}
	return nil
}

// kept gives what is on the disk to take. What does not fit any more, because
// keys changed or a power cut came between, is fetched anew.
func (w *workflow) kept(name string, take func(raw []byte) error) error {
	if fault.On(fault.SkipRollback) {
		return ErrNotFound
	}
	raw, err := os.ReadFile(filepath.Join(w.c.cfg.Dir, name))
	if err != nil {
		return err
	}
	return guarded(name, func() error { return take(raw) })
}

func (w *workflow) keep(name string, raw []byte) error {
	if err := w.c.replace(filepath.Join(w.c.cfg.Dir, name), raw); err != nil {
		return fmt.Errorf("updates: keep %s: %w", name, err)
	}
	return nil
}

// timestamp names the newest snapshot (5.4).
func (w *workflow) timestamp(ctx context.Context) error {
	take := func(raw []byte) error {
		_, err := w.set.UpdateTimestamp(raw)
		return err
	}
	local := w.kept(timestampFile, take)
	if _, offline := w.from.(nowhere); offline {
		return local
	}
	raw, err := read(ctx, w.from, "metadata/"+timestampFile, maxTimestampBytes)
	if err != nil {
		return err
	}
	same := false
	err = guarded(timestampFile, func() error {
		err := take(raw)
		same = errors.Is(err, &metadata.ErrEqualVersionNumber{})
		if same {
			return nil
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case same && errors.Is(local, ErrExpired):
		return fmt.Errorf("the repository has nothing newer: %w", local)
	case same:
		return nil
	}
	if w.set.Timestamp.Signed.Meta[snapshotFile] == nil {
		return fmt.Errorf("%s: %w: it names no snapshot", timestampFile, ErrMalformed)
	}
	return w.keep(timestampFile, raw)
}

// snapshot names the version of the targets that goes with all the rest (5.5).
func (w *workflow) snapshot(ctx context.Context) error {
	meta := w.set.Timestamp.Signed.Meta[snapshotFile]
	if meta == nil {
		return fmt.Errorf("%s: %w: it names no snapshot", timestampFile, ErrMalformed)
	}
	// An older one is taken too: what it says must not be undone by the next.
	err := w.kept(snapshotFile, func(raw []byte) error { _, err := w.set.UpdateSnapshot(raw, true); return err })
	if err == nil {
		return nil
	}
	name := fmt.Sprintf("%d.%s", meta.Version, snapshotFile)
	raw, err := read(ctx, w.from, "metadata/"+name, bound(meta, maxSnapshotBytes))
	if err != nil {
		return err
	}
	if err := guarded(name, func() error { _, err := w.set.UpdateSnapshot(raw, false); return err }); err != nil {
		return err
	}
	return w.keep(snapshotFile, raw)
}

// targets are what the owner's keys signed (5.6).
func (w *workflow) targets(ctx context.Context) error {
	meta := w.set.Snapshot.Signed.Meta[targetsFile]
	if meta == nil {
		return fmt.Errorf("%s: %w: it names no targets", snapshotFile, ErrMalformed)
	}
	take := func(raw []byte) error {
		if fault.On(fault.SkipSignature) {
			m, err := metadata.Targets().FromBytes(raw)
			w.set.Targets[metadata.TARGETS] = m
			return err
		}
		_, err := w.set.UpdateTargets(raw)
		return err
	}
	local := w.kept(targetsFile, take)
	if local == nil || errors.Is(local, ErrExpired) {
		return local
	}
	name := fmt.Sprintf("%d.%s", meta.Version, targetsFile)
	raw, err := read(ctx, w.from, "metadata/"+name, bound(meta, maxTargetsBytes))
	if err != nil {
		return err
	}
	if err := guarded(name, func() error { return take(raw) }); err != nil {
		return err
	}
	return w.keep(targetsFile, raw)
}

// bound is how many bytes are read of what meta names: no more than it says, so
// that a server cannot go on for ever.
func bound(meta *metadata.MetaFiles, most int64) int64 {
	if meta.Length > 0 {
		return min(meta.Length, most)
	}
	return most
}
