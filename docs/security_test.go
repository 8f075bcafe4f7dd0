// Package docs_test holds the documents to the code.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	testName = regexp.MustCompile("`([a-z0-9/-]+)\\.(Test[A-Za-z0-9]+)`")
	attack   = regexp.MustCompile(`^\| .* \|$`)
)

// TestSecurityNamesRealTests reads SECURITY.md: every attack names a test that
// exists, or says that it is not stopped.
func TestSecurityNamesRealTests(t *testing.T) {
	raw, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	_, attacks, found := strings.Cut(string(raw), "\n## Attacks\n")
	if !found {
		t.Fatal("SECURITY.md has no section Attacks")
	}
	known := map[string]map[string]bool{}
	for _, m := range testName.FindAllStringSubmatch(string(raw), -1) {
		if known[m[1]] == nil {
			known[m[1]] = testsIn(t, m[1])
		}
		if !known[m[1]][m[2]] {
			t.Errorf("SECURITY.md names %s in %s, which does not exist", m[2], m[1])
		}
	}
	rows := 0
	for line := range strings.Lines(attacks) {
		line = strings.TrimSpace(line)
		if !attack.MatchString(line) || strings.HasPrefix(line, "| attack ") || strings.HasPrefix(line, "|---") {
			continue
		}
		rows++
		if !testName.MatchString(line) && !strings.Contains(line, "no test: it is not stopped") {
			t.Errorf("no test for: %s", line)
		}
		if n := strings.Count(line, " |"); n != 4 {
			t.Errorf("%d columns instead of 4: %s", n, line)
		}
	}
	if rows < 40 {
		t.Errorf("only %d attacks were found", rows)
	}
}

// testsIn lists the tests of the package in a folder of the module.
func testsIn(t *testing.T, folder string) map[string]bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", filepath.FromSlash(folder), "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				out[fn.Name.Name] = true
			}
		}
	}
	return out
}
