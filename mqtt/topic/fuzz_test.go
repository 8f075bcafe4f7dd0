package topic_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/mqtt/topic"
)

// FuzzTopic holds the package to itself: what is accepted is valid, the tree
// agrees with Match, Covers never allows more than it says, and substitution
// never widens.
func FuzzTopic(f *testing.F) {
	for _, tc := range matches {
		f.Add(tc.filter, tc.name, "a/+")
	}
	f.Add("{client}/#", "$SYS/x", "#")
	f.Add("a/{field}/{rest...}", "a/b/c/d", "a/#")
	f.Fuzz(func(t *testing.T, filter, name, other string) {
		limits := topic.DefaultLimits
		if limits.CheckName(name) != nil {
			name = "a/b"
		}
		if topic.DefaultLimits.CheckFilter(filter) == nil {
			tree := topic.NewTree[int]()
			tree.Add(filter, 1)
			matched := topic.Match(filter, name)
			if n := len(tree.Match(name, nil)); (n == 1) != matched || n > 1 {
				t.Fatalf("filter %q, name %q: tree says %d, Match %v", filter, name, n, matched)
			}
			if limits.CheckFilter(other) == nil && topic.Covers(other, filter) && matched && !topic.Match(other, name) {
				t.Fatalf("%q is said to cover %q but does not match %q", other, filter, name)
			}
			if tree.Remove(filter, func(int) bool { return true }); len(tree.Match(name, nil)) != 0 {
				t.Fatalf("filter %q stays after its removal", filter)
			}
		}
		if p, err := topic.ParsePattern(filter, limits); err == nil && topic.Match(p.Filter(), name) {
			if got := p.Captures(name, nil); len(got) != len(p.Names()) {
				t.Fatalf("pattern %q on %q: %d captures for %d names", p, name, len(got), len(p.Names()))
			}
		}
		const acl = "dev/{client}/out"
		if s, ok := topic.Substitute(acl, name, "u"); ok && (strings.Count(s, "/") != 2 || strings.ContainsAny(s, "+#")) {
			t.Fatalf("client %q widens the ACL to %q", name, s)
		}
	})
}
