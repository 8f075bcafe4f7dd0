package function

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// ManifestName is the file that a project's functions are declared in.
const ManifestName = "headgate.yaml"

// MaxManifestBytes bounds a manifest.
const MaxManifestBytes = 1 << 20

// ReadManifest reads and checks the manifest at file.
func ReadManifest(file string) (*Manifest, error) {
	src, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no manifest at %s: run 'headgate new NAME' or name the project's folder", file)
	}
	if err != nil {
		return nil, fmt.Errorf("read manifest: %w", err)
	}
	return ParseManifest(file, src)
}

// ParseManifest decodes and checks a manifest; file is what faults call it.
// Every fault is in the error, each a Fault with its line.
func ParseManifest(file string, src []byte) (*Manifest, error) {
	if len(src) > MaxManifestBytes {
		return nil, fmt.Errorf("%s: %d bytes, more than the %d a manifest may have", file, len(src), MaxManifestBytes)
	}
	m := &Manifest{source: source{file: file, text: src}}
	if err := m.source.decode(m); err != nil {
		return nil, err
	}
	var zeros []error
	for name, s := range m.Functions {
		if s == nil {
			continue
		}
		s.Name = name
		zeros = append(zeros, m.writtenZeros(s)...)
		if s.OnFailure == (OnFailure{}) && m.source.lookup([]any{"functions", name, "on_failure"}) != nil {
			zeros = append(zeros, m.Fault("says nobody: name a function or a topic, or leave it out", "functions", name, "on_failure"))
		}
		s.Limits = s.Limits.WithDefaults()
		s.Retry = s.Retry.WithDefaults()
	}
	if err := errors.Join(append(zeros, m.Validate())...); err != nil {
		return nil, err
	}
	return m, nil
}

// writtenZeros refuses zeros that somebody wrote: filled in with the default
// they would mean the opposite of what they say.
func (m *Manifest) writtenZeros(s *Spec) (faults []error) {
	check := func(group string, values, defaults any) {
		v, d := reflect.ValueOf(values), reflect.ValueOf(defaults)
		for i := range v.NumField() {
			field := v.Type().Field(i).Tag.Get("yaml")
			if !v.Field(i).IsZero() || d.Field(i).IsZero() || m.source.lookup([]any{"functions", s.Name, group, field}) == nil {
				continue
			}
			faults = append(faults, m.Fault(fmt.Sprintf("0 is not a value: leave it out for the default, %v", d.Field(i)), "functions", s.Name, group, field))
		}
	}
	check("limits", s.Limits, DefaultLimits())
	check("retry", s.Retry, Retry{}.WithDefaults())
	return faults
}

// decode reads the source into v, strictly. An empty file leaves v alone.
func (s *source) decode(v any) (err error) {
	// The library panics on some malformed documents (found by fuzzing).
	defer func() {
		if p := recover(); p != nil {
			err = &Fault{File: s.file, Message: "is not well-formed YAML: check brackets, quotes and indentation"}
		}
	}()
	if line, column, ok := tooDeep(s.text); ok {
		return &Fault{File: s.file, Line: line, Column: column, Message: fmt.Sprintf("has more than %d brackets or dashes inside each other", maxDepth)}
	}
	tree, err := parser.ParseBytes(s.text, 0)
	if err != nil {
		return s.yamlFault(err, v)
	}
	s.tree = tree
	if len(tree.Docs) == 0 || tree.Docs[0].Body == nil {
		return nil // the library would write zeros over v
	}
	if err := s.unfolded(tree.Docs[0].Body); err != nil {
		return err
	}
	err = yaml.NewDecoder(bytes.NewReader(s.text), yaml.Strict()).Decode(v)
	if err != nil && !errors.Is(err, io.EOF) {
		return s.yamlFault(err, v)
	}
	return nil
}

// textNode is what the scalar types decode from: the node's own text, so that
// a fault knows its place.
func textNode(node ast.Node, unmarshal func([]byte) error) error {
	scalar, ok := node.(ast.ScalarNode)
	if !ok {
		return &yaml.SyntaxError{Message: "expected a single value here", Token: node.GetToken()}
	}
	if err := unmarshal([]byte(fmt.Sprint(scalar.GetValue()))); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: node.GetToken()}
	}
	return nil
}

// UnmarshalYAML decodes a size from a manifest or configuration.
func (b *ByteSize) UnmarshalYAML(node ast.Node) error { return textNode(node, b.UnmarshalText) }

// UnmarshalYAML decodes a count from a manifest or configuration.
func (c *Count) UnmarshalYAML(node ast.Node) error { return textNode(node, c.UnmarshalText) }

// UnmarshalYAML decodes a duration from a manifest or configuration.
func (d *Duration) UnmarshalYAML(node ast.Node) error { return textNode(node, d.UnmarshalText) }

// UnmarshalYAML decodes a rate from a manifest or configuration.
func (r *Rate) UnmarshalYAML(node ast.Node) error { return textNode(node, r.UnmarshalText) }
