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
	// ForgetSent makes a bridge forget what it sent before the other broker
	// has it.
	ForgetSent Fault = "forget-sent"
	// LeaseIgnored leaves an actuator on past the end of its lease.
	LeaseIgnored Fault = "lease-ignored"
	// MaxOnIgnored lets a lease be renewed past the longest that an actuator may
	// be on.
	MaxOnIgnored Fault = "max-on-ignored"
	// ExclusiveIgnored lets two actuators of one group be on.
	ExclusiveIgnored Fault = "exclusive-ignored"
	// SilenceIgnored keeps actuators on while the gateway is silent.
	SilenceIgnored Fault = "silence-ignored"
	// OnBeforeLedger switches an actuator on that the safety ledger cannot
	// speak of.
	OnBeforeLedger Fault = "on-before-ledger"
	// LeaseSurvives takes a lease up again after a restart.
	LeaseSurvives Fault = "lease-survives"
	// RequiresIgnored lets an actuator stay on without those that it requires.
	RequiresIgnored Fault = "requires-ignored"
	// ReadingGuessed tells the last value of a sensor that fails as a good one.
	ReadingGuessed Fault = "reading-guessed"
	// AckBeforeStore makes the controller acknowledge usage that it has not
	// committed.
	AckBeforeStore Fault = "ack-before-store"
	// NoIdempotencyKey makes the controller count a batch as often as it comes.
	NoIdempotencyKey Fault = "no-idempotency-key"
	// GateIgnored begins the next wave of a deployment whatever became of the one
	// before.
	GateIgnored Fault = "gate-ignored"
	// StepUnlocked does the step of a deployment that was decided, whatever another
	// replica has done meanwhile.
	StepUnlocked Fault = "step-unlocked"
	// RevisionStands leaves a desired state its revision though it is another.
	RevisionStands Fault = "revision-stands"
	// SkipDigest takes a fetched target whatever its digest is.
	SkipDigest Fault = "skip-digest"
	// SkipRollback forgets which versions of the metadata were seen already.
	SkipRollback Fault = "skip-rollback"
	// SkipSignature takes targets metadata whoever signed it.
	SkipSignature Fault = "skip-signature"
	// PartNotSynced gives a fetched target its name before its bytes are on disk.
	PartNotSynced Fault = "part-not-synced"
	// StaleIgnored leaves a value good, however old it is.
	StaleIgnored Fault = "stale-ignored"
)
