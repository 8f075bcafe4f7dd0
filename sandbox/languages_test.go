package sandbox_test

import (
	"sync"
	"testing"

	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sdk/build"
)

// rustGuest builds a Rust guest of testdata, or skips where Rust has no
// WebAssembly target and nobody demands it.
func rustGuest(t testing.TB, file string) []byte {
	t.Helper()
	return builtWhere(t, "testdata/rust", file)
}

// assemblyScriptGuest builds an AssemblyScript guest of testdata, or skips
// where its compiler is not in sdk/assemblyscript and nobody demands it.
func assemblyScriptGuest(t testing.TB, file string) []byte {
	t.Helper()
	return builtWhere(t, "testdata/assemblyscript", file)
}

// goGuest builds a Go guest of testdata. Go itself runs these tests, so it is
// there.
func goGuest(t testing.TB, dir string) []byte {
	t.Helper()
	return builtWhere(t, "testdata", dir)
}

// cGuest builds a C guest of testdata, or skips where clang is missing and
// nobody demands it.
func cGuest(t testing.TB, file string) []byte {
	t.Helper()
	return builtWhere(t, "testdata", file)
}

// guests are what the tests of one run have built.
var guests sync.Map

// builtWhere builds a guest, once in a run, or skips where its compiler is not
// installed.
func builtWhere(t testing.TB, dir, main string) []byte {
	t.Helper()
	key := dir + "/" + main
	if wasm, ok := guests.Load(key); ok {
		return wasm.([]byte)
	}
	a := toolchain.Build(t, build.Request{Dir: dir, Main: main})
	guests.Store(key, a.Files[a.Main])
	return a.Files[a.Main]
}
