package trigger

import (
	"maps"
	"slices"

	"github.com/headgate-io/headgate/function"
)

// Order sorts the functions of a project so that those to which one hands work
// come before it: a message for a queue that nobody takes from yet fails. In a
// circle somebody has to be first; else it is by name.
func Order(specs map[string]*function.Spec) []string {
	names := slices.Sorted(maps.Keys(specs))
	order := make([]string, 0, len(names))
	seen := make(map[string]bool, len(names))
	var visit func(name string)
	visit = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, next := range names {
			if handsTo(specs[name], specs[next]) {
				visit(next)
			}
		}
		order = append(order, name)
	}
	for _, name := range names {
		visit(name)
	}
	return order
}

// handsTo reports whether f may put messages on a queue that g takes from, or
// start g by its name.
func handsTo(f, g *function.Spec) bool {
	if f.OnFailure.Function == g.Name || slices.Contains(f.Permissions.Invoke, g.Name) {
		return true
	}
	return slices.ContainsFunc(f.Permissions.Enqueue, func(queue string) bool {
		return slices.ContainsFunc(g.Triggers, func(t function.Trigger) bool {
			return t.Queue != "" && (covers(plain(t.Queue), queue) || covers(queue, plain(t.Queue)))
		})
	})
}
