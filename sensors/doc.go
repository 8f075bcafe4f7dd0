// Package sensors is the vocabulary of pins and buses: quantities with their
// units, readings with their quality, and the board where everybody finds the
// latest of each. Drivers live in periphio, the taking of samples in sample,
// safety in actuate, and a simulated field in sim.
package sensors
