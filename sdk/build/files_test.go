package build_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/headgate-io/headgate/sdk/build"
)

// TestFilesThatAScriptNeeds are taken along, and no others.
func TestFilesThatAScriptNeeds(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"src/main.js":          "import a from './a.js';\nconst b = await import(`../b.mjs`);\nimport d from \"./d.json\" with {type: 'json'};\n// './none.js'\n",
		"src/a.js":             "export * from './lib/c.js'; // './a.js'\n",
		"src/lib/c.js":         "",
		"src/unused.js":        "",
		"b.mjs":                "import '../../etc/passwd.js'",
		"src/d.json":           "{}",
		"py/main.py":           "import json, tools as t\nfrom farm import (\n  crops,\n  soil)\nfrom farm.deep.well import depth\nx = open('data.csv'); y = open(\"shared.txt\")\nif x: import late\n",
		"py/tools.py":          "",
		"py/late.py":           "import main",
		"py/farm/__init__.py":  "from . import units\n",
		"py/farm/crops.py":     "from ..other import z\nfrom .soil import q\n",
		"py/farm/soil.py":      "",
		"py/farm/units.py":     "",
		"py/farm/deep/well.py": "",
		"py/farm/unused.py":    "",
		"py/data.csv":          "1,2",
		"py/other.py":          "",
		"shared.txt":           "s",
	} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for main, want := range map[string]string{
		"src/main.js": "b.mjs src/a.js src/d.json src/lib/c.js src/main.js",
		"py/main.py":  "py/data.csv py/farm/__init__.py py/farm/crops.py py/farm/deep/well.py py/farm/soil.py py/farm/units.py py/late.py py/main.py py/other.py py/tools.py shared.txt",
	} {
		a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: main})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(slices.Sorted(maps.Keys(a.Files)), " "); got != want || a.Main != main {
			t.Errorf("%s needs\n%s, want\n%s", a.Main, got, want)
		}
	}
}

// TestFilesOutsideAreNotTaken, not even through a link.
func TestFilesOutsideAreNotTaken(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "secret.json")
	if err := os.WriteFile(outside, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	dir := write(t, map[string]string{"f.js": `import a from "./link.json"; import b from "../secret.json"`})
	if err := os.Symlink(outside, filepath.Join(dir, "link.json")); err != nil {
		t.Fatal(err)
	}
	a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "f.js"})
	if err != nil || len(a.Files) != 1 {
		t.Errorf("%d files, %v", len(a.Files), err)
	}
}

// TestPipesAreNotWaitedFor: nobody may ever write to one.
func TestPipesAreNotWaitedFor(t *testing.T) {
	dir := write(t, map[string]string{"f.js": `import a from "./pipe.js"`})
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe.js"), 0o600); err != nil {
		t.Fatal(err)
	}
	if a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "f.js"}); err != nil || len(a.Files) != 1 {
		t.Errorf("%+v, %v", a, err)
	}
	if err := os.Symlink("/dev/zero", filepath.Join(dir, "zero.wasm")); err != nil {
		t.Fatal(err)
	}
	for _, main := range []string{"pipe.js", "zero.wasm"} {
		if _, err := build.Build(t.Context(), build.Request{Dir: dir, Main: main}); err == nil || !strings.Contains(err.Error(), "no plain file") {
			t.Errorf("%s: %v", main, err)
		}
	}
}
