// Package examples_test runs the recorded events of every example, and of the
// guide for authors, as headgate test does.
package examples_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/functest"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sdk/build"
)

func TestExamples(t *testing.T) {
	slow.UnderRace(t, slow.LargeGuests)
	engine := openEngine(t)
	manifests, err := filepath.Glob("*/headgate.yaml")
	if err != nil || len(manifests) < 3 {
		t.Fatalf("%d examples, %v", len(manifests), err)
	}
	for _, m := range manifests {
		t.Run(filepath.Dir(m), func(t *testing.T) { runProject(t, engine, filepath.Dir(m)) })
	}
	shown := guide(t)
	t.Run("guide", func(t *testing.T) { runProject(t, engine, shown) })
	t.Run("guide/kinds", func(t *testing.T) { runProject(t, engine, filepath.Join(shown, "kinds")) })
}

func openEngine(t *testing.T) *sandbox.Engine {
	t.Helper()
	engine, err := sandbox.New(t.Context(), sandbox.Config{CacheDir: testcache.Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// guide is a folder with the files that docs/functions.md shows.
func guide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../docs/functions.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := regexp.MustCompile("(?ms)^```\\w+ (\\S+)\n(.*?)^```$").FindAllSubmatch(text, -1)
	if len(files) < 6 {
		t.Fatalf("the guide shows %d files", len(files))
	}
	for _, f := range files {
		path := filepath.Join(dir, string(f[1]))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, f[2], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func runProject(t *testing.T, engine *sandbox.Engine, dir string) {
	t.Helper()
	m, err := function.ReadManifest(filepath.Join(dir, "headgate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file, err := functest.Read(filepath.Join(dir, functest.FileName), m)
	if err != nil {
		t.Fatal(err)
	}
	subjects := map[string]functest.Subject{}
	for i := range file.Tests {
		c := &file.Tests[i]
		t.Run(c.Function+"/"+c.Name, func(t *testing.T) {
			if _, ok := subjects[c.Function]; !ok {
				subjects[c.Function] = built(t, dir, *m.Functions[c.Function])
			}
			r, err := functest.Run(t.Context(), engine, subjects[c.Function], c)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Faults {
				t.Error(f)
			}
			for _, l := range r.Logs {
				t.Log(l.Level, l.Text)
			}
		})
	}
}

// built is the function ready to run. C needs clang, Python its engine.
func built(t *testing.T, dir string, spec function.Spec) functest.Subject {
	t.Helper()
	switch {
	case spec.Language() == "python":
		toolchain.NeedPython(t, micropython.Available())
	case spec.Language() == "c", strings.HasPrefix(spec.Build, "clang "):
		toolchain.Need(t, "clang")
	}
	a := toolchain.Build(t, build.Request{Dir: dir, Main: spec.Main, Compiler: spec.Compiler, Command: spec.Build})
	spec.Main = a.Main
	return functest.Subject{Spec: spec, Code: a.Files}
}
