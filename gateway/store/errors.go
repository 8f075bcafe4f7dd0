package store

import (
	"errors"
	"fmt"
)

// ErrClosed is returned after Close has begun.
var ErrClosed = errors.New("store is closed")

// ErrRolledBack is given to Done, and returned by Seal and View, when a commit
// failed and everything sealed since was taken back. The caller runs the
// event again.
var ErrRolledBack = errors.New("commit failed and was rolled back")

// ErrUnavailable is returned while the disk takes no commits.
var ErrUnavailable = errors.New("the database takes no writes: see the log, and free or mend the disk")

// ErrDuplicate is returned by Seal for a unit whose Dedupe key is already in
// the window.
var ErrDuplicate = errors.New("event id was seen before")

// ErrNotFound is returned where a named row does not exist.
var ErrNotFound = errors.New("not found")

// ErrExists is returned where a row of that name exists.
var ErrExists = errors.New("already exists")

// ConflictError is returned by Seal when something that an invocation read has
// been written since.
type ConflictError struct {
	// Slot is the index in Unit.Slots.
	Slot int
	// Namespace and Key are what changed; Key is empty when a listing did.
	Namespace, Key string
	// Within is true when another slot of the same unit wrote it: that slot
	// must settle first.
	Within bool
}

// Error names what changed.
func (e *ConflictError) Error() string {
	if e.Key == "" {
		return fmt.Sprintf("conflict: keys of namespace %s changed since they were listed", e.Namespace)
	}
	return fmt.Sprintf("conflict: key %s:%s changed since it was read", e.Namespace, e.Key)
}

// QuotaError is returned by Seal when a unit would exceed a bound.
type QuotaError struct {
	// What is full: "state", "queue", "share" (one function's part of the
	// queue), "functions", "bucket" or "disk".
	What string
	// Namespace is whose state, or whose share, is full; for a disk, what is
	// refused.
	Namespace string
	// Slot is the index in Unit.Slots whose write is too much; -1 for a queue
	// row.
	Slot int
	// Limit is the bound, in Unit.
	Limit int64
	Unit  string
}

// Error says what is full and what to do.
func (e *QuotaError) Error() string {
	switch e.What {
	case "state":
		return fmt.Sprintf("state of %s is full (%d %s): delete keys or raise limits.state", e.Namespace, e.Limit, e.Unit)
	case "bucket":
		return fmt.Sprintf("bucket %s is full (%d %s): delete objects or raise its bounds in the gateway's configuration", e.Namespace, e.Limit, e.Unit)
	case "timers":
		return fmt.Sprintf("there are %d %s already: remove some", e.Limit, e.Unit)
	case "share":
		return fmt.Sprintf("%s has %d %s waiting, three quarters of the queue: let it catch up or raise dispatch.max_queued", e.Namespace, e.Limit, e.Unit)
	case "functions":
		return fmt.Sprintf("the gateway keeps no more than %d %s of functions, removed ones included: remove functions, or keep fewer versions of them", e.Limit, e.Unit)
	case "disk":
		return fmt.Sprintf("less than %d %s are free on the disk: %s are refused until there is room", e.Limit, e.Unit, e.Namespace)
	default:
		return fmt.Sprintf("the queue is full (%d %s): let functions catch up or raise dispatch.max_queued", e.Limit, e.Unit)
	}
}
