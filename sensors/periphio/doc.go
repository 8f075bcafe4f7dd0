// Package periphio reaches the pins and buses of the board, and holds the
// drivers of what hangs on them, one file a sensor. It is the only importer of
// periph's host packages.
//
// A Host is opened once. Lines of GPIO chips are requested from it by name,
// through the kernel's character device: the kernel names who holds a line,
// debounces it, counts its edges and takes it back when the process ends.
package periphio
