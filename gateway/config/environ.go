package config

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
)

// EnvPrefix starts the names of environment overrides: the field path in upper
// case, its parts joined by two underscores, as in HEADGATE_STORE__DURABILITY.
const EnvPrefix = "HEADGATE_"

// reserved are variables with the prefix that are not fields.
var reserved = map[string]bool{
	"HEADGATE_CONFIG": true, "HEADGATE_HOST": true, "HEADGATE_TOKEN": true, "HEADGATE_FAULT": true,
	"HEADGATE_DEMO_SECONDS": true, "HEADGATE_REQUIRE_TOOLCHAINS": true, "HEADGATE_TINYGO": true, "HEADGATE_HOME": true,
}

// override sets fields from the environment and returns by which variable,
// keyed by dotted path. An empty variable is none.
func override(c *Config, environ []string) (map[string]string, error) {
	var faults []error
	set := map[string]string{}
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		path, ok := strings.CutPrefix(name, EnvPrefix)
		if !ok || reserved[name] || value == "" {
			continue
		}
		if err := setField(reflect.ValueOf(c).Elem(), strings.Split(strings.ToLower(path), "__"), value); err != nil {
			faults = append(faults, fmt.Errorf("environment variable %s: %w", name, err))
		}
		set[strings.ReplaceAll(strings.ToLower(path), "__", ".")] = name
	}
	return set, errors.Join(faults...)
}

func setField(v reflect.Value, path []string, value string) error {
	if v.Kind() != reflect.Struct {
		return errors.New("only single values can be set from the environment; use the configuration file")
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
	default:
		return errors.New("only single values can be set from the environment; use the configuration file")
	}
	return nil
}
