// Package gateway is the composition root: it makes one gateway of the
// packages that know nothing of each other, and holds the way of one event
// from the broker to the functions and back.
package gateway
