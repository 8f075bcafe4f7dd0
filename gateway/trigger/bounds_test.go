package trigger

import (
	"errors"
	"strings"
	"testing"
)

// TestConditionBounds evaluates what would hold up whoever publishes, and
// everybody with them: on the way of a message there is no fuel.
func TestConditionBounds(t *testing.T) {
	list := make([]any, 20_000)
	for i := range list {
		list[i] = float64(i)
	}
	long := strings.Repeat("a", 400_000)
	data := map[string]any{"list": list, "long": long, "few": list[:100], "words": []any{"a", "b", "c"}, "n": 3.0}
	for _, c := range []struct {
		when   string
		refuse string // at deploy
		ends   bool   // for its cost
		want   bool
	}{
		{when: `any(data.list, any(data.list, # == -1))`, ends: true},
		{when: `count(data.list, # in data.list) > 0`, ends: true},
		{when: `any(data.list, data.long contains "b")`, ends: true},
		{when: `any(data.list, data.long matches "b")`, ends: true},
		{when: `any(data.list, upper(data.long) == "b")`, ends: true},
		{when: `any(data.list, data.long == data.long + "b")`, ends: true},
		{when: `any(data.list, string(data) == "b")`, ends: true},
		{when: `any(data.list, data == config)`, ends: true},
		{when: `count(1..1000, count(1..1000, # > 0) > 0) > 0`, ends: true},
		{when: `len(` + strings.Repeat("data.long + ", 90) + `"") > 0`, ends: true},
		{when: `len(reduce(1..40, #acc + #acc, "ab")) > 0`, refuse: "reduce is not part of conditions"},
		{when: `let a = data.long + data.long; a == ""`, refuse: "let is not part"},
		{when: `len(repeat(data.long, 1000)) > 0`, refuse: "repeat is not part"},
		{when: `toJSON(map(data.list, data)) == ""`, refuse: "is not part"},
		{when: `any(data.list, string($env) == "")`, refuse: "$env is not part"},
		{when: `data.long matches data.long`, refuse: "not one that a message brings"},
		{when: strings.Repeat("data.n == 3 && ", 400) + "true", refuse: "bytes, more than"},
		{when: strings.Repeat("!", 600) + "retained", refuse: "nodes"},

		{when: `any(data.list, # == 19999)`, want: true},
		{when: `all(data.list, # >= 0 && # < 20000) && len(data.long) > 1000`, want: true},
		{when: `any(data.few, # in data.few)`, want: true},
		{when: `count(data.few, any(data.few, # == 3)) == 100`, want: true},
		{when: `any(data.words, # startsWith "c") && "b" in data.words && data.n + 1 == 4`, want: true},
		{when: `any(data.words, lower(#) matches config.pattern)`, want: true},
		{when: `len(filter(data.list, # > 10 and # < 12)) == 1`, want: true},
		{when: `data.long contains "b" || data.long matches "^a+$"`, want: true},
		{when: `sum(data.few) == 4950 && max(data.few) == 99`, want: true},
	} {
		cond, err := compileCondition(c.when)
		if c.refuse != "" {
			if err == nil || !strings.Contains(err.Error(), c.refuse) {
				t.Errorf("%.60s: %v, want %q", c.when, err, c.refuse)
			}
			continue
		}
		if err != nil {
			t.Errorf("%.60s: %v", c.when, err)
			continue
		}
		ma := NewTable().matchers.New().(*matcher)
		for range 2 { // what one evaluation has spent is not the next one's
			got, err := cond.holds(ma.vm, &env{Data: data, Config: map[string]any{"pattern": "^[a-c]$"}})
			if got != c.want || errors.Is(err, errSteps) != c.ends || err != nil && !c.ends {
				t.Errorf("%.60s: %v, %v", c.when, got, err)
			}
		}
	}
}
