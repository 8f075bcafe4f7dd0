package sandbox_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sdk/build"
)

// tinyGoGuest builds a Go guest of testdata with TinyGo. It lies in a module of
// its own: TinyGo compiles for a Go that is older than this one's.
func tinyGoGuest(t testing.TB, dir string) []byte {
	t.Helper()
	toolchain.NeedTinyGo(t)
	if wasm, ok := guests.Load("tinygo/" + dir); ok {
		return wasm.([]byte)
	}
	source, err := os.ReadFile(filepath.Join("testdata", dir, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	module := t.TempDir()
	for name, text := range map[string][]byte{"main.go": source, "go.mod": []byte("module example.org/guest\n\ngo 1.24\n")} {
		if err := os.WriteFile(filepath.Join(module, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	a := toolchain.Build(t, build.Request{Dir: module, Main: "main.go", Compiler: build.TinyGo})
	guests.Store("tinygo/"+dir, a.Files[a.Main])
	return a.Files[a.Main]
}
