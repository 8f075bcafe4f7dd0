package setup

import (
	"cmp"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"

	"github.com/goccy/go-yaml"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/config"
)

const configHeader = "# Made from the setup file on the boot partition; put another one there to change it.\n"

// adminListen is where the admin API is when only a token was given.
const adminListen = ":7070"

// config is the gateway's configuration that follows from the file: what its
// section gateway says, and beside that what the other sections need.
func (b *Board) config(f *File, where at) ([]byte, error) {
	c := maps.Clone(f.Gateway)
	if c == nil {
		c = map[string]any{}
	}
	c["state_dir"] = b.StateDir()
	if len(f.Devices) > 0 {
		section(c, "mqtt", "listeners", []any{map[string]any{"name": "field", "network": "tcp", "address": ":1883"}})
	}
	if f.Admin.Token != "" {
		section(c, "admin", "listen", cmp.Or(f.Admin.Listen, adminListen))
		section(c, "admin", "tls", map[string]any{"certificate": b.certificateFile(), "key": b.keyFile()})
	}
	raw, err := yaml.Marshal(c)
	if err != nil {
		return nil, err
	}
	raw = append([]byte(configHeader), raw...)
	return raw, b.try(raw, where)
}

// section sets a field of a section where the person did not.
func section(c map[string]any, name, field string, value any) {
	s, ok := c[name].(map[string]any)
	if !ok {
		if c[name] != nil {
			return // nonsense, which the configuration's own check names
		}
		s = map[string]any{}
	}
	s = maps.Clone(s)
	if _, there := s[field]; !there {
		s[field] = value
	}
	c[name] = s
}

// try has the gateway's own rules look at a configuration, and says their
// faults in terms of the setup file.
func (b *Board) try(raw []byte, where at) (err error) {
	f, err := os.CreateTemp(b.SystemDir(), "try-*.yaml")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.Remove(f.Name())) }()
	_, err = f.Write(raw)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	_, err = config.Load(config.Default(), f.Name(), true, nil)
	if err == nil || where == nil {
		return err
	}
	return relocate(err, where)
}

// relocate moves faults of the configuration into the section gateway.
func relocate(err error, where at) error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range many.Unwrap() {
			all = append(all, relocate(e, where))
		}
		return errors.Join(all...)
	}
	var fault *function.Fault
	if !errors.As(err, &fault) {
		return where(err.Error(), "gateway")
	}
	return where(fault.Message, append([]any{"gateway"}, path(fault.Field)...)...)
}

var step = regexp.MustCompile(`[^.\[\]]+`)

// path takes a field's path apart, as in mqtt.listeners[0].address.
func path(field string) (out []any) {
	for _, s := range step.FindAllString(field, -1) {
		if n, err := strconv.Atoi(s); err == nil {
			out = append(out, n)
			continue
		}
		out = append(out, s)
	}
	return out
}

func (b *Board) tlsDir() string          { return filepath.Join(b.Home, "tls") }
func (b *Board) certificateFile() string { return filepath.Join(b.tlsDir(), "admin.crt") }
func (b *Board) keyFile() string         { return filepath.Join(b.tlsDir(), "admin.key") }
