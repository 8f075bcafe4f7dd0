// Package label chooses gateways by their labels.
package label

import (
	"fmt"
	"slices"
	"strings"
)

// MaxSelector bounds the text of a selector, in bytes.
const MaxSelector = 1024

// Selector is a list of conditions that all must hold. The zero value holds for
// everything.
type Selector []condition

type condition struct {
	key, value string
	any        bool // of the value: the key must be there, or with not must not
	not        bool
}

// Parse reads conditions with commas between them: key=value, key!=value, key
// (it is there) and !key (it is not). A key that is not there is unequal to
// every value.
func Parse(s string) (Selector, error) {
	if len(s) > MaxSelector {
		return nil, fmt.Errorf("selector: longer than %d bytes", MaxSelector)
	}
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	var out Selector
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		var c condition
		key, value, equal := strings.Cut(part, "=")
		c.key, c.value, c.any = key, value, !equal
		if before, ok := strings.CutSuffix(key, "!"); ok && equal {
			c.key, c.not = before, true
		}
		if after, ok := strings.CutPrefix(c.key, "!"); ok && !equal {
			c.key, c.not = after, true
		}
		if c.key == "" || strings.ContainsAny(c.key, "!= ") || strings.ContainsAny(c.value, "!= ") {
			return nil, fmt.Errorf("selector: %q: want key=value, key!=value, key or !key, with commas between them", part)
		}
		out = append(out, c)
	}
	return out, nil
}

// String is the selector in one spelling: two with the same conditions have the
// same, whatever the order and the spaces they were written with.
func (s Selector) String() string {
	parts := make([]string, 0, len(s))
	for _, c := range s {
		text := c.key
		switch {
		case c.any && c.not:
			text = "!" + c.key
		case c.any:
		case c.not:
			text += "!=" + c.value
		default:
			text += "=" + c.value
		}
		parts = append(parts, text)
	}
	slices.Sort(parts)
	return strings.Join(slices.Compact(parts), ",")
}

// Keys are the labels that it asks for.
func (s Selector) Keys() (keys []string) {
	for _, c := range s {
		if !slices.Contains(keys, c.key) {
			keys = append(keys, c.key)
		}
	}
	return keys
}

// Match reports whether all conditions hold for these labels.
func (s Selector) Match(labels map[string]string) bool {
	for _, c := range s {
		value, there := labels[c.key]
		holds := there && (c.any || value == c.value)
		if holds == c.not {
			return false
		}
	}
	return true
}
