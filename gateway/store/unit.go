package store

import (
	"crypto/sha256"
	"encoding/binary"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sync/usage"
)

// Unit is what is committed together: all of it, or nothing. It must not be
// changed between Seal and Done. What it points to is kept.
type Unit struct {
	// Inbound is the duplicate record of the event's packet.
	Inbound *broker.InboundRecord
	// Dedupe is the event's CloudEvents identity; zero for none.
	Dedupe DedupeKey
	// Slots are the invocations whose effects this is.
	Slots []Slot
	// Insert, Update and Delete change the queue. Update writes Due, Attempt
	// and Error of a row that is there.
	Insert, Update, Delete []*QueueRow
	// Dead are new dead letters.
	Dead []*DeadLetter
	// Deliveries are MQTT messages for durable sessions, and what is retained.
	Deliveries []*broker.Plan
	// Timers are advanced with it.
	Timers []TimerAdvance
	// Usage is metered with it.
	Usage []usage.Record
	// Gen, where not zero, is the generation that the unit builds on: when a
	// rollback has ended it, Seal returns ErrRolledBack.
	Gen uint64
	// Patience, where not zero, bounds how long Seal waits for a disk that takes
	// no commits, counted from its first failure: then ErrUnavailable.
	Patience time.Duration
	// Done is called once, in the order of sequences, when the unit is on
	// disk (nil) or was taken back (ErrRolledBack). It must not block, and may
	// call Seal only from another goroutine.
	Done func(error)
}

// Slot is one invocation's share of a unit.
type Slot struct {
	// View is what it read; nil is nothing.
	View *View
	// Writes are its state writes, in order.
	Writes []function.Write
}

// Ticket says where a unit stands.
type Ticket struct {
	// Seq is the sequence that must have committed before anything of the
	// unit may leave; 0 is none.
	Seq uint64
	// Gen is the generation, see Unit.Gen.
	Gen uint64
	// Written is true when the unit changes something stored, so that Done
	// will be called. Otherwise Done is not called: use AfterCommit.
	Written bool
}

// DedupeKey is the hash of who sent an event and what they called it.
type DedupeKey [16]byte

// NewDedupeKey hashes the authenticated identity with the CloudEvents source
// and id.
func NewDedupeKey(identity, source, id string) DedupeKey {
	buf := make([]byte, 0, 128)
	for _, s := range [...]string{identity, source, id} {
		buf = binary.AppendUvarint(buf, uint64(len(s)))
		buf = append(buf, s...)
	}
	sum := sha256.Sum256(buf)
	return DedupeKey(sum[:16])
}

// Seen reports whether the key is in the window, and the sequence whose commit
// must precede an answer that relies on it.
func (s *Store) Seen(k DedupeKey) (seq uint64, seen bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dedupe.get(k)
}

// changes reports whether the unit writes anything.
func (u *Unit) changes() bool {
	if u.Inbound != nil || u.Dedupe != (DedupeKey{}) || len(u.Insert)+len(u.Update)+len(u.Delete)+len(u.Dead)+len(u.Deliveries)+len(u.Timers)+len(u.Usage) > 0 {
		return true
	}
	for i := range u.Slots {
		if len(u.Slots[i].Writes) > 0 {
			return true
		}
	}
	return false
}
