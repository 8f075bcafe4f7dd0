package ota

import (
	"errors"
	"fmt"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Why metadata or a target is refused. Each is counted in Stats.
var (
	// ErrForged is not signed by enough of the keys that may sign it.
	ErrForged = errors.New("not signed by enough of the keys that may sign it")
	// ErrRollback is older than what was seen already.
	ErrRollback = errors.New("older than what was seen already")
	// ErrExpired is past its end: nothing newer was to be had.
	ErrExpired = errors.New("expired")
	// ErrMixed does not belong to the set that the signed metadata names.
	ErrMixed = errors.New("not the one that the signed metadata names")
	// ErrMalformed cannot be read.
	ErrMalformed = errors.New("malformed")
	// ErrTooLarge has more bytes than it may have.
	ErrTooLarge = errors.New("has more bytes than it may have")
)

// Why a refresh or a fetch ends otherwise.
var (
	// ErrNotFound is a path that the repository does not have.
	ErrNotFound = errors.New("not in the repository")
	// ErrUnreachable is a repository that does not answer.
	ErrUnreachable = errors.New("the repository cannot be reached")
	// ErrNoRoot is a gateway that does not know whom to believe.
	ErrNoRoot = errors.New("no root is pinned: give the gateway the repository's root.json (updates.root)")
	// ErrPinned refuses another root than the pinned one.
	ErrPinned = errors.New("another root is pinned already")
	// ErrClock is a clock that cannot tell fresh from expired.
	ErrClock = errors.New("the gateway does not know what time it is, and new code waits until it does ('headgate clock')")
	// ErrRange is a server whose answer is not the part that was asked for.
	ErrRange = errors.New("the server sent another part than the one that was asked for")
	// ErrNoRoom is a disk that would be too full afterwards.
	ErrNoRoom = errors.New("not enough room on the disk")
)

// refused says in our words why the library refuses a piece of metadata.
func refused(what string, err error) error {
	for _, r := range [...]struct {
		theirs, ours error
	}{
		{&metadata.ErrExpiredMetadata{}, ErrExpired},
		{&metadata.ErrUnsignedMetadata{}, ErrForged},
		{&metadata.ErrBadVersionNumber{}, ErrRollback},
		{&metadata.ErrLengthOrHashMismatch{}, ErrMixed},
	} {
		if errors.Is(err, r.theirs) {
			return fmt.Errorf("%s: %w (%w)", what, r.ours, err)
		}
	}
	return fmt.Errorf("%s: %w: %w", what, ErrMalformed, err)
}

// kinds are the refusals that are counted, by the name they are counted under.
func (s *Stats) count(err error) {
	for _, k := range [...]struct {
		err error
		n   *uint64
	}{
		{ErrForged, &s.Forged},
		{ErrRollback, &s.RolledBack},
		{ErrExpired, &s.Expired},
		{ErrMixed, &s.Mixed},
		{ErrMalformed, &s.Malformed},
		{ErrTooLarge, &s.TooLarge},
		{ErrRange, &s.Ranges},
		{ErrUnreachable, &s.Unreachable},
		{ErrClock, &s.Clock},
		{ErrNoRoom, &s.NoRoom},
	} {
		if errors.Is(err, k.err) {
			*k.n++
			return
		}
	}
}

// Stats counts what a Client has done. Its refusals are those of the errors of
// this package.
type Stats struct {
	Refreshes, Forged, RolledBack, Expired, Mixed, Malformed, TooLarge, Ranges, Unreachable, Clock, NoRoom uint64
	// Fetched are whole targets, FetchedBytes what came over the network for
	// targets, Resumed how often a part of one was there already.
	Fetched, FetchedBytes, Resumed uint64
}
