// Package trigger turns what happens into events for functions. Its Table says
// which functions a message on a topic starts, with what parameters and under
// which ordering key, and Explain says why the others stay silent.
package trigger
