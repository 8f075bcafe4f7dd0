package function

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/headgate-io/headgate/internal/nearest"
)

// Fault is one thing wrong with a file that a person wrote: where, what, and
// in the message what to do.
type Fault struct {
	File string
	// Line and Column count from 1; 0 means that the place is not known.
	Line, Column int
	// Field is the path of the field, as in functions.irrigate.limits.memory.
	Field   string
	Message string
}

// Error writes the fault as compilers do: file:line:column: field: message.
func (f *Fault) Error() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Field != "" {
		b.WriteString(f.Field + ": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// source is the text that faults point into.
type source struct {
	file string
	text []byte
	tree *ast.File
}

// Fault makes a fault at a field of the manifest. The path's elements are map
// keys (string) and list indexes (int); where the field itself is absent, the
// nearest parent that is there gives the line.
func (m *Manifest) Fault(message string, path ...any) *Fault {
	return m.source.fault(message, path...)
}

func (s *source) fault(message string, path ...any) *Fault {
	f := &Fault{File: s.file, Field: FieldPath(path), Message: message}
	for n := len(path); n > 0 && s.tree != nil; n-- {
		if node := s.lookup(path[:n]); node != nil {
			pos := node.GetToken().Position
			f.Line, f.Column = pos.Line, pos.Column
			break
		}
	}
	return f
}

func (s *source) lookup(path []any) ast.Node {
	b := (&yaml.PathBuilder{}).Root()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			b = b.Child(p)
		case int:
			b = b.Index(uint(p))
		}
	}
	node, err := b.Build().FilterFile(s.tree)
	if err != nil {
		return nil
	}
	return node
}

// FieldPath writes a path as people do: triggers[1].when.
func FieldPath(path []any) string {
	var b strings.Builder
	for i, p := range path {
		switch p := p.(type) {
		case string:
			if i > 0 {
				b.WriteByte('.')
			}
			b.WriteString(p)
		case int:
			fmt.Fprintf(&b, "[%d]", p)
		}
	}
	return b.String()
}

var intoStruct = regexp.MustCompile(`cannot unmarshal (\w+) into Go (?:struct field \S+|value) of type (\S+)`)

var wrongNode = regexp.MustCompile(`^(\w+) was used where (\w+) is expected`)

var nodeWords = map[string]string{
	"string": "text", "sequence": "list", "mapping": "mapping", "integer": "number", "float": "number",
	"int": "number", "bool": "true or false", "null": "blank",
	// What the library calls values of Go.
	"int64": "number", "uint64": "number", "float64": "number", "map": "mapping", "slice": "list",
}

// nodeWord is a person's word for a kind of YAML node.
func nodeWord(kind string) string {
	if word, ok := nodeWords[kind]; ok {
		return word
	}
	return kind
}

var plainTypes = map[string]string{
	"int": "a whole number", "bool": "true or false", "string": "text", "map": "a mapping", "float64": "a number",
}

// yamlFault turns an error of the YAML library into a fault with its line and
// without Go's vocabulary. v is what was decoded into.
func (s *source) yamlFault(err error, v any) error {
	var at yaml.Error
	if !errors.As(err, &at) {
		return &Fault{File: s.file, Message: err.Error()}
	}
	message := at.GetMessage()
	if m := intoStruct.FindStringSubmatch(message); m != nil {
		want := plainTypes[strings.TrimPrefix(m[2], "*")]
		switch {
		case strings.HasPrefix(m[2], "[]"):
			want = "a list"
		case want == "":
			want = "a mapping"
		}
		message = fmt.Sprintf("expected %s here, found %s", want, nodeWord(m[1]))
	}
	if m := wrongNode.FindStringSubmatch(message); m != nil {
		message = fmt.Sprintf("expected a %s here, found %s", nodeWord(m[2]), nodeWord(m[1]))
	}
	if name, ok := strings.CutPrefix(message, "unknown field "); ok {
		message = fmt.Sprintf("unknown field %s: check its spelling and its indentation", name)
		if near := nearest.Name(strings.Trim(name, `"`), s.fieldsAt(at.GetToken(), v)); near != "" {
			message = fmt.Sprintf("unknown field %s: did you mean %s?", name, near)
		}
	}
	switch {
	case strings.HasPrefix(message, "found character '\t'"):
		message = "a tab cannot indent YAML: use spaces"
	case message == "',' or '}' must be specified", message == "',' or ']' must be specified":
		message = "a { or [ before this is not closed: close it, or put a comma between"
	case message == "value is not allowed in this context", message == "mapping value is not allowed in this context":
		message = "this does not belong here: check the indentation of this line and of those around it"
	}
	f := &Fault{File: s.file, Message: message}
	if t := at.GetToken(); t != nil && t.Position != nil {
		f.Line, f.Column = t.Position.Line, t.Position.Column
	}
	return f
}

// DecodeFile is for other files that people write in YAML: it decodes src into
// v, strictly, and its errors are Faults. The returned function makes a Fault
// at a path of the same file.
func DecodeFile(file string, src []byte, v any) (at func(message string, path ...any) *Fault, err error) {
	s := &source{file: file, text: src}
	if err := s.decode(v); err != nil {
		return s.fault, err
	}
	return s.fault, nil
}
