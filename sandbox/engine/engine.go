// Package engine says what the script engines have in common: each runs the
// functions of one language on one shared WebAssembly module.
package engine

import (
	"context"

	"github.com/tetratelabs/wazero/api"
)

// Program is one function's source.
type Program struct {
	// Main names the file with the handler, as the author knows it: a path
	// with slashes, relative to the project.
	Main string
	// Files are all files of the function by their path, Main included.
	Files map[string][]byte
	// MemoryBytes is the most linear memory that the function may have.
	MemoryBytes uint64
}

// Guest is one instance of a booted engine.
type Guest interface {
	// Handle runs the handler on the current event. What the handler threw is
	// an *Exception; failure returns the error text that it reported.
	Handle(ctx context.Context, failure func() string) error
	// Overflowed reports whether the script nested its calls deeper than the
	// StackBytes of its engine. It is asked after a trap, before anything is
	// restored.
	Overflowed() bool
	// State returns where things lie, for instances made from the same image.
	State() State
}

// State is where things lie in a booted engine. It is the same in every
// instance that starts from the same clean state.
type State interface {
	// Bind makes the Guest of an instance that starts from the clean state.
	Bind(mod api.Module) Guest
}

// FileReader is a Guest whose script may read the files of its program.
// Descriptors start at 3; ok is false for one that is not open.
type FileReader interface {
	ReadFile(fd uint32, dst []byte) (n int, ok bool)
	SeekFile(fd uint32, offset int64, whence uint32) (position int64, ok bool)
	CloseFile(fd uint32) (ok bool)
}

// Exception is an error that a script threw.
type Exception struct{ Text string }

func (e *Exception) Error() string { return e.Text }
