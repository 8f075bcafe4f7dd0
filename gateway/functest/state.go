package functest

import (
	"encoding/json"
	"slices"
	"strings"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
)

// state is a function's stored keys, in memory.
type state struct {
	own    string
	values map[string][]byte // "namespace\x00key"
}

var _ host.State = (*state)(nil)

func newState(own string, values map[string]any) (*state, error) {
	s := &state{own: own, values: map[string][]byte{}}
	for key, v := range values {
		b, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		ns, k := own, key
		// "other:key" is another function's, as in the host calls.
		if before, after, ok := strings.Cut(key, ":"); ok && function.ValidName(before) {
			ns, k = before, after
		}
		s.values[ns+"\x00"+k] = b
	}
	return s, nil
}

// Get returns a stored value.
func (s *state) Get(ns, key string) ([]byte, bool, error) {
	v, ok := s.values[ns+"\x00"+key]
	return v, ok, nil
}

// List returns stored keys in order.
func (s *state) List(ns, prefix, after string, limit int) (keys []string, more bool, err error) {
	for k := range s.values {
		key, ok := strings.CutPrefix(k, ns+"\x00")
		if ok && strings.HasPrefix(key, prefix) && key > after {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	if len(keys) > limit {
		return keys[:limit], true, nil
	}
	return keys, false, nil
}

// apply makes the writes of an invocation.
func (s *state) apply(writes []function.Write) {
	for _, w := range writes {
		key := w.Namespace + "\x00" + w.Key
		if w.Delete {
			delete(s.values, key)
		} else {
			s.values[key] = w.Value
		}
	}
}

// stored is everything there is, named as in a test.
func (s *state) stored() map[string]any {
	out := map[string]any{}
	for k, v := range s.values {
		ns, key, _ := strings.Cut(k, "\x00")
		if _, objects := function.ObjectSpaceBucket(ns); objects {
			continue
		}
		if ns != s.own {
			key = ns + ":" + key
		}
		out[key] = decode(v)
	}
	return out
}

// decode is JSON's value, or the text itself.
func decode(b []byte) any {
	var v any
	if json.Unmarshal(b, &v) == nil {
		return v
	}
	return string(b)
}
