// Package sensors is the vocabulary of pins and buses: what a sensor and an
// actuator are, and the registry of drivers. Drivers themselves live in
// periphio, safety in actuate, and a simulated field in sim.
package sensors
