package quickjs

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/sandbox/engine"
)

// The engine looks for an imported module among those it has compiled, and
// has no loader besides. So what a file imports is compiled before it: the
// engine says which module it misses, that one is compiled, and the file is
// tried again. A cycle has no such order and is refused.

// compileFile compiles a file of the program and, before it, what it imports.
// importers are the files that led here.
func (b *booter) compileFile(s *State, p engine.Program, file string, importers []string) (uint64, error) {
	source, err := moduleSource(file, p.Files[file])
	if err != nil {
		return 0, err
	}
	importers = append(slices.Clone(importers), file)
	for {
		mod, err := b.compile(s, file, source)
		missing, ok := missingModule(err)
		if !ok {
			return mod, err
		}
		if slices.Contains(importers, missing) {
			return 0, &engine.Exception{Text: fmt.Sprintf("imports form a cycle: %s → %s: move what both need to a file of its own",
				strings.Join(importers, " → "), missing)}
		}
		if _, ok := p.Files[missing]; !ok {
			return 0, &engine.Exception{Text: fmt.Sprintf("%s imports %q, which is not among the function's files: write the path with ./ and its ending, and bundle packages from npm", file, missing)}
		}
		if _, err := b.compileFile(s, p, missing, importers); err != nil {
			return 0, err
		}
	}
}

// moduleSource makes a module of a file: JSON becomes its default export.
func moduleSource(file string, source []byte) ([]byte, error) {
	if path.Ext(file) != ".json" {
		return source, nil
	}
	var value any
	if err := json.Unmarshal(source, &value); err != nil {
		line := 1
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line += bytes.Count(source[:min(int(syntax.Offset), len(source))], []byte("\n"))
		}
		return nil, &engine.Exception{Text: fmt.Sprintf("%s:%d: not JSON: %v", file, line, err)}
	}
	return append([]byte("export default "), source...), nil
}

// missingModule is the module that a compilation asked for and did not find.
func missingModule(err error) (name string, ok bool) {
	var thrown *engine.Exception
	if !errors.As(err, &thrown) {
		return "", false
	}
	_, rest, ok := strings.Cut(thrown.Text, "could not load module '")
	if !ok {
		return "", false
	}
	name, _, ok = strings.Cut(rest, "'")
	return name, ok
}
