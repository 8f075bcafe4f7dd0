package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/internal/durable"
)

// replacement is a database that lies ready beside the one in use, to be put in
// its place when the store is opened.
type replacement struct {
	suffix string // of the database that lies ready
	folder string // where the one that was in use goes
	keep   int    // how many of those are kept
}

var (
	restored = replacement{suffix: ".restore", folder: "replaced", keep: 1}
	salvaged = replacement{suffix: ".salvaged", folder: "damaged", keep: 2}
)

// recoveryPath holds the report from before the database is replaced until it
// is in the new one with a new epoch: neither may be forgotten on the way.
func (s *Store) recoveryPath() string { return s.cfg.Path + ".recovery" }

// finishReplacement puts what lies ready in place, and takes the report of a
// start that got no further than that.
func (s *Store) finishReplacement() error {
	var r *Recovery
	text, err := os.ReadFile(s.recoveryPath())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		r = new(Recovery)
		if json.Unmarshal(text, r) != nil {
			r = &Recovery{At: s.cfg.Now(), Reason: "the database was replaced"}
		}
	}
	s.recovery = r
	if err := s.replace(salvaged, r); err != nil {
		return err
	}
	return s.replace(restored, &Recovery{At: s.cfg.Now(), Reason: "a backup was restored"})
}

// replace may be interrupted anywhere: the next start goes on.
func (s *Store) replace(with replacement, r *Recovery) error {
	staged := s.cfg.Path + with.suffix
	info, err := os.Stat(staged)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r == nil {
		r = &Recovery{At: s.cfg.Now(), Reason: "the database was damaged"}
	}
	dir := filepath.Dir(s.cfg.Path)
	// The same folder whenever this one is tried.
	r.Kept, err = asideFolder(filepath.Join(dir, with.folder), info.ModTime().UTC().Format("20060102T150405.000000000"))
	if err != nil {
		return err
	}
	// The log first: beside another database it would be taken for that one's.
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		err := os.Rename(s.cfg.Path+suffix, filepath.Join(r.Kept, filepath.Base(s.cfg.Path)+suffix))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := s.inject(StepPutAside); err != nil {
			return err
		}
	}
	err = errors.Join(durable.SyncFolder(r.Kept), durable.SyncFolder(dir), writeFile(s.recoveryPath(), r))
	if err = cmp.Or(err, os.Rename(staged, s.cfg.Path)); err != nil {
		return err
	}
	if err := s.inject(StepReplaced); err != nil {
		return err
	}
	s.recovery = r
	s.log.Warn("another database is in place: a new usage epoch begins", "reason", r.Reason, "kept", r.Kept)
	return errors.Join(removeIfThere(s.suspectPath()), durable.SyncFolder(dir), trimFolders(filepath.Dir(r.Kept), with.keep))
}

// asideFolder returns the folder of this name in dir, and makes it if need be.
// A number in front gives the order in which they were made, which the clock of
// a board does not.
func asideFolder(dir, name string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	last := 0
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "-"+name) {
			return filepath.Join(dir, e.Name()), nil
		}
		last = max(last, folderNumber(e))
	}
	made := filepath.Join(dir, fmt.Sprintf("%06d-%s", last+1, name))
	return made, cmp.Or(os.Mkdir(made, 0o700), durable.SyncFolder(dir))
}

func folderNumber(e os.DirEntry) int {
	number, _, found := strings.Cut(e.Name(), "-")
	if n, err := strconv.Atoi(number); found && err == nil {
		return n
	}
	return 0
}

// trimFolders removes all but the newest.
func trimFolders(dir string, keep int) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	slices.SortStableFunc(entries, func(a, b os.DirEntry) int { return cmp.Compare(folderNumber(a), folderNumber(b)) })
	for i := range max(0, len(entries)-keep) {
		if err := os.RemoveAll(filepath.Join(dir, entries[i].Name())); err != nil {
			return err
		}
	}
	return nil
}

func removeDatabase(path string) error {
	var errs []error
	for _, suffix := range []string{"", "-wal", "-shm", "-journal"} {
		errs = append(errs, removeIfThere(path+suffix))
	}
	return errors.Join(errs...)
}

func syncFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
