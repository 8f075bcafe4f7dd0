package topic

import (
	"fmt"
	"slices"
	"strings"
)

// Pattern is a trigger's filter: an MQTT filter some of whose wildcards have
// names. In "farm/{field}/moisture" the level {field} matches as + does, and a
// last level {rest...} matches as # does. It is immutable.
type Pattern struct {
	text     string
	filter   string
	names    []string
	captures []capture
}

type capture struct {
	level int
	rest  bool // all further levels too
}

// ParsePattern compiles s under the limits l. The error says which level is
// wrong and what to write instead.
func ParsePattern(s string, l Limits) (*Pattern, error) {
	p := &Pattern{text: s}
	levels := strings.Split(s, "/")
	for i, level := range levels {
		name, rest, ok, err := placeholder(level)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w %s: level %d: %w", ErrInvalidPattern, quote(s), i+1, err)
		case !ok:
			continue
		case rest && i != len(levels)-1:
			return nil, fmt.Errorf("%w %s: {%s...} must be the last level", ErrInvalidPattern, quote(s), name)
		case slices.Contains(p.names, name):
			return nil, fmt.Errorf("%w %s: {%s} appears twice", ErrInvalidPattern, quote(s), name)
		}
		p.names = append(p.names, name)
		p.captures = append(p.captures, capture{level: i, rest: rest})
		levels[i] = "+"
		if rest {
			levels[i] = "#"
		}
	}
	p.filter = strings.Join(levels, "/")
	if err := l.CheckFilter(p.filter); err != nil {
		return nil, fmt.Errorf("%w %s: %w", ErrInvalidPattern, quote(s), err)
	}
	return p, nil
}

func placeholder(level string) (name string, rest, ok bool, err error) {
	if !strings.ContainsAny(level, "{}") {
		return "", false, false, nil
	}
	inner, opened := strings.CutPrefix(level, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed {
		return "", false, false, fmt.Errorf("a placeholder must be a whole level such as {field}, not %s", quote(level))
	}
	inner, rest = strings.CutSuffix(inner, "...")
	if !validName(inner) {
		return "", false, false, fmt.Errorf("placeholder name %s: want letters, digits and _, not starting with a digit", quote(inner))
	}
	return inner, rest, true, nil
}

func validName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c == '_' || (c|0x20 >= 'a' && c|0x20 <= 'z')
		if !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// String returns the pattern as it was written.
func (p *Pattern) String() string { return p.text }

// Filter returns the plain MQTT filter that matches what the pattern matches.
func (p *Pattern) Filter() string { return p.filter }

// Names returns the names of the captures in the order of their levels. The
// slice is shared: do not change it.
func (p *Pattern) Names() []string { return p.names }

// Captures appends the captured texts to dst, one for each of Names, for a
// name that Filter matches. They are substrings of name; a {rest...} without
// further levels is empty.
func (p *Pattern) Captures(name string, dst []string) []string {
	level := 0
	for _, c := range p.captures {
		for ; level < c.level; level++ {
			_, rest, ok := strings.Cut(name, "/")
			if !ok {
				rest = ""
			}
			name = rest
		}
		text := name
		if !c.rest {
			text, _, _ = strings.Cut(name, "/")
		}
		dst = append(dst, text)
	}
	return dst
}
