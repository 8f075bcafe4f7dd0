// Package instrument rewrites a WebAssembly module so that the host can
// bound and reset it: it meters fuel, yields to the host at regular
// intervals, weighs the call stack, exports every mutable global and takes
// the start section out.
//
// The original is validated before anything is added. An index past the
// module's own globals would otherwise reach the host's: the fuel, the floor
// and the stack weight live in globals behind the guest's own.
//
// What the rewritten module adds, for a stretch of straight code that costs n:
//
//	if fuel < floor { yield() }   // at function entry and loop heads only
//	fuel -= n
//
// yield is a host function. It ends the call by panicking (out of fuel, past
// the deadline) or lowers the floor and returns. Any code that runs for long
// passes a function entry or a loop head, or is one bulk operation, which is
// charged and checked by its length beforehand; long fills and copies of
// memory the host does, in pieces, with a look at the clock between them.
// Functions that call nothing
// are charged but not checked at entry: they are part of what their caller
// does between two checks.
//
// Why a yield and not a trap that a timer provokes: machine code of a guest
// cannot be preempted by Go's scheduler. As many busy guests as there are
// processors would keep the timer itself from running, and a single one would
// hold up every garbage collection, and with it the whole gateway, until its
// deadline.
package instrument
