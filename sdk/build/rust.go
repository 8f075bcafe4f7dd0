package build

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/headgate-io/headgate/sdk"
)

const rustTarget = "wasm32-unknown-unknown"

// rustStackBytes is the stack of a Rust guest. It lies first in memory, so
// that outgrowing it traps.
const rustStackBytes = 64 << 10

var errNoRust = &MissingError{
	Tool:    "rustc for " + rustTarget,
	Install: "install Rust with its WebAssembly target (Debian: apt install rustc libstd-rust-dev-wasm32 lld; rustup: rustup target add " + rustTarget + ")",
}

// findRust finds a compiler that has the target: the one on the path, or the
// system's behind one of rustup's that lacks it.
func findRust(ctx context.Context) (string, error) {
	for _, rustc := range []string{"rustc", "/usr/bin/rustc"} {
		dir, err := run(ctx, "", nil, rustc, "--print", "target-libdir", "--target", rustTarget)
		if err != nil {
			continue
		}
		if entries, err := os.ReadDir(strings.TrimSpace(dir)); err == nil && len(entries) > 0 {
			return rustc, nil
		}
	}
	return "", errNoRust
}

// HasRust reports whether functions in Rust can be built here.
func HasRust(ctx context.Context) bool {
	_, err := findRust(ctx)
	return err == nil
}

func rustArgs(rustc string, more ...string) []string {
	return append([]string{rustc, "--edition", "2021", "--target", rustTarget, "-C", "opt-level=3", "-C", "panic=abort"}, more...)
}

// rustLibrary compiles the SDK. It is the same for every function that one
// compiler builds, so it is kept in the user's cache where there is one.
func rustLibrary(ctx context.Context, rustc, tmp string) (string, error) {
	crate := filepath.Join(tmp, "headgate")
	if err := sdk.WriteRustCrate(crate); err != nil {
		return "", err
	}
	version, err := run(ctx, "", nil, rustc, "-vV")
	if err != nil {
		return "", err
	}
	kept := ""
	if cache, err := os.UserCacheDir(); err == nil {
		sum := sha256.Sum256([]byte(version + strings.Join(rustArgs(""), " ") + sdk.RustDigest()))
		kept = filepath.Join(cache, "headgate", "rust", hex.EncodeToString(sum[:8]), "libheadgate.rlib")
		if _, err := os.Stat(kept); err == nil {
			return kept, nil
		}
	}
	library := filepath.Join(tmp, "libheadgate.rlib")
	if _, err := run(ctx, "", nil, rustArgs(rustc, "--crate-type", "rlib", "--crate-name", "headgate", "-o", library, filepath.Join(crate, "lib.rs"))...); err != nil {
		return "", err
	}
	keep(library, kept)
	return library, nil
}

// keep copies a file into the cache. One that cannot be kept is made again.
func keep(from, to string) {
	content, err := os.ReadFile(from)
	if err != nil || to == "" || os.MkdirAll(filepath.Dir(to), 0o755) != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".new-*")
	if err != nil {
		return
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), to)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
}

// rustCommand builds one Rust file, with the modules that it declares. The
// SDK is compiled beside it, so that both sides of the border always fit.
func rustCommand(ctx context.Context, path, tmp, out string, _ bool) (command, error) {
	rustc, err := findRust(ctx)
	if err != nil {
		return command{}, err
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return command{}, err
	}
	library, err := rustLibrary(ctx, rustc, tmp)
	if err != nil {
		return command{}, err
	}
	return command{
		dir: filepath.Dir(abs),
		args: rustArgs(rustc, "--crate-type", "cdylib", "--crate-name", "function", "--extern", "headgate="+library, "-C", "lto=fat", "-C", "strip=symbols",
			"-C", "link-arg=--stack-first", "-C", "link-arg=-zstack-size="+strconv.Itoa(rustStackBytes), "-o", out, abs),
		install: errNoRust.Install,
	}, nil
}
