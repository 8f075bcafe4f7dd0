// Package fault names the faults that can be seeded into a binary built with
// the tag seededfaults, so that the crash and clean-state harnesses can prove
// that they catch them. In every other build On is the constant false and the
// compiler removes the branch.
package fault

// Fault is one way to break a promise on purpose.
type Fault string

// The faults, each the absence of one thing that a promise stands on.
const (
	// AckBeforeCommit acknowledges a publisher before its event is on disk.
	AckBeforeCommit Fault = "ack-before-commit"
	// NoFsync lets commits return before they are on disk.
	NoFsync Fault = "no-fsync"
	// BlobNotSynced commits the row of an object whose bytes are not on disk.
	BlobNotSynced Fault = "blob-not-synced"
	// NoDuplicateCheck processes a redelivered event again.
	NoDuplicateCheck Fault = "no-duplicate-check"
	// SkipRestore reuses an instance without restoring its clean state.
	SkipRestore Fault = "skip-restore"
	// ForgetMessages keeps what durable subscribers have to get in memory
	// alone.
	ForgetMessages Fault = "forget-messages"
	// LeaseIgnored leaves an actuator on past the end of its lease.
	LeaseIgnored Fault = "lease-ignored"
)
