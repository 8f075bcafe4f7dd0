package quickjs

import (
	_ "embed" // for the glue

	reactor "github.com/aperturerobotics/go-quickjs-wasi-reactor"
)

// Wasm is the engine's module.
func Wasm() []byte { return reactor.QuickJSWASM }

// Version is the engine's version.
const Version = reactor.Version

//go:embed glue.js
var glue []byte

// Program is one script.
type Program struct {
	// File is the name shown in errors.
	File   string
	Source []byte
}

// Exception is an error that a script threw.
type Exception struct{ Text string }

func (e *Exception) Error() string { return e.Text }
