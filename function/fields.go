package function

import (
	"reflect"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// fieldsAt are the fields that v has where a key of the source stands.
func (s *source) fieldsAt(key *token.Token, v any) []string {
	if s.tree == nil || key == nil || key.Position == nil {
		return nil
	}
	return fieldsBeside(s.tree.Docs[0].Body, reflect.TypeOf(v), key.Position)
}

// fieldsBeside looks for the key in a node, which is decoded into a type.
func fieldsBeside(node ast.Node, t reflect.Type, key *token.Position) (names []string) {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch node := node.(type) {
	case ast.MapNode:
		for it := node.MapRange(); it.Next(); {
			if at := it.Key().GetToken().Position; at.Line == key.Line && at.Column == key.Column {
				return fieldNames(t)
			}
			if inner := inside(t, it.Key().GetToken().Value); inner != nil {
				names = append(names, fieldsBeside(it.Value(), inner, key)...)
			}
		}
	case *ast.SequenceNode:
		if t.Kind() != reflect.Slice {
			return nil
		}
		for _, value := range node.Values {
			names = append(names, fieldsBeside(value, t.Elem(), key)...)
		}
	}
	return names
}

// inside is the type of what a mapping has under a name; nil is nothing.
func inside(t reflect.Type, name string) reflect.Type {
	if t.Kind() == reflect.Map {
		return t.Elem()
	}
	for _, f := range fields(t) {
		if fieldName(f) == name {
			return f.Type
		}
	}
	return nil
}

func fieldNames(t reflect.Type) (names []string) {
	for _, f := range fields(t) {
		names = append(names, fieldName(f))
	}
	return names
}

// fields are those of a struct that a file may have, with those of its parts that
// are written in line.
func fields(t reflect.Type) (list []reflect.StructField) {
	if t.Kind() != reflect.Struct {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		switch name, options, _ := strings.Cut(f.Tag.Get("yaml"), ","); {
		case options == "inline":
			list = append(list, fields(f.Type)...)
		case name != "" && name != "-":
			list = append(list, f)
		}
	}
	return list
}

// fieldName is what a file calls a field.
func fieldName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}
