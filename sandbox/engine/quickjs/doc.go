// Package quickjs runs functions written in JavaScript on one shared
// WebAssembly build of QuickJS-NG.
//
// A function is its source. It is evaluated once, in a fresh copy of the
// engine, and the memory is kept as the clean state that every event starts
// from; so the engine's code is compiled and held once for all scripts, and a
// script costs what its heap costs.
//
// The engine build exports QuickJS's C API and imports only WASI. To call the
// host a script needs a native function, and those are entries of the
// module's own table, which the build does not export. The way in is
// os.read(fd, buffer, …): it ends in WASI's fd_read, with the descriptor, and
// the buffer's address, untouched. The descriptor is the number of the call.
package quickjs
