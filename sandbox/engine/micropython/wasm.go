package micropython

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/sandbox/instrument"
)

// The engine's module is put there, compressed, by make engines.
//
//go:embed all:engine
var engineFiles embed.FS

//go:embed all:lib
var library embed.FS

// Version is the engine's version; npm/package.json pins it.
const Version = "1.27.0"

const (
	packedWasm = "engine/micropython.wasm.gz"
	// maxWasmBytes bounds what is unpacked.
	maxWasmBytes = 8 << 20
	// initialPages is the memory that the engine's data and its C stack take.
	// The build asks for 16 MiB in advance; its allocator is content to grow
	// from what there is.
	initialPages = 3
)

// ErrMissing is returned where the engine was not there when this program was
// built.
var ErrMissing = errors.New("this headgate was built without the Python engine: use a released binary, or run 'make engines' (it needs npm) and build again")

// Available reports whether this program was built with the engine.
func Available() bool {
	_, err := fs.Stat(engineFiles, packedWasm)
	return err == nil
}

// Wasm returns the engine's module.
func Wasm() ([]byte, error) {
	packed, err := engineFiles.ReadFile(packedWasm)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrMissing
	}
	if err != nil {
		return nil, err
	}
	zr, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", packedWasm, err)
	}
	wasm, err := io.ReadAll(io.LimitReader(zr, maxWasmBytes))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", packedWasm, err)
	}
	return wasm, nil
}

// Options are how the engine is instrumented. Its C stack lies first in
// memory, so that outgrowing it traps without a guard.
func Options() instrument.Options { return instrument.Options{MemoryPages: initialPages} }

// LibraryDigest names the Python side of the border.
func LibraryDigest() string {
	files := libraryFiles()
	sum := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		sum.Write([]byte(name))
		sum.Write(files[name])
	}
	return hex.EncodeToString(sum.Sum(nil)[:4])
}

// libraryDir is where scripts find the modules in lib. An author may well have
// a lib of his own.
const libraryDir = ".headgate"

// libraryFiles are the modules in lib by their name in the file system.
func libraryFiles() map[string][]byte {
	files := map[string][]byte{}
	err := fs.WalkDir(library, "lib", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files[libraryDir+strings.TrimPrefix(name, "lib")], err = library.ReadFile(name)
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("micropython: embedded files: %v", err)) // a bug in the build
	}
	return files
}
