// Package dispatch moves events through functions: it admits them, keeps the
// order of their keys, runs them, settles what they ask for, retries what
// failed, and gives up what keeps failing.
//
// An event that comes with a promise (a durable one) has one arrival: the
// duplicate record and, for every durable function it starts, the effects or a
// queue row are sealed as one unit, at the latest spill_after from its coming.
// Its publisher is released when that unit has committed. What was spilled, or
// failed, settles later in a unit of its own that also removes or changes its
// row. A volatile event touches no disk unless its function asks for something
// durable.
//
// The way through the code: Submit (submit.go) puts tasks into the lanes of
// their functions (lanes.go), workers run them (worker.go), decide and settle
// them (settle.go) alone or as part of their arrival (arrival.go), and clock.go
// holds everything that happens later.
//
// Lock order: arrival, function, clock, then the store's mutex. None is held
// across guest code, disk or socket.
package dispatch
