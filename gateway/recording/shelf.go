package recording

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/headgate-io/headgate/gateway/admin/api"
)

// Bounds of a shelf: the oldest recordings make room for new ones.
const (
	MaxRecordings = 64
	MaxShelfBytes = 8 << 20
)

// Shelf keeps recordings in a folder. What is there survives a restart, and
// may be lost in a power cut: recordings are for people, nothing depends on
// them. It may be used from any goroutine.
type Shelf struct {
	dir string

	mu    sync.Mutex
	items []api.Recording // oldest first
	bytes int64
}

// ErrNotFound is returned for a recording that is not there.
var ErrNotFound = errors.New("recording not found")

const extension = ".recording"

// OpenShelf opens the shelf in dir, which is made when something is put there.
// A file that is no recording is left alone.
func OpenShelf(dir string) (*Shelf, error) {
	s := &Shelf{dir: dir}
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("open recordings: %w", err)
	}
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), extension)
		if !ok {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, fmt.Errorf("open recordings: %w", err)
		}
		if r, err := Decode(raw); err == nil && r.ID == id {
			s.items = append(s.items, item(r, int64(len(raw))))
			s.bytes += int64(len(raw))
		}
	}
	slices.SortStableFunc(s.items, func(a, b api.Recording) int { return a.Time.Compare(b.Time) })
	return s, nil
}

func item(r *Recording, size int64) api.Recording {
	return api.Recording{
		ID: r.ID, Function: r.Spec.Name, Version: r.Version, EventID: r.Event.ID, Subject: r.Event.Subject, Time: r.Time,
		Outcome: r.Outcome.Outcome, Error: r.Outcome.Error, Fuel: r.Outcome.Fuel, Bytes: size,
	}
}

// Put keeps a recording; one with the same id is replaced. It returns how many
// older ones had to go.
func (s *Shelf) Put(r *Recording) (dropped int, err error) {
	var text bytes.Buffer
	if err := r.Encode(&text); err != nil {
		return 0, fmt.Errorf("keep recording %s: %w", r.ID, err)
	}
	size := int64(text.Len())
	if size > MaxShelfBytes/4 {
		return 0, fmt.Errorf("keep recording %s: %d bytes are more than the %d one may have", r.ID, size, MaxShelfBytes/4)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropLocked(r.ID)
	for len(s.items) > 0 && (len(s.items) >= MaxRecordings || s.bytes+size > MaxShelfBytes) {
		s.dropLocked(s.items[0].ID)
		dropped++
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return dropped, fmt.Errorf("keep recording %s: %w", r.ID, err)
	}
	temporary := filepath.Join(s.dir, "new")
	err = os.WriteFile(temporary, text.Bytes(), 0o600)
	if err == nil {
		err = os.Rename(temporary, s.path(r.ID))
	}
	if err != nil {
		_ = os.Remove(temporary)
		return dropped, fmt.Errorf("keep recording %s: %w", r.ID, err)
	}
	s.items = append(s.items, item(r, size))
	s.bytes += size
	return dropped, nil
}

func (s *Shelf) path(id string) string { return filepath.Join(s.dir, id+extension) }

// dropLocked deletes a recording, where there is one.
func (s *Shelf) dropLocked(id string) bool {
	i := slices.IndexFunc(s.items, func(i api.Recording) bool { return i.ID == id })
	if i < 0 {
		return false
	}
	_ = os.Remove(s.path(id)) // one that stays is found by the next start
	s.bytes -= s.items[i].Bytes
	s.items = slices.Delete(s.items, i, i+1)
	return true
}

// List returns what is there, newest first; of one function where one is named.
func (s *Shelf) List(function string) []api.Recording {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := []api.Recording{}
	for _, i := range s.items {
		if function == "" || i.Function == function {
			out = append(out, i)
		}
	}
	slices.SortStableFunc(out, func(a, b api.Recording) int { return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.ID, b.ID)) })
	return out
}

// Get reads a recording.
func (s *Shelf) Get(id string) (*Recording, error) {
	s.mu.Lock()
	known := slices.ContainsFunc(s.items, func(i api.Recording) bool { return i.ID == id })
	s.mu.Unlock()
	if !known {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	raw, err := os.ReadFile(s.path(id))
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrNotFound, id, err)
	}
	return Decode(raw)
}

// Drop deletes a recording.
func (s *Shelf) Drop(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.dropLocked(id) {
		return fmt.Errorf("%w: %s", ErrNotFound, id)
	}
	return nil
}

// Bytes is what the recordings take.
func (s *Shelf) Bytes() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes
}
