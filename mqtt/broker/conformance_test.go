package broker

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/mqtt/broker/conformance"
)

var updateRecord = flag.Bool("update", false, "write docs/CONFORMANCE.md anew (make conformance)")

const recordFile = "../../docs/CONFORMANCE.md"

// record is what the tests of this run have shown.
var record = func() *conformance.Record {
	r, err := conformance.NewRecord()
	if err != nil {
		panic(err) // the tables are part of the test
	}
	return r
}()

// shows declares what t has shown of the version that it tested.
func shows(t testing.TB, version byte, ids ...string) {
	t.Helper()
	record.Shows(t, conformance.Version(version), ids...)
}

// shows3 and shows5 do so for tests of one version, or of numbers that differ.
func shows3(t testing.TB, ids ...string) { t.Helper(); shows(t, 4, ids...) }

func shows5(t testing.TB, ids ...string) { t.Helper(); shows(t, 5, ids...) }

// keepRecord ends a run of all tests: what they have shown has to be what the
// document says. code is what the tests came to.
func keepRecord(code int) int {
	if code != 0 || !wholeRun() {
		return code
	}
	faults := record.Missing()
	for _, f := range faults {
		fmt.Fprintln(os.Stderr, f)
	}
	if *updateRecord {
		if err := os.WriteFile(recordFile, []byte(record.Document()), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
	}
	written, err := os.ReadFile(recordFile)
	if err != nil || string(written) != record.Document() {
		fmt.Fprintf(os.Stderr, "%s is not what this run has shown: run make conformance (%v)\n", recordFile, err)
		return 1
	}
	return min(len(faults), 1)
}

// wholeRun reports whether every test was to run.
func wholeRun() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.fuzz"} {
		if f := flag.Lookup(name); f != nil && f.Value.String() != "" {
			return false
		}
	}
	return true
}

// TestConformanceRecord checks the document as far as a run of some tests can:
// the tests that it names exist.
func TestConformanceRecord(t *testing.T) {
	if *updateRecord {
		return // it is about to be written
	}
	doc, err := os.ReadFile(recordFile)
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil {
				there[fn.Name.Name] = true
			}
		}
	}
	named := conformance.Tests(string(doc))
	for _, name := range named {
		if !there[name] {
			t.Errorf("%s names %s, which is not there", recordFile, name)
		}
	}
	if len(named) == 0 {
		t.Error("it names no tests")
	}
}

// wire builds a packet from its first byte and the parts of its body.
func wire(head byte, parts ...string) string {
	body := strings.Join(parts, "")
	return string(appendVarint([]byte{head}, len(body))) + body
}

// text is a string with its length before it.
func text(s string) string { return string(appendString(nil, s)) }

// props is a version 5 property section; 3.1.1 has none.
func props(version byte, section ...string) string {
	if version != 5 {
		return ""
	}
	all := strings.Join(section, "")
	return string(appendVarint(nil, len(all))) + all
}

// rawNext returns the next packet as it came, its length left out.
func (p *peer) rawNext() string {
	p.t.Helper()
	head, body, err := p.in.packet()
	if err != nil {
		p.t.Fatal(err)
	}
	return string([]byte{head}) + string(body)
}
