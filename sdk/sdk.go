// Package sdk carries the guest side in every language, so that the CLI can
// build functions, and start new ones, on a machine that has no copy of it.
package sdk

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed go/*.go c/headgate.h javascript/headgate.d.ts rust/src/*.rs assemblyscript/assembly/*.ts
var files embed.FS

// ModulePath is the Go module that the Go SDK is imported from.
const ModulePath = "github.com/headgate-io/headgate"

// CHeader is headgate.h.
func CHeader() []byte { return must("c/headgate.h") }

// JavaScriptTypes is headgate.d.ts.
func JavaScriptTypes() []byte { return must("javascript/headgate.d.ts") }

func must(name string) []byte {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(fmt.Sprintf("sdk: embedded file: %v", err)) // a bug in the build
	}
	return b
}

// WriteGoModule writes a module with the Go SDK alone into dir, to stand in
// for ModulePath.
func WriteGoModule(dir string) error {
	mod := "module " + ModulePath + "\n\ngo 1.24\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	target := filepath.Join(dir, "sdk", "go")
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(files, "go", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(name, "_test.go") {
			return err
		}
		return os.WriteFile(filepath.Join(target, path.Base(name)), must(name), 0o644)
	})
}

// WriteRustCrate writes the sources of the Rust SDK into dir; lib.rs is their
// root.
func WriteRustCrate(dir string) error { return writeFiles("rust/src", dir) }

// WriteAssemblyScript writes the AssemblyScript SDK into dir; index.ts is its
// root.
func WriteAssemblyScript(dir string) error { return writeFiles("assemblyscript/assembly", dir) }

func writeFiles(from, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return fs.WalkDir(files, from, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		return os.WriteFile(filepath.Join(dir, path.Base(name)), must(name), 0o644)
	})
}

// RustDigest names the sources of the Rust SDK.
func RustDigest() string {
	sum := sha256.New()
	err := fs.WalkDir(files, "rust/src", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			_, err = fmt.Fprintf(sum, "%s\n%s", name, must(name))
		}
		return err
	})
	if err != nil {
		panic(fmt.Sprintf("sdk: embedded files: %v", err)) // a bug in the build
	}
	return hex.EncodeToString(sum.Sum(nil))
}
