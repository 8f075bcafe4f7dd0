package gateway

// version is set by the linker (see the Makefile).
var version = "unknown"

// Version names the build of this program.
func Version() string { return version }
