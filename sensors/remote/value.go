// Package remote has the sensors that other devices are: what they send over
// MQTT, and what they answer over HTTP.
package remote

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Selection says which value of a payload counts.
type Selection struct {
	// Field is where in a JSON payload the value is: soil.moisture, or
	// channels[2].value. Empty takes the whole payload.
	Field string `yaml:"field"`
	// Values are what words mean, such as {ON: 1, OFF: 0}. Without it true, on,
	// open, yes and 1 are 1, their opposites 0, in any case.
	Values map[string]float64 `yaml:"values"`
}

// maxPath bounds the steps of a field.
const maxPath = 16

func (s *Selection) validate(add func(string, ...any)) {
	if _, err := parsePath(s.Field); err != nil {
		add(err.Error(), "field")
	}
}

// step is a name or, where name is empty, an index.
type step struct {
	name  string
	index int
}

func parsePath(field string) ([]step, error) {
	var steps []step
	rest := strings.TrimPrefix(field, "$.")
	for rest != "" {
		var part string
		part, rest, _ = strings.Cut(rest, ".")
		name, indexes, indexed := strings.Cut(part, "[")
		switch {
		case part == "":
			return nil, fmt.Errorf("%q: there is nothing between two dots", field)
		case indexed && indexes == "":
			return nil, fmt.Errorf("%q: write it as soil.moisture or channels[2].value", field)
		}
		if name != "" {
			steps = append(steps, step{name: name})
		}
		for indexes != "" {
			number, more, ok := strings.Cut(indexes, "]")
			n, err := strconv.Atoi(number)
			if !ok || err != nil || n < 0 || more != "" && more[0] != '[' {
				return nil, fmt.Errorf("%q: write it as soil.moisture or channels[2].value", field)
			}
			steps, indexes = append(steps, step{index: n}), strings.TrimPrefix(more, "[")
		}
	}
	if len(steps) > maxPath {
		return nil, fmt.Errorf("%q has more than %d steps", field, maxPath)
	}
	return steps, nil
}

// value finds the value in a payload.
func (s *Selection) value(path []step, payload []byte) (float64, error) {
	var v any
	d := json.NewDecoder(strings.NewReader(string(payload)))
	switch err := d.Decode(&v); {
	case err == nil && !d.More():
	case len(path) > 0:
		return 0, fmt.Errorf("the payload %s is not JSON", shown(payload))
	default:
		v = strings.TrimSpace(string(payload))
	}
	for i, st := range path {
		var ok bool
		if st.name != "" {
			var m map[string]any
			if m, ok = v.(map[string]any); ok {
				v, ok = m[st.name]
			}
		} else {
			var l []any
			if l, ok = v.([]any); ok && st.index < len(l) {
				v = l[st.index]
			} else {
				ok = false
			}
		}
		if !ok {
			return 0, fmt.Errorf("the payload %s has no %s", shown(payload), pathText(path[:i+1]))
		}
	}
	n, err := s.number(v)
	if err != nil {
		return 0, fmt.Errorf("%w in the payload %s", err, shown(payload))
	}
	return n, nil
}

var words = map[string]float64{
	"true": 1, "on": 1, "open": 1, "yes": 1, "false": 0, "off": 0, "closed": 0, "no": 0,
}

// number makes a number of a JSON value or a word.
func (s *Selection) number(v any) (float64, error) {
	text, isText := v.(string)
	if b, ok := v.(bool); ok {
		text, isText = strconv.FormatBool(b), true
	}
	if n, ok := v.(float64); ok {
		if m, there := s.Values[strconv.FormatFloat(n, 'g', -1, 64)]; there {
			return m, nil
		}
		return n, nil
	}
	if !isText {
		if v == nil {
			return 0, errors.New("there is null, no value,")
		}
		return 0, errors.New("there is no number; name its field")
	}
	if n, ok := s.Values[text]; ok {
		return n, nil
	}
	if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
		return n, nil
	}
	if n, ok := words[strings.ToLower(text)]; ok && len(s.Values) == 0 {
		return n, nil
	}
	return 0, fmt.Errorf("%q is not a number; say in values what it means", cut(text))
}

func pathText(path []step) string {
	var b strings.Builder
	for _, st := range path {
		switch {
		case st.name == "":
			fmt.Fprintf(&b, "[%d]", st.index)
		case b.Len() > 0:
			b.WriteString("." + st.name)
		default:
			b.WriteString(st.name)
		}
	}
	return b.String()
}

// shown is a payload for an error: its beginning, if it is text.
func shown(b []byte) string {
	if !utf8.Valid(b) {
		return fmt.Sprintf("of %d bytes that are no text", len(b))
	}
	return strconv.Quote(cut(string(b)))
}

// cut shortens text for people.
func cut(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
