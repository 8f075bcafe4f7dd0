// Package conformance knows the normative statements of MQTT 3.1.1 and 5.0, and
// keeps the record of the tests that show them. The tests of mqtt/broker declare
// what they have shown, after they have checked it against a live broker; the
// record of a whole run is docs/CONFORMANCE.md, and a run whose record differs
// from it fails. Nothing of this is part of the broker.
package conformance

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Version is a protocol version as CONNECT has it.
type Version byte

// The versions that the broker speaks.
const (
	V3 Version = 4 // 3.1.1
	V5 Version = 5
)

// String returns the name of the version.
func (v Version) String() string {
	if v == V3 {
		return "3.1.1"
	}
	return "5.0"
}

// Statement is one normative statement.
type Statement struct {
	ID string
	// Who is server, client or both.
	Who string
	// Text is the statement in our own words.
	Text string
	// Why says why no test shows it, or what to know about it. It begins with
	// one of Reasons; the rest follows a colon.
	Why string
}

// OfServer reports whether the statement concerns a server.
func (s *Statement) OfServer() bool { return s.Who != "client" }

// reason is the beginning of Why.
func (s *Statement) reason() string {
	kind, _, _ := strings.Cut(s.Why, ":")
	return kind
}

// Departs is the reason that stands beside a test, not in its place: the broker
// keeps the statement but for the case that Why names.
const Departs = "departs"

// reasons are what Why may begin with, and what it means in the summary.
var reasons = []struct{ kind, meaning string }{
	{"not offered", "not shown, as they belong to an optional feature that the broker does not offer"},
	{"does not arise", "not shown, as they are for servers that lack what this one has, or do what it does not"},
	{Departs, "of those that are shown, departed from on purpose in one case that the table names"},
}

//go:embed statements_v3.txt statements_v5.txt
var files embed.FS

// Statements returns those of a version in the order of the specification.
func Statements(v Version) ([]Statement, error) {
	name := "statements_v5.txt"
	if v == V3 {
		name = "statements_v3.txt"
	}
	b, err := files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	return parse(name, string(b))
}

var idForm = regexp.MustCompile(`^MQTT-(\d+)\.(\d+)\.(\d+)-(\d+)$`)

func parse(name, text string) ([]Statement, error) {
	var all []Statement
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Split(line, " | ")
		if len(fields) < 3 || len(fields) > 4 {
			return nil, fmt.Errorf("%s:%d: want id | who | text | why, found %d fields", name, i+1, len(fields))
		}
		s := Statement{ID: fields[0], Who: fields[1], Text: fields[2]}
		if len(fields) == 4 {
			s.Why = fields[3]
		}
		if err := s.check(); err != nil {
			return nil, fmt.Errorf("%s:%d: %s: %w", name, i+1, s.ID, err)
		}
		if n := len(all); n > 0 && compareIDs(all[n-1].ID, s.ID) >= 0 {
			return nil, fmt.Errorf("%s:%d: %s after %s", name, i+1, s.ID, all[n-1].ID)
		}
		all = append(all, s)
	}
	return all, nil
}

func (s *Statement) check() error {
	switch {
	case !idForm.MatchString(s.ID):
		return errors.New("not of the form MQTT-1.2.3-4")
	case s.Who != "server" && s.Who != "client" && s.Who != "both":
		return fmt.Errorf("concerns %q, want server, client or both", s.Who)
	case s.Text == "":
		return errors.New("without text")
	case s.Why != "" && !slices.ContainsFunc(reasons, func(r struct{ kind, meaning string }) bool { return r.kind == s.reason() }):
		return fmt.Errorf("reason %q is none of those that count", s.reason())
	}
	return nil
}

// compareIDs orders ids by their numbers.
func compareIDs(a, b string) int {
	x, y := idForm.FindStringSubmatch(a), idForm.FindStringSubmatch(b)
	for i := 1; i < min(len(x), len(y)); i++ {
		m, _ := strconv.Atoi(x[i]) // the form says that they are numbers
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return cmp.Compare(m, n)
		}
	}
	return 0
}

// Record collects what tests have shown. Its methods may be called from any
// goroutine.
type Record struct {
	statements map[Version][]Statement

	mu    sync.Mutex
	shown map[Version]map[string][]string // tests by id
}

// NewRecord returns an empty one.
func NewRecord() (*Record, error) {
	r := &Record{statements: map[Version][]Statement{}, shown: map[Version]map[string][]string{V3: {}, V5: {}}}
	for _, v := range []Version{V3, V5} {
		all, err := Statements(v)
		if err != nil {
			return nil, err
		}
		r.statements[v] = all
	}
	return r, nil
}

// Shows notes that t has shown these statements, given as "3.1.2-5". Call it
// after the checks: what a failed test says does not count. An id that does not
// exist fails the test.
func (r *Record) Shows(t testing.TB, v Version, ids ...string) {
	t.Helper()
	if t.Failed() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range ids {
		id = "MQTT-" + id
		if !slices.ContainsFunc(r.statements[v], func(s Statement) bool { return s.ID == id }) {
			t.Errorf("MQTT %s has no statement %s", v, id)
			continue
		}
		if !slices.Contains(r.shown[v][id], t.Name()) {
			r.shown[v][id] = append(r.shown[v][id], t.Name())
		}
	}
}

// Missing returns the statements on servers that have neither a test nor a
// reason, and those whose reason a test belies.
func (r *Record) Missing() (faults []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range []Version{V3, V5} {
		for _, s := range r.statements[v] {
			tests := len(r.shown[v][s.ID])
			switch {
			case s.OfServer() && tests == 0 && (s.Why == "" || s.reason() == Departs):
				faults = append(faults, fmt.Sprintf("MQTT %s %s has no test: %s", v, s.ID, s.Text))
			case tests > 0 && s.Why != "" && s.reason() != Departs:
				faults = append(faults, fmt.Sprintf("MQTT %s %s is shown by %s, and yet: %s", v, s.ID, r.shown[v][s.ID][0], s.Why))
			}
		}
	}
	return faults
}
