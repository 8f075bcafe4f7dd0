// Package slot keeps the gateway's own binary twice, so that an update that
// does not work takes itself back.
//
// A folder holds the slots a and b and a file that says which of them runs. The
// binary that came with the machine, the base, is in neither and is what runs
// until there was an update. A new binary is staged into the slot that does not
// run, tried a bounded number of times, and then confirmed or dropped. Every
// change of the file is one atomic, synced rename: a power cut leaves the old
// decision or the new one.
package slot

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/headgate-io/headgate/internal/durable"
)

// Name is a place for a binary.
type Name string

// The places: the binary that came with the machine, and the two slots.
const (
	Base Name = "base"
	A    Name = "a"
	B    Name = "b"
)

// MaxStarts is how often a new binary is started before it is given up.
const MaxStarts = 3

// stateFile says what runs.
const stateFile = "slots.json"

// maxStateBytes is far above what the file can have.
const maxStateBytes = 64 << 10

// Binary is what a slot holds.
type Binary struct {
	SHA256 string    `json:"sha256"`
	Bytes  int64     `json:"bytes"`
	Staged time.Time `json:"staged"`
}

// Trial is a new binary that has to show that it works.
type Trial struct {
	Slot Name `json:"slot"`
	// Starts is how often it was started.
	Starts int `json:"starts"`
	// Tolerated are the doctor's checks that failed before it came.
	Tolerated []string `json:"tolerated,omitempty"`
	// Within is how long it has to show that it works; 0 is the launcher's
	// own.
	Within time.Duration `json:"within,omitempty"`
	// Attempt tells one try of the same binary from the next.
	Attempt string `json:"attempt,omitempty"`
}

// Failure is why a new binary was dropped, or a slot left.
type Failure struct {
	SHA256 string    `json:"sha256,omitempty"`
	Reason string    `json:"reason"`
	Time   time.Time `json:"time"`
	// Attempt is the one of the trial in which it was dropped.
	Attempt string `json:"attempt,omitempty"`
}

// State is what is known about the slots.
type State struct {
	Current  Name            `json:"current"`
	Previous Name            `json:"previous,omitempty"`
	Slots    map[Name]Binary `json:"slots,omitempty"`
	Trial    *Trial          `json:"trial,omitempty"`
	Failure  *Failure        `json:"failure,omitempty"`
	// BaseSHA256 is the base that the slots were made beside: another one is a
	// new installation, and wins.
	BaseSHA256 string `json:"base_sha256,omitempty"`
}

// Dir is the folder of the slots. One process starts what is in it, another
// stages; they do so in turn.
type Dir struct {
	path, base string
	now        func() time.Time
	staging    sync.Mutex
	replace    func(path string, content []byte) error
}

// Open makes the folder where it is missing. base is the binary that came with
// the machine.
func Open(path, base string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("slots: %w", err)
	}
	return &Dir{path: path, base: base, now: time.Now, replace: durable.Replace}, nil
}

// errDamaged is a state file that cannot be read.
var errDamaged = errors.New("the file that says which binary runs is damaged")

// Load reads the state. A file that is missing, or damaged, is the base: that
// one always works, and failure says so.
func (d *Dir) Load() (State, error) {
	fresh := State{Current: Base, Slots: map[Name]Binary{}}
	f, err := os.Open(filepath.Join(d.path, stateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return fresh, nil
	}
	if err != nil {
		return fresh, fmt.Errorf("slots: %w", err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxStateBytes))
	if err != nil {
		return fresh, fmt.Errorf("slots: %w", err)
	}
	var s State
	if json.Unmarshal(raw, &s) != nil || !s.valid() {
		fresh.Failure = &Failure{Reason: errDamaged.Error(), Time: d.now()}
		return fresh, nil
	}
	if s.Slots == nil {
		s.Slots = map[Name]Binary{}
	}
	return s, nil
}

func (s *State) valid() bool {
	known := func(n Name) bool { _, ok := s.Slots[n]; return n == Base || ok }
	return known(s.Current) && (s.Previous == "" || known(s.Previous)) && (s.Trial == nil || s.Trial.Slot != Base && known(s.Trial.Slot))
}

func (d *Dir) save(s *State) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := d.replace(filepath.Join(d.path, stateFile), append(raw, '\n')); err != nil {
		return fmt.Errorf("slots: %w", err)
	}
	return nil
}

// Path is where a slot's binary is.
func (d *Dir) Path(n Name) string {
	if n == Base {
		return d.base
	}
	return filepath.Join(d.path, "headgate-"+string(n))
}

// Choice is what to start.
type Choice struct {
	Slot Name
	Path string
	// Trial is not nil where it has to show that it works.
	Trial *Trial
}

// Next decides what to start, and writes the start of a trial down before it
// happens: a power cut in its middle counts as one.
func (d *Dir) Next() (Choice, error) {
	s, err := d.Load()
	if err != nil {
		return Choice{Slot: Base, Path: d.base}, err
	}
	if err := d.newBase(&s); err != nil {
		return Choice{Slot: Base, Path: d.base}, err
	}
	if t := s.Trial; t != nil {
		switch err := d.intact(&s, t.Slot); {
		case err != nil:
			d.drop(&s, err.Error())
		case t.Starts >= MaxStarts:
			d.drop(&s, fmt.Sprintf("it was started %d times and never worked for long enough", t.Starts))
		default:
			t.Starts++
			if err := d.save(&s); err != nil {
				// A start that is not counted could be one too many.
				c, _ := d.settled(&s) // it reads what was confirmed; that it is not written is in err
				return c, err
			}
			return Choice{Slot: t.Slot, Path: d.Path(t.Slot), Trial: t}, nil
		}
		if err := d.save(&s); err != nil {
			c, _ := d.settled(&s)
			return c, err
		}
	}
	return d.settled(&s)
}

// settled is the newest of the confirmed binaries that is still what it was.
func (d *Dir) settled(s *State) (Choice, error) {
	for _, n := range []Name{s.Current, s.Previous} {
		if n == "" {
			continue
		}
		err := d.intact(s, n)
		if err == nil {
			if n == s.Current {
				return Choice{Slot: n, Path: d.Path(n)}, nil
			}
			s.Current, s.Previous = n, ""
			return Choice{Slot: n, Path: d.Path(n)}, d.save(s)
		}
		s.Failure = &Failure{SHA256: s.Slots[n].SHA256, Reason: err.Error(), Time: d.now()}
	}
	s.Current, s.Previous = Base, ""
	return Choice{Slot: Base, Path: d.base}, d.save(s)
}

// newBase forgets the slots where the machine was installed anew.
func (d *Dir) newBase(s *State) error {
	if s.BaseSHA256 == "" {
		return nil
	}
	sum, err := digest(d.base)
	if err != nil || sum == s.BaseSHA256 {
		return err
	}
	*s = State{Current: Base, Slots: map[Name]Binary{}}
	return d.save(s)
}

// intact says whether a slot holds the binary that was put there.
func (d *Dir) intact(s *State, n Name) error {
	if n == Base {
		return nil
	}
	sum, err := digest(d.Path(n))
	if err != nil {
		return fmt.Errorf("slot %s: %w", n, err)
	}
	if sum != s.Slots[n].SHA256 {
		return fmt.Errorf("slot %s: the binary on the disk is not the one that was put there", n)
	}
	return nil
}

// Confirm makes the binary under trial the one that runs from now on.
func (d *Dir) Confirm() error {
	s, err := d.Load()
	if err != nil || s.Trial == nil {
		return err
	}
	s.Previous, s.Current, s.Trial, s.Failure = s.Current, s.Trial.Slot, nil, nil
	return d.save(&s)
}

// Reject drops the binary under trial.
func (d *Dir) Reject(reason string) error {
	s, err := d.Load()
	if err != nil || s.Trial == nil {
		return err
	}
	d.drop(&s, reason)
	return d.save(&s)
}

func (d *Dir) drop(s *State, reason string) {
	n := s.Trial.Slot
	s.Failure = &Failure{SHA256: s.Slots[n].SHA256, Reason: reason, Time: d.now(), Attempt: s.Trial.Attempt}
	s.Trial = nil
	if s.Previous == n {
		s.Previous = ""
	}
	delete(s.Slots, n)
}

// digest is a file's SHA-256, in hex.
func digest(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
