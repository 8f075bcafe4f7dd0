// Package environ lets environment variables stand over what a configuration
// file says.
package environ

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// Override sets fields of the struct that c points at from the variables whose
// name begins with prefix: then comes the field path by its yaml names in upper
// case, its parts joined by two underscores, as in STORE__DURABILITY. It returns
// by which variable, keyed by dotted path. An empty variable is none, and so is
// one that skip knows. A list of words is written with commas.
func Override(c any, prefix string, skip func(name string) bool, environ []string) (map[string]string, error) {
	var faults []error
	set := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		path, ok := strings.CutPrefix(name, prefix)
		if !ok || skip(name) || value == "" {
			continue
		}
		if err := setField(reflect.ValueOf(c).Elem(), strings.Split(strings.ToLower(path), "__"), value); err != nil {
			faults = append(faults, fmt.Errorf("environment variable %s: %w", name, err))
		}
		set[strings.ReplaceAll(strings.ToLower(path), "__", ".")] = name
	}
	return set, errors.Join(faults...)
}

var errOneValue = errors.New("only single values and lists of words can be set from the environment; use the configuration file")

func setField(v reflect.Value, path []string, value string) error {
	if v.Kind() != reflect.Struct {
		return errOneValue
	}
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") != path[0] {
			continue
		}
		if len(path) > 1 {
			return setField(v.Field(i), path[1:], value)
		}
		return setValue(v.Field(i), value)
	}
	return fmt.Errorf("there is no setting %q", path[0])
}

func setValue(field reflect.Value, value string) error {
	if u, ok := field.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return u.UnmarshalText([]byte(value))
	}
	switch field.Kind() {
	case reflect.String:
		field.SetString(value)
	case reflect.Bool:
		b, err := strconv.ParseBool(value)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		field.SetBool(b)
	case reflect.Int:
		n, err := strconv.Atoi(value)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", value)
		}
		field.SetInt(int64(n))
	case reflect.Slice:
		if field.Type().Elem().Kind() != reflect.String {
			return errOneValue
		}
		field.Set(reflect.ValueOf(strings.Split(value, ",")).Convert(field.Type()))
	default:
		return errOneValue
	}
	return nil
}
