// Package wire will hold the versioned messages between a gateway and its
// controller: one type a message, a sequence number in each, and the rule that
// an unknown field is kept and an unknown version refused.
package wire
