package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/headgate-io/headgate/sdk"
)

// goCommand builds the package that path lies in. Its module gets this
// gateway's own SDK in place of whatever version it requires, so that both
// sides of the border always fit and nothing has to be downloaded.
func goCommand(_ context.Context, path, tmp, out string, isDir bool) (command, error) {
	dir, modfile, err := goPackage(path, tmp, isDir)
	if err != nil {
		return command{}, err
	}
	c := command{
		dir:     dir,
		env:     []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"},
		args:    []string{"go", "build", "-buildmode=c-shared", "-trimpath", "-ldflags=-s -w", "-o", out},
		install: "get Go 1.24 or later from https://go.dev/dl (Debian: apt install golang)",
	}
	if modfile != "" {
		c.args = append(c.args, "-modfile="+modfile)
		c.env = append(c.env, "GOWORK=off")
	}
	c.args = append(c.args, ".")
	return c, nil
}

// goPackage is the folder of the package that path lies in, and a module file
// for it that takes the SDK from this program; empty where the package is one of
// the SDK's own module.
func goPackage(path, tmp string, isDir bool) (dir, modfile string, err error) {
	if !isDir {
		path = filepath.Dir(path)
	}
	if dir, err = filepath.Abs(path); err != nil {
		return "", "", err
	}
	root, mod, err := findModule(dir)
	if err != nil || modulePath(mod) == sdk.ModulePath {
		return dir, "", err
	}
	modfile, err = withSDK(root, mod, tmp)
	return dir, modfile, err
}

// TinyGo is the compiler for Go that makes small modules.
const TinyGo = "tinygo"

// tinyGoCommand builds the package that path lies in, as goCommand does. Its
// garbage collector stays: how much one event makes is not known.
func tinyGoCommand(_ context.Context, path, tmp, out string, isDir bool) (command, error) {
	dir, modfile, err := goPackage(path, tmp, isDir)
	if err != nil {
		return command{}, err
	}
	c := command{
		dir:     dir,
		args:    []string{TinyGo, "build", "-target=wasip1", "-buildmode=c-shared", "-opt=2", "-no-debug", "-scheduler=none", "-o", out, "."},
		install: "get TinyGo 0.37 or later from https://tinygo.org/getting-started/install, or leave out compiler: tinygo to build with Go",
	}
	if modfile != "" {
		flags := strings.TrimSpace(os.Getenv("GOFLAGS") + " -modfile=" + modfile)
		c.env = append(c.env, "GOWORK=off", "GOFLAGS="+flags)
	}
	return c, nil
}

// findModule finds the go.mod that governs dir.
func findModule(dir string) (root string, mod []byte, err error) {
	for root = dir; ; root = filepath.Dir(root) {
		mod, err = os.ReadFile(filepath.Join(root, "go.mod"))
		if err == nil {
			return root, mod, nil
		}
		if !errors.Is(err, os.ErrNotExist) {
			return "", nil, err
		}
		if filepath.Dir(root) == root {
			return "", nil, fmt.Errorf("no go.mod in %s or above: run go mod init there", dir)
		}
	}
}

func modulePath(mod []byte) string {
	for line := range strings.Lines(string(mod)) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "module "); ok {
			return strings.Trim(strings.TrimSpace(rest), `"`)
		}
	}
	return ""
}

// withSDK writes a copy of the module file that takes the SDK from tmp.
func withSDK(root string, mod []byte, tmp string) (string, error) {
	dir := filepath.Join(tmp, "headgate")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := sdk.WriteGoModule(dir); err != nil {
		return "", err
	}
	text := string(mod)
	if !strings.Contains(text, sdk.ModulePath+" v") {
		text += "\nrequire " + sdk.ModulePath + " v0.0.0\n"
	}
	text += "\nreplace " + sdk.ModulePath + " => " + dir + "\n"
	modfile := filepath.Join(tmp, "go.mod")
	if err := os.WriteFile(modfile, []byte(text), 0o644); err != nil {
		return "", err
	}
	sum, err := os.ReadFile(filepath.Join(root, "go.sum"))
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "go.sum"), sum, 0o644)
	}
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	return modfile, err
}
