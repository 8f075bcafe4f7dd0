package topic_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/mqtt/topic"
)

func TestPattern(t *testing.T) {
	for _, tc := range []struct {
		pattern, filter string
		names           []string
		name            string
		captures        []string
	}{
		{"farm/{field}/moisture", "farm/+/moisture", []string{"field"}, "farm/3/moisture", []string{"3"}},
		{"farm/+/{what}", "farm/+/+", []string{"what"}, "farm/3/moisture", []string{"moisture"}},
		{"{site}/x/{rest...}", "+/x/#", []string{"site", "rest"}, "a/x/b/c", []string{"a", "b/c"}},
		{"{site}/x/{rest...}", "+/x/#", []string{"site", "rest"}, "a/x", []string{"a", ""}},
		{"{all...}", "#", []string{"all"}, "a/b", []string{"a/b"}},
		{"{a}/{b}/{c}", "+/+/+", []string{"a", "b", "c"}, "//", []string{"", "", ""}},
		{"plain/#", "plain/#", nil, "plain/1", nil},
	} {
		p, err := topic.ParsePattern(tc.pattern, topic.DefaultLimits)
		if err != nil {
			t.Errorf("ParsePattern(%q): %v", tc.pattern, err)
			continue
		}
		if p.Filter() != tc.filter || !slices.Equal(p.Names(), tc.names) || p.String() != tc.pattern {
			t.Errorf("%q: filter %q, names %q", tc.pattern, p.Filter(), p.Names())
		}
		if got := p.Captures(tc.name, nil); !slices.Equal(got, tc.captures) {
			t.Errorf("%q on %q captured %q, want %q", tc.pattern, tc.name, got, tc.captures)
		}
	}
}

func TestPatternErrors(t *testing.T) {
	for pattern, hint := range map[string]string{
		"":              "empty",
		"farm/{}/x":     "placeholder name",
		"farm/{3a}":     "placeholder name",
		"farm/{a b}":    "placeholder name",
		"farm/x{a}":     "whole level",
		"farm/{a":       "whole level",
		"farm/{a}/{a}":  "twice",
		"farm/{a...}/b": "last level",
		"farm/#/b":      "last level",
		"farm/a+":       "whole level",
	} {
		_, err := topic.ParsePattern(pattern, topic.DefaultLimits)
		if err == nil || !strings.Contains(err.Error(), hint) {
			t.Errorf("ParsePattern(%q) = %v, want an error with %q", pattern, err, hint)
		}
	}
}
