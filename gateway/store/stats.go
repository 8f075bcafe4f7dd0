package store

import (
	"os"
)

// Stats are counters since Open, and a few present sizes.
type Stats struct {
	// Commits is how many transactions, Units how many units they held.
	Commits, Units uint64
	// CommittedBytes is about what the units themselves were: what the disk
	// was written beyond it is the database's.
	CommittedBytes uint64
	// CommitErrors counts errors of the disk, Rollbacks how often units were
	// taken back.
	CommitErrors, Rollbacks uint64
	// Conflicts counts refused read sets, QuotaRefusals units over a bound,
	// SealWaits how often Seal waited for room or for the disk, SealsRefused
	// units that did not outwait a disk that took no commits.
	Conflicts, QuotaRefusals, SealWaits, SealsRefused uint64
	// CacheMisses counts reads that went to the disk, CacheEvicted entries
	// that made room for others.
	CacheMisses, CacheEvicted uint64
	// MessagesStored counts MQTT messages that were written for durable
	// sessions, MessagesElided those that every one of them had acknowledged
	// before their commit.
	MessagesStored, MessagesElided uint64
	// OrphanDeliveries counts rows for durable sessions that were gone.
	OrphanDeliveries uint64
	// OrphanRecords counts duplicate records without a session,
	// DamagedRows rows that could not be read.
	OrphanRecords, DamagedRows uint64
	// DeadLettersDropped, UsageRowsDropped count what bounds pushed out.
	DeadLettersDropped, UsageRowsDropped uint64
	// UsageUnsentDropped are those of them that the controller never got,
	// UsageBatchesAbandoned batches for a controller that the gateway left,
	// UsageSealsRefused how often the outbox had no room for another batch.
	UsageUnsentDropped, UsageBatchesAbandoned, UsageSealsRefused uint64

	// Sealed is the last sequence given out, Committed the last on disk.
	Sealed, Committed uint64
	// PendingUnits and PendingBytes wait for the committer.
	PendingUnits int
	PendingBytes int64
	// StateBytes, QueueRows, QueueBytes, DeadLetters, DeadLetterBytes,
	// CacheBytes and JournalBytes are what is kept now.
	StateBytes, QueueRows, QueueBytes, DeadLetters, DeadLetterBytes, CacheBytes, JournalBytes int64
	// OutgoingRows is what durable sessions have to get, MessageBytes the
	// messages for that, RetainedRows and RetainedBytes the retained ones.
	OutgoingRows, MessageBytes, RetainedRows, RetainedBytes int64
	// ActiveViews is how many invocations have read something.
	ActiveViews int
	// UsageBatches and UsageBatchBytes wait for the controller, and
	// UsageGrainMinutes share a rollup: more than one while that is much.
	UsageBatches, UsageBatchBytes, UsageGrainMinutes int64
	// Sessions is how many durable MQTT sessions there are.
	Sessions int
	// DatabaseBytes and WALBytes are the sizes of the files.
	DatabaseBytes, WALBytes int64
	// LowDisk is true while new events are refused for lack of space.
	LowDisk bool
	// Failing is true while the disk takes no commits.
	Failing bool
}

// Stats returns the counters.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	st := s.stats
	st.CacheEvicted = s.overlay.evicted
	st.Sealed, st.Committed = s.seq, s.committed
	if s.pending != nil {
		st.PendingUnits, st.PendingBytes = s.pending.units, s.pending.bytes
	}
	st.StateBytes, st.QueueRows, st.QueueBytes = s.stateBytes, s.queue.rows, s.queue.bytes
	st.DeadLetters, st.DeadLetterBytes = s.dead.rows, s.dead.bytes
	st.CacheBytes, st.JournalBytes = s.overlay.bytes, s.journal.bytes
	st.Sessions, st.LowDisk = len(s.sessions), s.queue.lowDisk
	st.Failing = !s.failing.IsZero()
	st.OutgoingRows, st.MessageBytes = s.messages.rows, s.messages.bytes
	st.UsageBatches, st.UsageBatchBytes, st.UsageGrainMinutes = s.metering.batches, s.metering.bytes, max(s.metering.grain, 1)
	st.RetainedRows, st.RetainedBytes = int64(len(s.retained.byTopic)), s.retained.bytes
	s.mu.Unlock()
	st.DatabaseBytes, st.WALBytes = fileSize(s.cfg.Path), fileSize(s.cfg.Path+"-wal")
	return st
}

func fileSize(path string) int64 {
	fi, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return fi.Size()
}
