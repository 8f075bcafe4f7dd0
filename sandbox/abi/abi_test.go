package abi_test

import (
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sdk"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// vectors is the border in data. It is what an SDK in a language that this
// repository does not know is to be tested against; a number that changes here
// breaks every function in the field.
type vectors struct {
	Module  string           `json:"module"`
	Exports []string         `json:"exports"`
	Errnos  map[string]int32 `json:"errnos"`
	Calls   []vectorCall     `json:"calls"`
	Flags   []vectorFlags    `json:"publish_flags"`
	Pages   []vectorPage     `json:"kv_list_pages"`
	Fetches []vectorFetch    `json:"fetch_requests"`
	Answers []vectorFetch    `json:"fetch_answers"`
}

type vectorCall struct {
	Name    string   `json:"name"`
	Params  []string `json:"params"`
	Results []string `json:"results"`
	Init    bool     `json:"init"`
}

type vectorFlags struct {
	QoS    int    `json:"qos"`
	Retain bool   `json:"retain"`
	Flags  uint32 `json:"flags"`
}

type vectorPage struct {
	Hex  string   `json:"hex"`
	Next uint32   `json:"next"`
	Keys []string `json:"keys"`
}

// vectorFetch is a request or an answer of http_fetch: its wire form, and what
// it means; no head means that it is refused.
type vectorFetch struct {
	Wire string          `json:"wire"`
	Head json.RawMessage `json:"head"`
	Body string          `json:"body"`
}

var fetchRequests = []string{
	`{"url":"https://api.example.org/v1"}`,
	`{"url":"https://api.example.org/v1","method":"POST","headers":[["content-type","text/plain"],["x","1"],["x","2"]]}` + "\n" + "two\nlines",
	`{"url":"http://a/?b=<&c","headers":{"b":"1","a":"\u00fc"},"redirect":"manual","timeout_ms":1500}` + "\n",
	`{"url":"http://a","headers":null}`,
	`{"url":"http://a","headers":["a","b"]}`,
	`{"url":"http://a","headers":{"a":1}}`,
	`{"url":"http://a","headers":[["a"]]}`,
	`{"url":"http://a","verb":"GET"}`,
	`{"url":"http://a"} {}`,
	"{\"url\":\n\"http://a\"}",
	"",
}

var fetchAnswers = []string{
	`{"status":200,"url":"https://api.example.org/v1","headers":[["content-type","application/json"]]}` + "\n" + `{"a":1}`,
	`{"status":204,"url":"https://api.example.org/","headers":[["set-cookie","a=1"],["set-cookie","b=2"]]}` + "\n",
	`{"status":200,"later":true}` + "\n" + "x",
}

func fetchVectors(t *testing.T) (requests, answers []vectorFetch) {
	add := func(to *[]vectorFetch, wire string, head any, body []byte, err error) {
		v := vectorFetch{Wire: wire, Head: json.RawMessage("null"), Body: string(body)}
		if err == nil {
			if v.Head, err = json.Marshal(head); err != nil {
				t.Fatal(err)
			}
		}
		*to = append(*to, v)
	}
	for _, wire := range fetchRequests {
		r, err := abi.ParseFetchRequest([]byte(wire))
		add(&requests, wire, &r, r.Body, err)
	}
	for _, wire := range fetchAnswers {
		a, err := abi.ParseFetchAnswer([]byte(wire))
		add(&answers, wire, &a, a.Body, err)
	}
	return requests, answers
}

func typeNames(types []abi.Type) []string {
	out := []string{}
	for _, t := range types {
		out = append(out, map[abi.Type]string{abi.I32: "i32", abi.I64: "i64", abi.F64: "f64"}[t])
	}
	return out
}

func current() vectors {
	v := vectors{
		Module: abi.Module, Errnos: map[string]int32{},
		Exports: []string{abi.ExportMarker, abi.ExportHandle, abi.ExportInit, abi.ExportInitialize, abi.ExportMemory},
	}
	for _, e := range abi.Errnos {
		v.Errnos[e.Name] = int32(e.Errno)
	}
	for _, c := range abi.Calls {
		v.Calls = append(v.Calls, vectorCall{c.Name, typeNames(c.Params), typeNames(c.Results), c.Init})
	}
	for qos := range 3 {
		v.Flags = append(v.Flags, vectorFlags{qos, false, uint32(qos)}, vectorFlags{qos, true, uint32(qos) | abi.PublishRetain})
	}
	for _, page := range []string{
		"00000000", "01000000" + "03000000" + hex.EncodeToString([]byte("a/b")),
		"00000000" + "00000000" + "02000000" + hex.EncodeToString([]byte("é")), "05000000" + "ff000000" + "61",
	} {
		raw, _ := hex.DecodeString(page)
		next, keys := abi.ParsePage(raw)
		v.Pages = append(v.Pages, vectorPage{page, next, keys})
	}
	return v
}

func TestGoldenVectors(t *testing.T) {
	const file = "testdata/vectors.json"
	now := current()
	now.Fetches, now.Answers = fetchVectors(t)
	got, err := json.MarshalIndent(now, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("the ABI has changed: v1 grows only by new imports and errnos. If that is all, run this test with -update.\n%s", got)
	}
}

// TestFetchRoundTrip writes what it has read.
func TestFetchRoundTrip(t *testing.T) {
	for _, wire := range fetchRequests[:2] {
		r, err := abi.ParseFetchRequest([]byte(wire))
		if err != nil {
			t.Fatal(err)
		}
		again, err := r.Append(nil)
		if strings.TrimSuffix(string(again), "\n") != wire || err != nil {
			t.Errorf("%q became %q, %v", wire, again, err)
		}
	}
	for _, wire := range fetchAnswers[:2] {
		a, err := abi.ParseFetchAnswer([]byte(wire))
		if err != nil {
			t.Fatal(err)
		}
		again, err := a.Append([]byte("before "))
		if string(again) != "before "+wire || err != nil {
			t.Errorf("%q became %q, %v", wire, again, err)
		}
	}
}

func FuzzFetchRequest(f *testing.F) {
	for _, wire := range fetchRequests {
		f.Add([]byte(wire))
	}
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := abi.ParseFetchRequest(wire)
		if err != nil {
			return
		}
		out, err := r.Append(nil)
		if err != nil {
			t.Fatalf("%q: %v", wire, err)
		}
		again, err := abi.ParseFetchRequest(out)
		if err != nil || again.URL != r.URL || len(again.Headers) != len(r.Headers) || string(again.Body) != string(r.Body) {
			t.Errorf("%q became %q, %v", wire, out, err)
		}
	})
}

// TestCHeader checks the C header against the table.
func TestCHeader(t *testing.T) {
	header := string(sdk.CHeader())
	for _, e := range abi.Errnos {
		if !regexp.MustCompile(fmt.Sprintf(`HG_%s = %d\b`, e.Name, e.Errno)).MatchString(header) {
			t.Errorf("HG_%s = %d is missing", e.Name, e.Errno)
		}
	}
	declared := map[string]string{}
	for _, m := range regexp.MustCompile(`HG_IMPORT\((\w+)\) (\w+) hg_raw_(\w+)\(([^)]*)\);`).FindAllStringSubmatch(header, -1) {
		if m[1] != m[3] {
			t.Errorf("import %s is declared as hg_raw_%s", m[1], m[3])
		}
		declared[m[1]] = cTypes(m[4]) + "->" + cTypes(m[2])
	}
	for _, c := range abi.Calls {
		want := strings.Join(typeNames(c.Params), ",") + "->" + strings.Join(typeNames(c.Results), ",")
		if declared[c.Name] != want {
			t.Errorf("%s is declared %q, want %q", c.Name, declared[c.Name], want)
		}
		delete(declared, c.Name)
	}
	for name := range declared {
		t.Errorf("%s is declared but no host call", name)
	}
}

// cTypes turns a C parameter list, or a result type, into ABI types.
func cTypes(list string) string {
	var out []string
	for p := range strings.SplitSeq(list, ",") {
		switch p = strings.TrimSpace(p); {
		case p == "void":
		case strings.HasPrefix(p, "int64_t"):
			out = append(out, "i64")
		case strings.HasPrefix(p, "double"):
			out = append(out, "f64")
		default:
			out = append(out, "i32")
		}
	}
	return strings.Join(out, ",")
}

// TestGoSDK checks the Go SDK's numbers and imports against the table.
func TestGoSDK(t *testing.T) {
	dir := t.TempDir()
	if err := sdk.WriteGoModule(dir); err != nil {
		t.Fatal(err)
	}
	context, err := os.ReadFile(dir + "/sdk/go/context.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{
		"NOT_FOUND": "ErrNotFound", "DENIED": "ErrDenied", "LIMIT": "ErrLimit",
		"INVALID": "ErrInvalid", "UNSUPPORTED": "ErrUnsupported", "UNAVAILABLE": "ErrUnavailable",
	}
	for _, e := range abi.Errnos {
		if !regexp.MustCompile(names[e.Name] + ` +Errno = ` + strconv.Itoa(int(e.Errno)) + `\b`).Match(context) {
			t.Errorf("%s = %d is missing", names[e.Name], e.Errno)
		}
		if !strings.Contains(string(context), strconv.Quote(e.Errno.Error())) {
			t.Errorf("the text %q is missing", e.Errno.Error())
		}
	}
	guest, err := os.ReadFile(dir + "/sdk/go/guest_wasip1.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`go:wasmimport (\w+) (\w+)`).FindAllStringSubmatch(string(guest), -1) {
		if _, ok := abi.Find(m[2]); m[1] != abi.Module || !ok {
			t.Errorf("import %s.%s is no host call", m[1], m[2])
		}
	}
}

// TestJavaScriptTypes checks the error codes that scripts see.
func TestJavaScriptTypes(t *testing.T) {
	types := string(sdk.JavaScriptTypes())
	glue, err := os.ReadFile("../engine/quickjs/glue.js")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range abi.Errnos {
		if !strings.Contains(string(glue), fmt.Sprintf("%q: %q", strconv.Itoa(int(e.Errno)), e.Name)) {
			t.Errorf("glue.js does not name %s (%d)", e.Name, e.Errno)
		}
		if e.Errno != abi.NotFound && !strings.Contains(types, strconv.Quote(e.Name)) {
			t.Errorf("headgate.d.ts does not name %s", e.Name)
		}
	}
}

func TestNoCallTwice(t *testing.T) {
	var names []string
	for _, c := range abi.Calls {
		if slices.Contains(names, c.Name) {
			t.Errorf("%s twice", c.Name)
		}
		names = append(names, c.Name)
	}
}
