package object

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/headgate-io/headgate/function"
)

// Stage holds what one event's invocations put, until it is known what becomes
// of them. It is used by one goroutine at a time.
type Stage struct {
	b *blobs
	// files are by digest where the content is until Place; empty where it is
	// in its place.
	files map[string]string
}

// Put writes content to a file that Place gives its name. It may be put again.
func (s *Stage) Put(data []byte) (digest string, err error) {
	sum := sha256.Sum256(data)
	digest = function.DigestOf(sum[:])
	if _, known := s.files[digest]; known {
		return digest, nil
	}
	s.b.hold(digest)
	path := ""
	if !s.b.there(digest) {
		path, err = s.b.stage(data)
	}
	if err != nil {
		s.b.release(digest)
		return "", err
	}
	if s.files == nil {
		s.files = map[string]string{}
	}
	s.files[digest] = path
	return digest, nil
}

// stage writes content to a temporary file.
func (b *blobs) stage(data []byte) (path string, err error) {
	f, err := b.temporary()
	if err == nil {
		_, err = f.Write(data)
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(err, removeIfThere(f.Name()))
		}
	}
	if err != nil {
		return "", fmt.Errorf("keep an object: %w", err)
	}
	return f.Name(), nil
}

func (s *Stage) open(digest string) (*os.File, error) {
	if path := s.files[digest]; path != "" {
		return os.Open(path)
	}
	return s.b.open(digest)
}

// Read reads content from offset on, placed or not.
func (s *Stage) Read(digest string, offset int64, p []byte) (n int, err error) {
	f, err := s.open(digest)
	if err != nil {
		return 0, err
	}
	n, err = f.ReadAt(p, offset)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, errors.Join(err, f.Close())
}

// Place puts on the disk what the changes speak of.
func (s *Stage) Place(changes []function.ObjectChange) error {
	for i := range changes {
		digest := changes[i].Object.Digest
		path := s.files[digest]
		if changes[i].Delete || path == "" {
			continue
		}
		s.files[digest] = ""
		if err := s.b.place(path, digest); err != nil {
			delete(s.files, digest)
			s.b.release(digest)
			return err
		}
	}
	return nil
}

// Release lets everything go: what a row speaks of by now stays, the rest is
// collected.
func (s *Stage) Release() {
	for digest, path := range s.files {
		if path != "" {
			_ = removeIfThere(path) // the next start removes it
		}
		s.b.release(digest)
	}
	clear(s.files)
}
