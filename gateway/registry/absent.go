package registry

import (
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
)

// Absent are the functions that wait for sensors, or are to move actuators, that
// the gateway does not have: each with what it names, as "sensor soil-1". They
// run; what they name may be a slip of the pen.
func (r *Registry) Absent() map[string][]string {
	r.mu.Lock()
	specs := make([]function.Spec, 0, len(r.live))
	for _, d := range r.live {
		specs = append(specs, d.spec)
	}
	r.mu.Unlock()
	out := map[string][]string{}
	for i := range specs {
		if names := r.absent(&specs[i]); len(names) > 0 {
			out[specs[i].Name] = names
		}
	}
	return out
}

// absent is what a function names of the gateway's equipment that there is not.
// Of permissions only whole names count: a pattern may be for what comes later.
func (r *Registry) absent(s *function.Spec) (names []string) {
	if r.deps.Equipment == nil {
		return nil
	}
	sensors, actuators := r.deps.Equipment()
	look := func(kind, pattern string, have []string) {
		name := kind + " " + pattern
		there := slices.ContainsFunc(have, func(n string) bool { return function.MatchName(pattern, n) })
		if !there && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for i := range s.Triggers {
		if p := s.Triggers[i].Sensor; p != "" {
			look("sensor", p, sensors)
		}
	}
	whole := func(kind string, patterns, have []string) {
		for _, p := range patterns {
			if !strings.Contains(p, "*") {
				look(kind, p, have)
			}
		}
	}
	whole("sensor", s.Permissions.Sensors, sensors)
	whole("actuator", s.Permissions.Actuators, actuators)
	return names
}
