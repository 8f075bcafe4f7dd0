package main

import (
	"strings"
	"testing"
)

func TestMeet(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"farm/3/#", "farm/{field}/moisture", "farm/3/moisture"},
		{"farm/{field}/moisture", "farm/3/#", "farm/3/moisture"},
		{"farm/+/moisture", "farm/{field}/moisture", "farm/1/moisture"},
		{"#", "a/{b}/c", "a/1/c"},
		{"#", "#", "1"},
		{"a/#", "#", "a/1"},
		{"a/b", "a/+", "a/b"},
		{"a/b", "a/c", ""},
		{"a/b", "a/b/c", ""},
		{"a/b/c", "a/{x}", ""},
		{"a/#", "b/#", ""},
	} {
		got, ok := meet(strings.Split(c.a, "/"), strings.Split(c.b, "/"))
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("meet %s, %s: %q, %v; want %q", c.a, c.b, got, ok, c.want)
		}
	}
}
