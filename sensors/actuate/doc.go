// Package actuate will hold leases, interlocks, the safety ledger and the guard
// process that owns the pins.
package actuate
