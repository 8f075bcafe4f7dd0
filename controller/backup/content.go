package backup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/headgate-io/headgate/sync/ota/repository"
)

// passing reports whether a file is only there while something is written, or for
// a lock.
func passing(name string) bool {
	return strings.HasPrefix(name, ".") || strings.HasPrefix(name, "target-") || strings.HasSuffix(name, ".new")
}

// content writes the repositories.
func (w *writer) content() error {
	folders, err := os.ReadDir(w.places.content)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, f := range folders {
		dir := filepath.Join(w.places.content, f.Name())
		if _, err := os.Stat(filepath.Join(dir, "metadata")); err != nil {
			if !f.IsDir() {
				return fmt.Errorf("%s is no repository: a backup takes repositories alone; move it out of there", dir)
			}
			if err := w.folder(contentName+f.Name()+"/", dir); err != nil {
				return err
			}
			continue
		}
		if err := w.repository(f.Name(), dir); err != nil {
			return err
		}
	}
	return nil
}

// repository writes one. What changes in place is read while nobody publishes,
// and so is what there is; the rest keeps its names and contents for good, and is
// copied while publishing goes on.
func (w *writer) repository(name, dir string) error {
	var s state
	if err := repository.Locked(dir, func() error { return s.read(dir) }); err != nil {
		return err
	}
	defer s.close()
	prefix := contentName + name + "/"
	for _, m := range s.moving {
		if err := w.bytes(prefix+m.name, m.raw); err != nil {
			return err
		}
	}
	for _, f := range s.uploads {
		if err := w.opened(prefix+"staged/uploads/"+filepath.Base(f.Name()), f); err != nil {
			return err
		}
	}
	for _, file := range s.lasting {
		if err := w.file(prefix+file, filepath.Join(dir, filepath.FromSlash(file))); err != nil {
			return err
		}
	}
	return nil
}

// state is a repository at one moment.
type state struct {
	moving  []moving
	uploads []*os.File
	lasting []string
}

// moving is a file that is replaced by others of its name.
type moving struct {
	name string
	raw  []byte
}

func (s *state) close() {
	for _, f := range s.uploads {
		f.Close()
	}
}

func (s *state) read(dir string) error {
	changing := map[string]bool{}
	for _, name := range []string{"metadata/root.json", "metadata/timestamp.json", "staged/root.json", "staged/targets.json"} {
		changing[name] = true
		raw, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err == nil {
			s.moving = append(s.moving, moving{name, raw})
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	// Before the targets: what is published meanwhile moves there.
	uploads := filepath.Join(dir, "staged", "uploads")
	waiting, err := os.ReadDir(uploads)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range waiting {
		f, err := os.Open(filepath.Join(uploads, e.Name()))
		if passing(e.Name()) || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		s.uploads = append(s.uploads, f)
	}
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if e.IsDir() {
			if path == uploads {
				return fs.SkipDir
			}
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if rel = filepath.ToSlash(rel); err == nil && !changing[rel] && !passing(e.Name()) {
			s.lasting = append(s.lasting, rel)
		}
		return err
	})
}
