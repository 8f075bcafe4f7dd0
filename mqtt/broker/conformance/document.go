package conformance

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

const preamble = `# Conformance

Every normative statement of MQTT 3.1.1 and 5.0 that concerns a server, and the tests that show it against a live broker
over TCP, or why none does. The statements are paraphrased; their numbers are those of the OASIS documents. The tests are
those of ` + "`mqtt/broker`" + `: ` + "`go test ./mqtt/broker -run 'NAME'`" + ` runs one.

This page is the record of a run of these tests (` + "`make conformance`" + ` writes it). Every whole run of them compares its own
record with this page and fails where they differ, and where a statement has neither a test nor a reason.

`

// Document renders the record: the same for the same declarations, in whatever
// order they were made.
func (r *Record) Document() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	b.WriteString(preamble)
	for _, v := range []Version{V3, V5} {
		b.WriteString(r.summary(v))
	}
	for _, v := range []Version{V3, V5} {
		r.table(&b, v)
	}
	return b.String()
}

func (r *Record) summary(v Version) string {
	var server, shown, extra int
	why := map[string]int{}
	for _, s := range r.statements[v] {
		tested := len(r.shown[v][s.ID]) > 0
		switch {
		case !s.OfServer() && tested:
			extra++
		case s.OfServer():
			server++
			if tested {
				shown++
			}
			if s.Why != "" {
				why[s.reason()]++
			}
		}
	}
	line := fmt.Sprintf("**MQTT %s**: %d statements, %d of them on servers.\n\n- shown by tests: %d\n", v, len(r.statements[v]), server, shown)
	for _, reason := range reasons {
		if n := why[reason.kind]; n > 0 {
			line += fmt.Sprintf("- %s: %d\n", reason.meaning, n)
		}
	}
	return line + fmt.Sprintf("- on clients alone: %d; for %d of these tests show what the broker does with a client that breaks them\n\n",
		len(r.statements[v])-server, extra)
}

func (r *Record) table(b *strings.Builder, v Version) {
	fmt.Fprintf(b, "## MQTT %s\n\n| statement | what it asks | shown by, or why not |\n|---|---|---|\n", v)
	var clients []string
	for _, s := range r.statements[v] {
		tests := r.shown[v][s.ID]
		if !s.OfServer() && len(tests) == 0 {
			clients = append(clients, strings.TrimPrefix(s.ID, "MQTT-"))
			continue
		}
		fmt.Fprintf(b, "| %s | %s | %s |\n", s.ID, s.Text, r.evidence(&s, tests))
	}
	fmt.Fprintf(b, "\nStatements on clients alone: %s.\n\n", strings.Join(clients, ", "))
}

func (r *Record) evidence(s *Statement, tests []string) string {
	tests = slices.Sorted(slices.Values(tests))
	for i, name := range tests {
		tests[i] = "`" + name + "`"
	}
	if s.Why != "" {
		tests = append(tests, "*"+s.Why+"*")
	}
	return strings.Join(tests, "<br>")
}

var testName = regexp.MustCompile("`((?:Test|Fuzz)[^`/]*)[^`]*`")

// Tests returns the functions that a document names as tests.
func Tests(document string) []string {
	var names []string
	for _, m := range testName.FindAllStringSubmatch(document, -1) {
		names = append(names, m[1])
	}
	slices.Sort(names)
	return slices.Compact(names)
}
