// Package actuate moves the field's actuators, and stops them whatever fails.
//
// Nothing is ever simply on: it is on for a lease, which ends by itself. A
// Controller decides who may have one (the longest time, interlocks, groups of
// which at most one may be on, hours a day), writes each into the safety ledger
// before anything moves, and tells what happened. Two sides end a lease, neither
// trusting the other: the Controller, and the guard process that owns the pins,
// or the timer of a device at the other end of MQTT.
//
// Times are those since the start of the machine, which no correction of the
// wall clock moves.
package actuate
