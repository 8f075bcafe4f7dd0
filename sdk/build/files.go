package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// maxFiles is how many files a function may have; a bundle holds no more.
const maxFiles = 256

// collection gathers the files of a script: its main file, what that imports
// or names, and so on.
type collection struct {
	root  *os.Root
	home  string // the folder of the main file
	files map[string][]byte
	bytes int64
	queue []string
}

// collect reads the script at main, and every file of the project that it
// needs, by their paths in dir.
func collect(dir, main string) (*Artifact, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	main = path.Clean(filepath.ToSlash(main))
	c := &collection{root: root, home: path.Dir(main), files: map[string][]byte{}}
	if err := c.add(main, true); err != nil {
		return nil, err
	}
	for len(c.queue) > 0 {
		name := c.queue[0]
		c.queue = c.queue[1:]
		for _, needed := range c.needs(name) {
			if err := c.add(needed, false); err != nil {
				return nil, err
			}
		}
	}
	return &Artifact{Main: main, Files: c.files}, nil
}

// add reads a file. One that is not there or no plain file is left out unless
// it must be there: whether a text really names a file only the engine knows.
func (c *collection) add(name string, must bool) error {
	if _, there := c.files[name]; there || !fs.ValidPath(name) {
		return nil
	}
	// A pipe that nobody writes to would keep whoever opens it for ever.
	f, err := c.root.OpenFile(filepath.FromSlash(name), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if must {
			return err
		}
		return nil
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		if must {
			return errors.Join(err, fmt.Errorf("%s is no plain file", name))
		}
		return nil
	}
	content, err := io.ReadAll(io.LimitReader(f, maxArtifactBytes+1))
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if c.bytes += int64(len(content)); c.bytes > maxArtifactBytes {
		return fmt.Errorf("with %s the function has %d bytes: a gateway accepts at most %d", name, c.bytes, maxArtifactBytes)
	}
	if len(c.files) == maxFiles {
		return fmt.Errorf("with %s the function has more than the %d files that a bundle may have", name, maxFiles)
	}
	c.files[name] = content
	c.queue = append(c.queue, name)
	return nil
}

// needs lists what the file name may need, whether it is there or not.
func (c *collection) needs(name string) []string {
	text := string(c.files[name])
	switch strings.ToLower(path.Ext(name)) {
	case ".js", ".mjs":
		return scriptNeeds(name, text)
	case ".py":
		return c.pythonNeeds(name, text)
	}
	return nil
}

var relativePath = regexp.MustCompile("[\"'`](\\.{1,2}/[^\"'`\n]+)[\"'`]")

// scriptNeeds finds relative paths in string literals: what is imported is one.
func scriptNeeds(name, text string) (needed []string) {
	for _, m := range relativePath.FindAllStringSubmatch(text, -1) {
		switch strings.ToLower(path.Ext(m[1])) {
		case ".js", ".mjs", ".json":
			needed = append(needed, path.Join(path.Dir(name), m[1]))
		}
	}
	return needed
}

var (
	pythonImport = regexp.MustCompile(`(?m)^[ \t]*(?:.*[;:][ \t]*)?import[ \t]+([^\n;#]+)`)
	pythonFrom   = regexp.MustCompile(`(?m)^[ \t]*(?:.*[;:][ \t]*)?from[ \t]+(\.*[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n;#]+)`)
	literal      = regexp.MustCompile(`"([^"\n\\]{1,200})"|'([^'\n\\]{1,200})'`)
)

// pythonNeeds finds the modules that are imported, and files that string
// literals name, for open.
func (c *collection) pythonNeeds(name, text string) (needed []string) {
	bases := []string{c.home, "."}
	for _, m := range pythonImport.FindAllStringSubmatch(text, -1) {
		for _, module := range importedNames(m[1]) {
			needed = append(needed, moduleFiles(bases, module)...)
		}
	}
	for _, m := range pythonFrom.FindAllStringSubmatch(text, -1) {
		from := bases
		module := strings.TrimLeft(m[1], ".")
		if up := len(m[1]) - len(module); up > 0 {
			base := path.Dir(name)
			for range up - 1 {
				base = path.Dir(base)
			}
			from = []string{base}
		}
		needed = append(needed, moduleFiles(from, module)...)
		for _, member := range importedNames(strings.Trim(m[2], "()")) {
			needed = append(needed, moduleFiles(from, strings.TrimPrefix(module+"."+member, "."))...)
		}
	}
	for _, m := range literal.FindAllStringSubmatch(text, -1) {
		file := m[1] + m[2]
		if strings.Contains(file, ".") {
			needed = append(needed, path.Join(c.home, file), path.Clean(file))
		}
	}
	return needed
}

// importedNames splits "a as b, c.d".
func importedNames(list string) (names []string) {
	for part := range strings.SplitSeq(list, ",") {
		if fields := strings.Fields(part); len(fields) > 0 {
			names = append(names, fields[0])
		}
	}
	return names
}

// moduleFiles are the files that a dotted module may lie in, and those of the
// packages around it.
func moduleFiles(bases []string, module string) (files []string) {
	for _, base := range bases {
		at := base
		for part := range strings.SplitSeq(module, ".") {
			if part == "" {
				continue
			}
			at = path.Join(at, part)
			files = append(files, at+".py", path.Join(at, "__init__.py"))
		}
	}
	return files
}
