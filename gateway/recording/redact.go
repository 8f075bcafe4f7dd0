package recording

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Redact replaces the values at the named places by others of the same kind and
// length, so that a recording can be shown to people who may not see them.
// A place is a path of names: data.customer.name, state.readings/3,
// state.profile.email, output.token, objects (the bytes of those that were read); * is any name or index. It fails where a
// place names nothing.
func (r *Recording) Redact(places ...string) error {
	for _, place := range places {
		root, rest, _ := strings.Cut(place, ".")
		var n int
		switch root {
		case "data":
			n = redactBytes(&r.Data, rest)
		case "state":
			n = r.redactState(rest)
		case "objects":
			for i := range r.Answers.Blobs {
				n += redactBytes(&r.Answers.Blobs[i].Data, rest)
			}
		case "output":
			n = redactBytes(&r.Outcome.Output, rest)
		default:
			return fmt.Errorf("redact %s: a place starts with data, state, objects or output", place)
		}
		if n == 0 {
			return fmt.Errorf("redact %s: there is nothing of that name in the recording", place)
		}
		if !slices.Contains(r.Redacted, place) {
			r.Redacted = append(r.Redacted, place)
		}
	}
	return nil
}

// redactState takes key or key.path; what was written there is redacted as
// what was read.
func (r *Recording) redactState(place string) (n int) {
	each := func(key string, value *Bytes) {
		if key == place {
			n += redactBytes(value, "")
		} else if rest, ok := strings.CutPrefix(place, key+"."); ok {
			n += redactBytes(value, rest)
		}
	}
	for i := range r.Answers.State {
		each(r.Answers.State[i].Key, &r.Answers.State[i].Value)
	}
	for i := range r.Outcome.Writes {
		each(r.Outcome.Writes[i].Key, &r.Outcome.Writes[i].Value)
	}
	return n
}

// redactBytes replaces what path names in b and returns how many values that
// were; an empty path is all of it.
func redactBytes(b *Bytes, path string) int {
	if len(*b) == 0 {
		return 0
	}
	var v any
	if json.Unmarshal(*b, &v) != nil {
		if path != "" {
			return 0
		}
		*b = Bytes(strings.Repeat("x", len(*b)))
		return 1
	}
	var names []string
	if path != "" {
		names = strings.Split(path, ".")
	}
	n := 0
	v = redactValue(v, names, &n)
	if n == 0 {
		return 0
	}
	text, err := json.Marshal(v)
	if err != nil {
		return 0 // what was decoded can be encoded
	}
	*b = text
	return n
}

func redactValue(v any, names []string, n *int) any {
	if len(names) == 0 {
		*n++
		return masked(v)
	}
	switch at := v.(type) {
	case map[string]any:
		for k := range at {
			if names[0] == "*" || names[0] == k {
				at[k] = redactValue(at[k], names[1:], n)
			}
		}
	case []any:
		for i := range at {
			if names[0] == "*" || names[0] == fmt.Sprint(i) {
				at[i] = redactValue(at[i], names[1:], n)
			}
		}
	}
	return v
}

// masked is a value of the same kind that says nothing.
func masked(v any) any {
	switch v := v.(type) {
	case string:
		return strings.Repeat("x", len(v))
	case float64:
		return 0
	case bool:
		return false
	case map[string]any:
		for k := range v {
			v[k] = masked(v[k])
		}
		return v
	case []any:
		for i := range v {
			v[i] = masked(v[i])
		}
		return v
	}
	return v
}
