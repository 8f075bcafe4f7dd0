package functest

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
)

// TestDiffIsRight: of any two short lists, the lines that are not added are
// what was wanted, those that are not missing are what was got, and as many as
// can be are the same.
func TestDiffIsRight(t *testing.T) {
	words := []string{""}
	for from := 0; len(words[len(words)-1]) < 4; from++ {
		for _, c := range "ab" {
			words = append(words, words[from]+string(c))
		}
	}
	for _, want := range words {
		for _, got := range words {
			s := sides{
				len(want), len(got), func(i, j int) bool { return want[i] == got[j] },
				func(i int) string { return want[i : i+1] }, func(j int) string { return got[j : j+1] },
			}
			lines := s.diff()
			if (lines == nil) != (want == got) {
				t.Fatalf("%q and %q: %q", want, got, lines)
			}
			if lines == nil {
				continue
			}
			var before, after strings.Builder
			for _, l := range lines {
				if l[0] != '+' {
					before.WriteString(l[2:])
				}
				if l[0] != '-' {
					after.WriteString(l[2:])
				}
			}
			if before.String() != want || after.String() != got {
				t.Fatalf("%q and %q: %q", want, got, lines)
			}
			if n := len(want) + len(got) - len(lines); n != common(want, got) {
				t.Fatalf("%q and %q share %d letters in order, not %d: %q", want, got, common(want, got), n, lines)
			}
		}
	}
}

func common(a, b string) int {
	switch {
	case a == "" || b == "":
		return 0
	case a[0] == b[0]:
		return 1 + common(a[1:], b[1:])
	}
	return max(common(a[1:], b), common(a, b[1:]))
}

// A report shows what differs, with some of what does not.
func TestReportsShowADiff(t *testing.T) {
	text := func(s string) *string { return &s }
	qos := 1
	effects := &function.Effects{
		Publishes: []function.Publish{{Topic: "a", Payload: []byte(`{"on":true}`), QoS: 1}, {Topic: "b", Payload: []byte("x")}, {Topic: "d"}},
		Enqueues:  []function.Enqueue{{Queue: "jobs", Payload: []byte("1")}},
	}
	publishes := []Publish{{Topic: "a", Data: map[string]any{"on": true}, QoS: &qos}, {Topic: "c"}, {Topic: "b", Text: text("x")}, {Topic: "d", Text: text("y")}}
	r := &Report{Case: &Case{Expect: Expect{Publish: &publishes, Enqueue: &[]Enqueue{{Queue: "jobs", Data: 1}}, Invoke: &[]Invoke{{Function: "f"}}}}}
	r.judgeEffects(effects)
	want := "publish: - is expected, + is what it did\n" +
		`  a {"on":true} qos 1` + "\n- c\n" + `  b "x" qos 0` + "\n" + `- d "y"` + "\n+ d qos 0\n" +
		"invoke: - is expected, + is what it did\n- f"
	if got := strings.Join(r.Faults, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}

	r = &Report{}
	r.compare("output", 1, 2)
	long := func(n int) map[string]any {
		m := map[string]any{}
		for _, k := range strings.Split("abcdefghijklmnopqrstuvwxyz", "") {
			m[k] = "value"
		}
		m["k"] = n
		return m
	}
	r.compare("state", long(1), long(2))
	r.compare("state", long(1), long(1))
	want = "output: want 1, got 2\nstate: - is expected, + is what it did\n  …\n" +
		`    "h": "value"` + "\n" + `    "i": "value"` + "\n" + `    "j": "value"` + "\n" +
		`-   "k": 1` + "\n" + `+   "k": 2` + "\n" +
		`    "l": "value"` + "\n" + `    "m": "value"` + "\n" + `    "n": "value"` + "\n  …"
	if got := strings.Join(r.Faults, "\n"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
