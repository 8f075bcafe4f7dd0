// Package build makes the files that are deployed of a function's source: C,
// Rust and Go are compiled to WebAssembly, JavaScript and Python are taken as they are,
// with the files that they import, and so are finished modules; a manifest's own
// build command is run first.
package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/headgate-io/headgate/sdk"
)

// Request says what to build.
type Request struct {
	// Dir is the project's directory; relative names start there.
	Dir string
	// Main is the manifest's main: a .js, .py or .wasm file, or a source that is
	// compiled: a .c, .rs or .go file, or a directory with a Go package.
	Main string
	// Compiler is the manifest's compiler: "tinygo", or empty for what its
	// language usually has.
	Compiler string
	// Command is the manifest's build command; it runs in Dir, by the shell,
	// before Main is looked at.
	Command string
}

// Artifact is what is deployed.
type Artifact struct {
	// Main is the file's name, whose extension says what it is.
	Main string
	// Files are all files of the function by their name, Main among them.
	Files map[string][]byte
	// Log is what the tools printed.
	Log string
}

// maxArtifactBytes is the largest file that a gateway accepts.
const maxArtifactBytes = 32 << 20

// Build makes the artifact. Its errors show what a compiler said, or which
// package to install.
func Build(ctx context.Context, r Request) (*Artifact, error) {
	log := ""
	if r.Command != "" {
		out, err := run(ctx, r.Dir, nil, shell(), shellFlag(), r.Command)
		if err != nil {
			return nil, fmt.Errorf("build command %q: %w", r.Command, err)
		}
		log = out
	}
	path := filepath.Join(r.Dir, r.Main)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no file %s", path)
	}
	if err != nil {
		return nil, err
	}
	var a *Artifact
	switch ext := strings.ToLower(filepath.Ext(r.Main)); {
	case r.Compiler == TinyGo:
		a, err = compile(ctx, path, info.IsDir(), tinyGoCommand)
	case info.IsDir() || ext == ".go":
		a, err = compile(ctx, path, info.IsDir(), goCommand)
	case ext == ".c":
		a, err = compile(ctx, path, false, cCommand)
	case ext == ".rs":
		a, err = compile(ctx, path, false, rustCommand)
	case ext == ".ts":
		a, err = compile(ctx, path, false, assemblyScriptCommand)
	case ext == ".wasm":
		a, err = read(path)
	case ext == ".js" || ext == ".mjs" || ext == ".py":
		a, err = collect(r.Dir, r.Main)
	default:
		return nil, fmt.Errorf("main %s: cannot tell how to build it: name a .js, .py, .wasm, .c, .rs, .ts (AssemblyScript) or .go file or a directory with a Go package, or give a build command", r.Main)
	}
	if err != nil {
		return nil, fmt.Errorf("build %s: %w", r.Main, err)
	}
	a.Log = log + a.Log
	return a, nil
}

func read(path string) (*Artifact, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // a pipe may never end, and a device has no size
		return nil, fmt.Errorf("%s is no plain file", filepath.Base(path))
	}
	if info.Size() > maxArtifactBytes {
		return nil, fmt.Errorf("%d bytes: a gateway accepts at most %d", info.Size(), maxArtifactBytes)
	}
	source, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &Artifact{Main: filepath.Base(path), Files: map[string][]byte{filepath.Base(path): source}}, nil
}

// MissingError says that a tool is not installed, and how to get it.
type MissingError struct{ Tool, Install string }

func (e *MissingError) Error() string { return e.Tool + " is not installed: " + e.Install }

// command is one compiler call.
type command struct {
	dir  string
	env  []string
	args []string
	// install says how to get the tool when it is missing.
	install string
}

// compile runs a compiler in a directory of its own and reads the module.
func compile(ctx context.Context, path string, isDir bool, make func(ctx context.Context, path, tmp, out string, isDir bool) (command, error)) (*Artifact, error) {
	tmp, err := os.MkdirTemp("", "headgate-build")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path)) + ".wasm"
	out := filepath.Join(tmp, name)
	c, err := make(ctx, path, tmp, out, isDir)
	if err != nil {
		return nil, err
	}
	log, err := run(ctx, c.dir, c.env, c.args...)
	if errors.Is(err, exec.ErrNotFound) {
		return nil, &MissingError{Tool: c.args[0], Install: c.install}
	}
	if err != nil {
		if says := err.Error(); strings.Contains(says, "crt1-reactor.o") || strings.Contains(says, "not found") &&
			(strings.Contains(says, "wasm-ld") || strings.Contains(says, "rust-lld")) {
			err = fmt.Errorf("%w\n%s", err, c.install)
		}
		return nil, err
	}
	a, err := read(out)
	if err != nil {
		return nil, err
	}
	a.Log = log
	return a, nil
}

// cStackBytes is the stack of a C guest. The linker's default of 64 KiB alone
// would fill the one page of memory that most handlers need. It lies first,
// so that outgrowing it traps instead of overwriting data.
const cStackBytes = 16 << 10

// cCommand builds one C file. The SDK's header is put beside it.
func cCommand(_ context.Context, path, tmp, out string, _ bool) (command, error) {
	if err := os.WriteFile(filepath.Join(tmp, "headgate.h"), sdk.CHeader(), 0o644); err != nil {
		return command{}, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return command{}, err
	}
	return command{
		dir: filepath.Dir(abs),
		args: []string{
			"clang", "--target=wasm32-wasi", "-mexec-model=reactor", "-O2", "-Wall", "-I", tmp,
			fmt.Sprintf("-Wl,--stack-first,-z,stack-size=%d", cStackBytes), "-Wl,--strip-debug", "-o", out, abs,
		},
		install: "install clang, its WebAssembly linker and a C library (Debian: apt install clang lld wasi-libc libclang-rt-dev-wasm32)",
	}, nil
}

func shell() string {
	if runtime.GOOS == "windows" {
		return "cmd"
	}
	return "/bin/sh"
}

func shellFlag() string {
	if runtime.GOOS == "windows" {
		return "/c"
	}
	return "-c"
}

// maxLogBytes bounds what is kept of a tool's output.
const maxLogBytes = 64 << 10

// run runs a tool and returns what it printed; on failure that is part of the
// error.
func run(ctx context.Context, dir string, env []string, args ...string) (string, error) {
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir = dir
	c.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	text := out.String()
	if len(text) > maxLogBytes {
		text = text[:maxLogBytes] + "\n…"
	}
	if err != nil {
		return text, fmt.Errorf("%s: %w\n%s", filepath.Base(args[0]), err, strings.TrimSpace(text))
	}
	return text, nil
}
