package store

import (
	"context"
	"fmt"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// commitLoop writes one group after the other. It is the only user of the
// writer.
func (s *Store) commitLoop() {
	defer close(s.settled)
	defer s.cfg.Work.End()
	for s.waitWork() {
		s.cfg.Work.Begin()
		if err := s.compact(); err != nil {
			s.recover(nil, err)
			continue
		}
		g := s.take()
		if g.empty() {
			s.finish(g)
			continue
		}
		if fault.On(fault.NoFsync) {
			s.finish(g)
			time.Sleep(200 * time.Millisecond)
			if err := s.write(g); err != nil {
				s.log.Error("commit failed after it was reported", "error", err)
			}
			continue
		}
		if err := s.write(g); err != nil {
			s.recover(g, err)
			continue
		}
		s.failures = 0
		s.finish(g)
	}
}

// waitWork waits for a group; false ends the loop.
func (s *Store) waitWork() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.pending == nil || !s.pending.urgent && !s.closed {
		if s.pending == nil && s.closed {
			return false
		}
		s.cfg.Work.End()
		s.work.Wait()
	}
	return true
}

// take closes the pending group for further units.
func (s *Store) take() *group {
	s.mu.Lock()
	defer s.mu.Unlock()
	g := s.pending
	s.pending = nil
	g.journal.replaces = s.journal.emptyTail
	s.room.Broadcast()
	return g
}

// finish marks the group as committed and passes it on.
func (s *Store) finish(g *group) {
	s.mu.Lock()
	s.committed = g.last
	s.stats.Units += uint64(g.units)
	if !g.empty() {
		s.stats.Commits++
		s.stats.MessagesStored += uint64(len(g.bodies))
		s.stats.CommittedBytes += uint64(max(g.bytes, 0))
		s.journal.wrote(g)
	}
	s.droppedLocked(g)
	s.trimLocked()
	s.mu.Unlock()
	s.settled <- g
}

// releaseLoop calls the Done functions in order, apart from the committer, so
// that the next group is written meanwhile.
func (s *Store) releaseLoop() {
	var batch []func(error)
	for g := range s.settled {
		s.tellDropped(g)
		s.tellFreed(g)
		for {
			s.mu.Lock()
			batch, g.done = g.done, batch[:0]
			if len(batch) == 0 {
				s.released = g.last
				s.dropGroupLocked(g)
				s.mu.Unlock()
				break
			}
			s.mu.Unlock()
			for _, fn := range batch {
				fn(nil)
			}
			fault.Reached(fault.Reported)
			clear(batch)
		}
	}
}

// tellDropped passes on which letters the group's commit pushed out.
func (s *Store) tellDropped(g *group) {
	if len(g.dropped) == 0 {
		return
	}
	s.mu.Lock()
	notify := s.lettersDropped
	s.mu.Unlock()
	if notify != nil {
		notify(g.dropped)
	}
}

func (s *Store) dropGroupLocked(g *group) {
	for i := range s.groups {
		if s.groups[i] == g {
			s.groups = append(s.groups[:i], s.groups[i+1:]...)
			break
		}
	}
	if len(s.spare) < 2 {
		s.spare = append(s.spare, g)
	}
}

// write puts the group on disk.
func (s *Store) write(g *group) (err error) {
	ctx := context.Background()
	if err := s.inject(StepBegin); err != nil {
		return err
	}
	w := s.writer
	if err := w.begin(); err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	fault.Reached(fault.Begun)
	if err := s.inject(StepWrite); err != nil {
		return err
	}
	for _, part := range [...]func(*group) error{w.names, w.sessions, w.messages, w.retained, w.journal, w.kv, w.dead, w.queue, w.timers, w.usage} {
		if err := part(g); err != nil {
			return err
		}
	}
	for _, o := range g.ops {
		if err := w.op(ctx, o); err != nil {
			return err
		}
	}
	fault.Reached(fault.Written)
	if err := s.inject(StepCommit); err != nil {
		return err
	}
	if err := w.commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	fault.Reached(fault.Committed)
	return s.inject(StepAfterCommit)
}

func (s *Store) inject(step Step) error {
	if s.cfg.Inject == nil {
		return nil
	}
	return s.cfg.Inject(step)
}

// recover follows an error of the disk: it reopens the file, reads back how
// far the commits got, and when g is not among them takes back everything that
// was sealed since. g is nil when no group was being written.
func (s *Store) recover(g *group, cause error) {
	s.log.Error("commit failed, reopening the database", "error", cause)
	s.noteFull(cause)
	s.noteDamage(cause)
	s.mu.Lock()
	s.recovering = true
	s.stats.CommitErrors++
	s.cause = cause
	last := s.committed
	s.failing = time.Now()
	s.room.Broadcast() // who waits with patience looks at the clock from now on
	s.mu.Unlock()
	defer s.mended()

	var disk *diskState
	for {
		s.failures++
		s.pause(s.failures)
		var err error
		if disk, err = s.reopen(); err == nil {
			break
		}
		s.log.Error("reopen database", "error", err)
		s.noteFull(err)
		s.noteDamage(err)
		s.mu.Lock()
		s.stats.CommitErrors++
		closed := s.closed
		s.mu.Unlock()
		if closed {
			break
		}
	}
	if disk != nil && g != nil && disk.committed >= g.last {
		s.finish(g)
		s.mu.Lock()
		s.recoveredLocked()
		s.mu.Unlock()
		return
	}
	s.rollBack(last, disk)
	s.probe()
}

// probe returns once the disk has taken a small commit, so that what is sealed
// from then on has a fair chance. What can only be read can be read meanwhile.
func (s *Store) probe() {
	for {
		err := s.tryWrite()
		if err == nil {
			return
		}
		s.mu.Lock()
		s.stats.CommitErrors++
		s.cause = err
		closed := s.closed
		s.mu.Unlock()
		if closed {
			return
		}
		s.failures++
		s.log.Error("the disk takes no writes, trying again", "error", err)
		s.pause(s.failures)
		if err := s.replaceWriter(); err != nil {
			s.log.Error("reopen database", "error", err)
		}
	}
}

// tryWrite makes a commit that changes nothing of value.
func (s *Store) tryWrite() error {
	if err := s.inject(StepBegin); err != nil {
		return err
	}
	if err := s.writer.begin(); err != nil {
		return err
	}
	_, err := s.writer.conn.ExecContext(context.Background(), `INSERT OR REPLACE INTO meta (key, value) VALUES ('probe', ?)`, s.failures)
	if err == nil {
		err = s.inject(StepCommit)
	}
	if err == nil {
		err = s.writer.commit()
	}
	return err
}

// mended lets sealers go on.
func (s *Store) mended() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = time.Time{}
	s.room.Broadcast()
}

// pause waits before the n-th try, longer each time.
func (s *Store) pause(n int) {
	s.cfg.Work.Begin()
	if n < 2 {
		return
	}
	t := time.NewTimer(min(50*time.Millisecond<<min(n, 8), 5*time.Second))
	defer t.Stop()
	select {
	case <-t.C:
	case <-s.closing:
	}
}

// rollBack drops every group that has not committed, takes what is known from
// disk, and tells the units.
func (s *Store) rollBack(last uint64, disk *diskState) {
	s.mu.Lock()
	s.gen++
	s.stats.Rollbacks++
	var failed []*group
	kept := s.groups[:0]
	for _, g := range s.groups {
		if g.last > last {
			failed = append(failed, g)
		} else {
			kept = append(kept, g)
		}
	}
	s.groups = kept
	s.pending = nil
	s.mu.Unlock()

	// Units of earlier groups are told first.
	told := make(chan struct{})
	s.settled <- &group{last: last, done: []func(error){func(error) { close(told) }}}
	<-told
	if disk != nil {
		s.mu.Lock()
		s.adoptLocked(disk)
		s.mu.Unlock()
	}
	for _, g := range failed {
		for _, fn := range g.done {
			fn(ErrRolledBack)
		}
	}
	s.mu.Lock()
	s.released, s.committed = s.seq, s.seq
	s.redoLocked(failed)
	s.recoveredLocked()
	s.mu.Unlock()
	s.log.Warn("commit was rolled back", "units", countUnits(failed))
}

func countUnits(groups []*group) int {
	n := 0
	for _, g := range groups {
		n += g.units
	}
	return n
}
