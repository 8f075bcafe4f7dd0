package conformance

import (
	"slices"
	"strings"
	"testing"
)

func newRecord(t *testing.T) *Record {
	t.Helper()
	r, err := NewRecord()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestStatements(t *testing.T) {
	for v, want := range map[Version]int{V3: 141, V5: 251} {
		all, err := Statements(v)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != want {
			t.Errorf("MQTT %s has %d statements, want %d", v, len(all), want)
		}
	}
}

func TestStatementFaults(t *testing.T) {
	for line, want := range map[string]string{
		"MQTT-1.2.3-4 | server":                                      "x:1: want id | who | text | why",
		"MQTT-1.2.3 | server | text":                                 "not of the form",
		"MQTT-1.2.3-4 | broker | text":                               "want server, client or both",
		"MQTT-1.2.3-4 | server |  | not offered: x":                  "without text",
		"MQTT-1.2.3-4 | server | text | too hard: later":             "none of those that count",
		"MQTT-1.2.3-4 | server | text\nMQTT-1.2.3-4 | both | text":   "x:2: MQTT-1.2.3-4 after MQTT-1.2.3-4",
		"MQTT-1.10.3-4 | server | text\nMQTT-1.9.3-40 | both | text": "after",
	} {
		_, err := parse("x", line)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}

// silent is a test that fails without failing this one.
type silent struct {
	testing.TB
	failed bool
}

func (s *silent) Helper()               {}
func (s *silent) Name() string          { return "TestSilent/x" }
func (s *silent) Failed() bool          { return s.failed }
func (s *silent) Errorf(string, ...any) { s.failed = true }

func TestRecord(t *testing.T) {
	r := newRecord(t)
	before := len(r.Missing())
	s := &silent{}
	r.Shows(s, V5, "3.1.2-5", "3.1.2-5", "3.2.2-9", "4.3.2-5", "4.6.0-1")
	r.Shows(s, V3, "3.1.2-5")
	if s.failed {
		t.Error("known statements were refused")
	}
	missing := r.Missing()
	if n := before - len(missing); n != 2 { // three shown, one against its reason
		t.Errorf("%d fewer are missing", n)
	}
	if !slices.ContainsFunc(missing, func(m string) bool { return strings.Contains(m, "3.2.2-9 is shown by TestSilent/x, and yet") }) {
		t.Error("a reason that a test belies was not found")
	}
	doc := r.Document()
	for _, want := range []string{
		"| MQTT-3.1.2-5 | without clean start an existing session is resumed | `TestSilent/x` |\n",
		"| MQTT-4.3.2-5 | QoS 1: after PUBACK the same identifier means a new message, whatever DUP says | `TestSilent/x`<br>*departs: ",
		"| MQTT-4.6.0-1 | ", "; for 1 of these tests show", "Statements on clients alone: 2.2.1-3, 3.1.0-1",
	} {
		if !strings.Contains(doc, want) {
			t.Errorf("the document lacks %q", want)
		}
	}
	if names := Tests(doc); !slices.Equal(names, []string{"TestSilent"}) {
		t.Errorf("it names the tests %q", names)
	}
	r.Shows(s, V5, "9.9.9-9")
	if !s.failed {
		t.Error("an unknown statement was taken")
	}
	r.Shows(s, V5, "3.1.2-6") // by a failed test
	if r.Document() != doc {
		t.Error("what a failed test said counts")
	}
}
