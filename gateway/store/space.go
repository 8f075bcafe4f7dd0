package store

import (
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Class is a kind of writing that stops when space runs out.
type Class int

// The classes, in the order in which falling space stops them. What is not
// here never stops: reads, deletes, and settles that take a row away.
const (
	Recordings Class = iota
	Logs
	Telemetry
	Blobs  // new objects, new versions, cached code, backups
	Events // new queue rows and messages, growing state: publishers are refused
	classes
)

var classNames = [classes]string{"recordings", "logs", "telemetry", "new objects, new versions and backups", "new events"}

// String names the class.
func (c Class) String() string { return classNames[c] }

// Space is what is left on the disk.
type Space struct {
	Free, Total int64
	// Marks are, by class, the free space below which it stops.
	Marks [classes]int64
	// Stopped are the classes that have stopped.
	Stopped []Class
}

// multiples of Config.MinFreeBytes are the marks.
var multiples = [classes]int64{Recordings: 8, Logs: 6, Telemetry: 4, Blobs: 2, Events: 1}

func (s *Store) marks() (m [classes]int64) {
	for c := range m {
		m[c] = multiples[c] * max(s.cfg.MinFreeBytes, 0)
	}
	return m
}

// spaceState is what checkDisk found.
type spaceState struct {
	free, total int64
	stopped     [classes]bool
	ballast     bool
	// changed hears of changes; told is what it knows of stopped.
	changed func(Space)
	told    [classes]bool
}

// Stopped reports whether falling space has stopped a class.
func (s *Store) Stopped(c Class) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.space.stopped[c]
}

// Space returns what is left.
func (s *Store) Space() Space {
	s.mu.Lock()
	defer s.mu.Unlock()
	sp := Space{Free: s.space.free, Total: s.space.total, Marks: s.marks()}
	for c, stopped := range s.space.stopped {
		if stopped {
			sp.Stopped = append(sp.Stopped, Class(c))
		}
	}
	return sp
}

func (s *Store) spaceError(c Class) *QuotaError {
	return &QuotaError{What: "disk", Namespace: refused[c], Slot: -1, Limit: s.marks()[c], Unit: "bytes"}
}

var refused = map[Class]string{Blobs: "new objects, new versions and backups", Events: "new events and growing state"}

// OnSpace makes fn hear of what is left on the disk whenever a class has
// stopped or goes on. It must not block.
func (s *Store) OnSpace(fn func(Space)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.space.changed, s.space.told = fn, s.space.stopped
}

// tellSpace tells who asked to hear, when there is news.
func (s *Store) tellSpace() {
	s.mu.Lock()
	fn := s.space.changed
	news := fn != nil && s.space.told != s.space.stopped
	s.space.told = s.space.stopped
	s.mu.Unlock()
	if news {
		fn(s.Space())
	}
}

// checkDisk looks at the free space and stops or allows the classes. A class
// is allowed again once there is an eighth more than its mark.
func (s *Store) checkDisk() {
	if s.cfg.MinFreeBytes < 0 {
		return
	}
	free, total, err := s.cfg.freeSpace(filepath.Dir(s.cfg.Path))
	if err != nil {
		s.log.Warn("cannot tell the free space", "error", err)
		return
	}
	marks := s.marks()
	var changed []Class
	s.mu.Lock()
	sp := &s.space
	if sp.ballast {
		free += s.cfg.BallastBytes // it makes room when it must
	}
	sp.free, sp.total = free, total
	for c := range sp.stopped {
		low := free < marks[c] || sp.stopped[c] && free < marks[c]+marks[c]/8
		if low != sp.stopped[c] {
			sp.stopped[c] = low
			changed = append(changed, Class(c))
		}
	}
	s.queue.lowDisk = sp.stopped[Events]
	s.mu.Unlock()
	s.tellSpace()
	for _, c := range changed {
		if s.Stopped(c) {
			s.log.Warn("the disk is getting full: make room", "stopped", c.String(), "free_bytes", free, "mark_bytes", marks[c])
		} else {
			s.log.Info("there is room on the disk again", "allowed", c.String(), "free_bytes", free)
		}
	}
	s.keepBallast(free)
}

// keepBallast keeps a file that only takes space. When the disk is full it
// goes: deleting a row takes room for the log first.
func (s *Store) keepBallast(free int64) {
	path := s.ballastPath()
	switch fi, err := os.Stat(path); {
	case s.cfg.BallastBytes <= 0:
		return
	case err == nil && fi.Size() == s.cfg.BallastBytes:
		s.setBallast(true)
		if s.noRoom(free) {
			s.dropBallast()
		}
		return
	case free < s.marks()[Blobs]+s.cfg.BallastBytes:
		return
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR|os.O_TRUNC, 0o600)
	if err != nil {
		return // no ballast is no fault
	}
	err = unix.Fallocate(int(f.Fd()), 0, 0, s.cfg.BallastBytes)
	if err = errors.Join(err, f.Close()); err != nil {
		_ = os.Remove(path)
		return
	}
	s.setBallast(true)
}

// noRoom reports whether only the ballast is left of the disk.
func (s *Store) noRoom(free int64) bool { return free-s.cfg.BallastBytes < s.cfg.BallastBytes/4 }

func (s *Store) setBallast(there bool) {
	s.mu.Lock()
	s.space.ballast = there
	s.mu.Unlock()
}

func (s *Store) dropBallast() {
	if os.Remove(s.ballastPath()) == nil {
		s.log.Warn("the disk is full: the ballast makes room for what shrinks", "bytes", s.cfg.BallastBytes)
	}
	s.setBallast(false)
}

func (s *Store) ballastPath() string { return filepath.Join(filepath.Dir(s.cfg.Path), "ballast") }

// full reports whether an error is that of a disk without room.
func full(err error) bool {
	var fault *sqlite.Error
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.As(err, &fault) && fault.Code()&0xff == sqlite3.SQLITE_FULL
}

// NoRoom reports whether an error says that the disk has no room, or too little
// for what is to be kept on it: it passes when there is.
func NoRoom(err error) bool {
	var quota *QuotaError
	return full(err) || errors.As(err, &quota) && quota.What == "disk"
}

// noteFull takes an error of the disk; where it says that there is no room,
// growing stops at once, not at the next check.
func (s *Store) noteFull(err error) {
	if !full(err) {
		return
	}
	s.mu.Lock()
	s.space.stopped[Blobs], s.space.stopped[Events], s.queue.lowDisk = true, true, true
	s.mu.Unlock()
	s.tellSpace()
	s.dropBallast()
}

// freeSpace asks the file system for what this user may still write.
func freeSpace(dir string) (free, total int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	size := int64(fs.Bsize) //nolint:unconvert // Bsize is an int32 on 32-bit machines
	return int64(fs.Bavail) * size, int64(fs.Blocks) * size, nil
}
