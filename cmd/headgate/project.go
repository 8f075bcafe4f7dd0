package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
	"github.com/headgate-io/headgate/gateway/timer"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/gateway/web"
	"github.com/headgate-io/headgate/sdk/build"
)

// project is a folder with a manifest and the sources of its functions.
type project struct {
	dir      string
	manifest *function.Manifest
}

// openProject reads the manifest in dir and checks all of it that can be
// checked without building.
func openProject(dir string) (*project, error) {
	m, err := function.ReadManifest(filepath.Join(dir, function.ManifestName))
	if err != nil {
		return nil, err
	}
	var faults []error
	var specs []*function.Spec
	for _, name := range slices.Sorted(maps.Keys(m.Functions)) {
		faults = append(faults, checkSpec(m, m.Functions[name]))
		specs = append(specs, m.Functions[name])
	}
	for _, c := range web.Conflicts(specs) {
		faults = append(faults, m.Fault(strings.TrimPrefix(c.Err.Error(), "http: "), "functions", c.Function, "triggers", c.Trigger, "http"))
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &project{dir: dir, manifest: m}, nil
}

// checkSpec compiles triggers and permissions, and gives each fault its line.
func checkSpec(m *function.Manifest, s *function.Spec) error {
	var faults []error
	_, timers := timer.Of(s)
	triggers := trigger.Check(trigger.Function{Name: s.Name, Config: s.Config, Triggers: s.Triggers})
	for _, err := range append(unjoin(triggers), unjoin(timers)...) {
		var field *trigger.FieldError
		if errors.As(err, &field) {
			err = m.Fault(field.Err.Error(), "functions", s.Name, "triggers", field.Trigger, field.Field)
		}
		faults = append(faults, err)
	}
	for _, err := range unjoin(grant.Check(s)) {
		var field *grant.FieldError
		if errors.As(err, &field) {
			err = m.Fault(field.Err.Error(), append([]any{"functions", s.Name}, field.Path...)...)
		}
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

// unjoin takes joined errors apart.
func unjoin(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// names are the functions to work on: those asked for, or all.
func (p *project) names(only []string) ([]string, error) {
	all := slices.Sorted(maps.Keys(p.manifest.Functions))
	for _, n := range only {
		if !slices.Contains(all, n) {
			return nil, usageError{fmt.Errorf("--only %s: the manifest has %s", n, strings.Join(all, ", "))}
		}
	}
	if len(only) > 0 {
		return only, nil
	}
	return all, nil
}

// build makes what is deployed: the spec, whose main names the built file, and
// the files.
func (p *project) build(ctx context.Context, name string) (function.Spec, map[string][]byte, error) {
	spec := *p.manifest.Functions[name]
	out, err := build.Build(ctx, build.Request{Dir: p.dir, Main: spec.Main, Compiler: spec.Compiler, Command: spec.Build})
	if err != nil {
		return spec, nil, p.manifest.Fault(err.Error(), "functions", name, "main")
	}
	spec.Source, spec.Main, spec.Build = spec.Main, out.Main, ""
	return spec, out.Files, nil
}
