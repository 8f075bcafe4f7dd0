// Package host is the gateway's side of the host calls that a guest may make:
// it checks each against the function's permissions and limits, answers reads
// at once, and collects everything else as effects for the settle.
package host
