package main

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/spf13/cobra"

	"github.com/headgate-io/headgate/function"
)

//go:embed all:templates
var templates embed.FS

// language is one that 'new' can start a project in: its template folder and
// the file that the function goes into.
type language struct {
	folder string
	main   func(name string) string
	// more are further files of the template.
	more []string
}

var languages = map[string]language{
	"javascript":     {folder: "javascript", main: func(name string) string { return name + ".js" }},
	"python":         {folder: "python", main: func(name string) string { return strings.ReplaceAll(name, "-", "_") + ".py" }},
	"c":              {folder: "c", main: func(name string) string { return name + ".c" }},
	"assemblyscript": {folder: "assemblyscript", main: func(name string) string { return name + ".ts" }},
	"rust":           {folder: "rust", main: func(name string) string { return name + ".rs" }},
	"tinygo":         {folder: "tinygo", main: func(string) string { return "main.go" }, more: []string{"go.mod"}},
	"go":             {folder: "go", main: func(string) string { return "main.go" }, more: []string{"go.mod"}},
}

var languageAliases = map[string]string{"js": "javascript", "py": "python", "rs": "rust", "as": "assemblyscript", "ts": "assemblyscript", "golang": "go"}

func (a *app) newCommand() *cobra.Command {
	var lang string
	known := strings.Join(slices.Sorted(maps.Keys(languages)), ", ")
	c := &cobra.Command{
		Use: "new NAME", Short: "Start a project in a new folder", Args: cobra.ExactArgs(1),
		Example: "  headgate new irrigate --lang javascript && cd irrigate && headgate dev",
		RunE: func(_ *cobra.Command, args []string) error {
			if full, ok := languageAliases[lang]; ok {
				lang = full
			}
			l, ok := languages[lang]
			if !ok {
				return usageError{fmt.Errorf("--lang %q: choose one of %s", lang, known)}
			}
			dir := args[0]
			name := filepath.Base(dir)
			if !function.ValidName(name) {
				return usageError{fmt.Errorf("%q cannot name a function: it starts with a letter and has only a-z, 0-9 and -, 63 at most", name)}
			}
			files, err := l.create(dir, name)
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"project": dir, "files": files})
			}
			fmt.Fprintf(a.out, "made %s: %s\n\nnext:\n  cd %s\n  headgate test   # run its recorded events\n  headgate dev    # run it, and again at every change\n",
				dir, strings.Join(files, ", "), dir)
			return nil
		},
	}
	c.Flags().StringVar(&lang, "lang", "javascript", "the language: "+known)
	return c
}

// create writes the template's files into dir, which must not hold any yet.
func (l language) create(dir, name string) ([]string, error) {
	sources := map[string]string{
		function.ManifestName: "templates/" + l.folder + "/headgate.yaml.tmpl",
		"tests.yaml":          "templates/tests.yaml.tmpl",
		l.main(name):          "templates/" + l.folder + "/main" + filepath.Ext(l.main(name)) + ".tmpl",
	}
	for _, f := range l.more {
		sources[f] = "templates/" + l.folder + "/" + f + ".tmpl"
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("make project: %w", err)
	}
	files := slices.Sorted(maps.Keys(sources))
	for _, f := range files {
		if _, err := os.Stat(filepath.Join(dir, f)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already: choose another name or folder", filepath.Join(dir, f))
		}
	}
	for _, f := range files {
		t, err := template.ParseFS(templates, sources[f])
		if err != nil {
			return nil, fmt.Errorf("template %s: %w", sources[f], err)
		}
		var b strings.Builder
		if err := t.Execute(&b, map[string]string{"Name": name, "Main": l.main(name)}); err != nil {
			return nil, fmt.Errorf("template %s: %w", sources[f], err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), []byte(b.String()), 0o644); err != nil {
			return nil, fmt.Errorf("make project: %w", err)
		}
	}
	return files, nil
}
