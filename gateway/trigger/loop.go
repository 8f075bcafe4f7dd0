package trigger

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
)

// Loop is a circle of functions that start each other, as far as can be told
// without their code: whatever each of them may publish, or put on queues, or
// may start, starts the next one, and no condition can end it.
type Loop struct {
	// Functions are in the order in which they start each other, the first
	// one last again.
	Functions []string
	// By is what the first of them does to start the next.
	By string
}

// String says what is wrong and what to do about it.
func (l Loop) String() string {
	return fmt.Sprintf("%s: %s starts it again, and no when can end that: the chain ends as a dead letter after 16 events; narrow the trigger, or give it a when",
		strings.Join(l.Functions, " → "), l.By)
}

// Loops finds the loops among functions, each once.
func Loops(specs map[string]*function.Spec) []Loop {
	names := slices.Sorted(maps.Keys(specs))
	var loops []Loop
	var walk func(path []string, by string)
	walk = func(path []string, by string) {
		last := specs[path[len(path)-1]]
		for _, next := range names {
			how := always(last, specs[next])
			switch {
			case how == "" || next < path[0]:
				continue // found from its first name
			case next == path[0]:
				if by == "" {
					by = how
				}
				loops = append(loops, Loop{append(slices.Clone(path), next), by})
			case !slices.Contains(path, next) && len(path) < maxLoop:
				first := by
				if first == "" {
					first = how
				}
				walk(append(slices.Clone(path), next), first)
			}
		}
	}
	for _, name := range names {
		walk([]string{name}, "")
	}
	return loops
}

// maxLoop bounds the circles that are looked for.
const maxLoop = 4

// always says by what f starts g, whatever f's code does with what it may do;
// empty where it need not.
func always(f, g *function.Spec) string {
	if len(f.Permissions.Publish) > 0 && all(f.Permissions.Publish, func(filter string) bool {
		return starts(g, func(t *function.Trigger) bool { return t.MQTT != "" && covers(plain(t.MQTT), filter) })
	}) {
		return "what it publishes"
	}
	if len(f.Permissions.Enqueue) > 0 && all(f.Permissions.Enqueue, func(queue string) bool {
		return starts(g, func(t *function.Trigger) bool { return t.Queue != "" && covers(plain(t.Queue), queue) })
	}) {
		return "what it puts on a queue"
	}
	if len(f.Permissions.Objects.Write) > 0 && all(f.Permissions.Objects.Write, func(entry string) bool {
		filter, _ := function.ObjectFilter(entry)
		return starts(g, func(t *function.Trigger) bool {
			return t.File != "" && t.FileChange() != function.ObjectDeleted && covers(plain(t.FilePattern()), filter)
		})
	}) {
		return "what it puts into a bucket"
	}
	if len(f.Permissions.Invoke) > 0 && all(f.Permissions.Invoke, func(name string) bool { return name == g.Name }) {
		return "the function that it starts"
	}
	return ""
}

func all(list []string, is func(string) bool) bool {
	return !slices.ContainsFunc(list, func(s string) bool { return !is(s) })
}

// starts reports whether some trigger without a condition is as asked for.
func starts(g *function.Spec, is func(*function.Trigger) bool) bool {
	for i := range g.Triggers {
		if t := &g.Triggers[i]; t.When == "" && is(t) {
			return true
		}
	}
	return false
}

// plain is a pattern without the names of its captures.
func plain(pattern string) string {
	levels := strings.Split(pattern, "/")
	for i, l := range levels {
		switch {
		case strings.HasSuffix(l, "...}"):
			levels[i] = "#"
		case strings.HasPrefix(l, "{"):
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// covers reports whether a filter matches all that another one does.
func covers(filter, other string) bool {
	a, b := strings.Split(filter, "/"), strings.Split(other, "/")
	for i, level := range a {
		switch {
		case level == "#":
			return true
		case i >= len(b) || b[i] == "#":
			return false
		case level != "+" && level != b[i]:
			return false
		}
	}
	return len(a) == len(b)
}
