// Package micropython runs functions written in Python on one shared
// WebAssembly build of MicroPython, unmodified as its npm package brings it.
//
// A function is its source files. They are imported once, in a fresh copy of
// the engine, and the memory is kept as the clean state that every event
// starts from. What the files import and open they find in a read-only file
// system of the program's own files; the modules in lib are there besides.
//
// The build is made for JavaScript hosts. Of what it imports three groups
// count here: invoke_…, by which C calls through a pointer what may longjmp
// (every Python exception is one); the calls on JavaScript objects, by which
// scripts reach the host; and the system calls of the file system. The rest
// is never reached, because the only JavaScript object there is has nothing
// but host calls.
package micropython
