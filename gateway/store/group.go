package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sync/usage"
)

// group is what the committer writes in one transaction. It is filled under
// the store's mutex while it is the last of Store.groups; from then on only
// done changes, still under the mutex.
type group struct {
	number uint64
	last   uint64 // greatest sequence in it
	units  int
	bytes  int64

	names   []nameRow
	writes  []kvWrite
	journal journalBuffer
	// sessions are session rows to write or delete, by client.
	sessions map[string]sessionOp
	// queue holds, per row, the one change that is left of all.
	queue      map[RowID]*queueOp
	queueOrder []RowID
	dead       []*DeadLetter
	// deadDrift is by how much the letters are longer than they were counted,
	// dropped are those that this commit pushed out.
	deadDrift int64
	dropped   []LetterKey
	usage     map[usageKey]*usage.Totals
	// bodies are messages to insert, outgoing the change that is left of each
	// row, deadBodies messages to delete, retained what topics retain.
	bodies     map[uint64]*broker.Message
	outgoing   map[outKey]outgoingOp
	deadBodies []uint64
	retained   map[string]retainedOp
	timers     []TimerAdvance
	// freed are digests of objects that keys stand for no more.
	freed []string
	// urgent is true when somebody waits for the commit; lazy counts changes
	// that nobody waits for.
	urgent bool
	lazy   int
	loose  []*looseOp // changes that are made again after a rollback
	ops    []*op
	// done are called in order once the group has committed or failed.
	done []func(error)
}

type nameRow struct {
	id   uint32
	name string
}

type kvWrite struct {
	kvKey
	value   []byte
	found   bool
	expires int64
}

type usageKey struct {
	function uint32
	version  int
	minute   int64
	part     int64
}

// op is a rare change that runs in the group's transaction, below a savepoint
// of its own: its error takes back its own work only.
type op struct {
	run func(ctx context.Context, c *sql.Conn) error
	err error
}

// pendingLocked returns the group that is being filled.
func (s *Store) pendingLocked() *group {
	if g := s.pending; g != nil {
		return g
	}
	s.groupNumber++
	g := &group{number: s.groupNumber, last: s.seq}
	if n := len(s.spare); n > 0 {
		g.recycle(s.spare[n-1])
		s.spare = s.spare[:n-1]
	}
	s.pending = g
	s.groups = append(s.groups, g)
	return g
}

// recycle takes the memory of a finished group.
func (g *group) recycle(old *group) {
	const most = 8192
	if cap(old.writes) <= most {
		clear(old.writes)
		g.writes = old.writes[:0]
	}
	if cap(old.done) <= most {
		clear(old.done)
		g.done = old.done[:0]
	}
	g.journal.records = old.journal.records[:0]
	if cap(old.loose) <= most {
		clear(old.loose)
		g.loose = old.loose[:0]
	}
	if len(old.bodies) < 256 {
		clear(old.bodies)
		g.bodies = old.bodies
	}
	if len(old.outgoing) < 256 {
		clear(old.outgoing)
		g.outgoing = old.outgoing
	}
	if len(old.usage) < 256 {
		clear(old.usage)
		g.usage = old.usage
	}
}

// waitRoomLocked waits until there is room in the pending group and the disk
// takes commits. With patience it waits no longer than that on a disk that does
// not, and returns ErrUnavailable.
func (s *Store) waitRoomLocked(patience time.Duration) error {
	full := func() bool {
		g := s.pending
		return g != nil && (g.units >= s.cfg.MaxPendingUnits || g.bytes >= s.cfg.MaxPendingBytes)
	}
	for !s.closed && (s.recovering || !s.failing.IsZero() || full()) {
		s.stats.SealWaits++
		var wake *time.Timer
		if patience > 0 && !s.failing.IsZero() {
			left := patience - time.Since(s.failing)
			if left <= 0 {
				s.stats.SealsRefused++
				return fmt.Errorf("%w: %w", ErrUnavailable, s.cause)
			}
			wake = time.AfterFunc(left, func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.room.Broadcast()
			})
		}
		s.room.Wait()
		if wake != nil {
			wake.Stop()
		}
	}
	return nil
}

// wakeLocked tells the committer that somebody waits for the pending group.
func (s *Store) wakeLocked() {
	s.pending.urgent = true
	s.work.Signal()
}

// empty reports whether the group changes nothing: everything in it was taken
// back before its commit.
func (g *group) empty() bool {
	return len(g.names)+len(g.writes)+len(g.journal.records)+len(g.sessions)+len(g.queueOrder)+len(g.dead)+len(g.usage)+
		len(g.ops)+len(g.bodies)+len(g.outgoing)+len(g.deadBodies)+len(g.retained)+len(g.timers) == 0 && g.journal.compacted == 0
}

// AfterCommit calls fn(nil) once the ticket's sequence has committed and the
// Done functions of all units up to it have returned, or fn(ErrRolledBack)
// when it was taken back. When that is so already it is called at once, by the
// caller itself; otherwise in order with the Done functions.
func (s *Store) AfterCommit(t Ticket, fn func(error)) {
	var err error
	s.mu.Lock()
	switch {
	case t.Seq == 0:
	case t.Gen != s.gen:
		err = ErrRolledBack
	case t.Seq > s.released:
		for _, g := range s.groups {
			if t.Seq <= g.last {
				g.done = append(g.done, fn)
				s.mu.Unlock()
				return
			}
		}
		err = ErrRolledBack
	}
	s.mu.Unlock()
	fn(err)
}

// Sealed returns the last sequence that was given out, and the generation.
func (s *Store) Sealed() (seq, gen uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seq, s.gen
}

// because adds to a rollback what it came from, for a person to read.
func (s *Store) because(err error) error {
	if !errors.Is(err, ErrRolledBack) {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cause == nil {
		return err
	}
	return fmt.Errorf("%w: %w", err, s.cause)
}

// execPatience is how long a change by an administrator waits for a disk that
// takes no writes.
const execPatience = 5 * time.Second

// exec runs fn in the next group's transaction and waits for its commit.
func (s *Store) exec(ctx context.Context, fn func(ctx context.Context, c *sql.Conn) error) error {
	o := &op{run: fn}
	done := make(chan error, 1)
	s.mu.Lock()
	err := s.waitRoomLocked(execPatience)
	if s.closed {
		err = ErrClosed
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	g := s.pendingLocked()
	s.seq++
	g.last = s.seq
	g.units++
	g.ops = append(g.ops, o)
	g.done = append(g.done, func(err error) {
		if err == nil {
			err = o.err
		}
		done <- s.because(err)
	})
	s.wakeLocked()
	s.mu.Unlock()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
