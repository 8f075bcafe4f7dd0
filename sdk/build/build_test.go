package build_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sdk/build"
)

func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const goSource = `package main

import headgate "github.com/headgate-io/headgate/sdk/go"

func init() { headgate.Handle(func(*headgate.Context) error { return nil }) }
func main() {}
`

// TestGoOutsideTheRepository builds a Go function in a module of its own,
// with nothing downloaded.
func TestGoOutsideTheRepository(t *testing.T) {
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "-mod=mod")
	dir := write(t, map[string]string{"go.mod": "module example.org/irrigate\n\ngo 1.24\n", "main.go": goSource})
	for _, main := range []string{"main.go", "."} {
		a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: main})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(a.Main, ".wasm") || !strings.HasPrefix(string(a.Files[a.Main]), "\x00asm") {
			t.Errorf("%s: %d bytes", a.Main, len(a.Files[a.Main]))
		}
	}
	if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err != nil || strings.Contains(string(mod), "replace") {
		t.Errorf("the author's go.mod was changed: %s %v", mod, err)
	}
}

func TestC(t *testing.T) {
	toolchain.Need(t, "clang")
	dir := write(t, map[string]string{"f.c": "#include \"headgate.h\"\nHG_HANDLE { return 0; }\n", "bad.c": "int x = ;\n"})
	a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "f.c"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Main != "f.wasm" || a.Log != "" {
		t.Errorf("%s: %s", a.Main, a.Log)
	}
	if _, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "bad.c"}); err == nil || !strings.Contains(err.Error(), "bad.c:1:9") {
		t.Errorf("a fault in the source: %v", err)
	}
}

func TestScriptAndCommand(t *testing.T) {
	dir := write(t, map[string]string{"src.txt": "export default () => 1"})
	a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "out.js", Command: "cp src.txt out.js && echo copied"})
	if err != nil {
		t.Fatal(err)
	}
	if a.Main != "out.js" || string(a.Files[a.Main]) != "export default () => 1" || a.Log != "copied\n" {
		t.Errorf("%+v", a)
	}
}

func TestClearErrors(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := write(t, map[string]string{"f.c": "", "f.rs": "", "f.ts": "", "f.lua": "", "f.go": goSource, "go.mod": "module example.org/f\n"})
	bare := write(t, map[string]string{"f.go": goSource})
	cases := []struct {
		request build.Request
		says    string
	}{
		{build.Request{Dir: dir, Main: "f.c"}, "apt install clang lld wasi-libc"},
		{build.Request{Dir: dir, Main: "f.go"}, "apt install golang"},
		{build.Request{Dir: dir, Main: "f.go", Compiler: build.TinyGo}, "https://tinygo.org/getting-started/install"},
		{build.Request{Dir: dir, Main: "f.ts"}, "npm install --save-dev assemblyscript"},
		{build.Request{Dir: dir, Main: "f.rs"}, "rustup target add wasm32-unknown-unknown"},
		{build.Request{Dir: bare, Main: "f.go"}, "go mod init"},
		{build.Request{Dir: dir, Main: "f.lua"}, "cannot tell how to build it"},
		{build.Request{Dir: dir, Main: "missing.js"}, "missing.js"},
		{build.Request{Dir: dir, Main: "f.js", Command: "exit 3"}, "exit status 3"},
	}
	for _, c := range cases {
		if _, err := build.Build(t.Context(), c.request); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%+v: %v, want %q", c.request, err, c.says)
		}
	}
}
