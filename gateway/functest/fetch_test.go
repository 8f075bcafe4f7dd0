package functest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/functest"
)

const fetching = `export default async (event) => {
  const r = await fetch("https://api.example.org/rain", { method: "POST", body: JSON.stringify({ field: event.data }) });
  return { status: r.status, type: r.headers.get("content-type"), ...(await r.json()) };
};`

// TestFetch answers from the case, and fails it for what is not there, differs
// or is missing, with what to write.
func TestFetch(t *testing.T) {
	engine := openEngine(t)
	spec := function.Spec{Name: "f", Main: "f.js", Triggers: []function.Trigger{{HTTP: "POST /f"}}, Permissions: function.Permissions{Fetch: []string{"https://api.example.org"}}}
	spec.Limits = spec.Limits.WithDefaults()
	m := &function.Manifest{Functions: map[string]*function.Spec{"f": &spec}}
	for name, c := range map[string]struct{ fetch, expect, fault string }{
		"answered":  {"[{url: 'https://api.example.org/rain', method: POST, body: {field: 3}, status: 201, data: {mm: 4}}]", "{output: {status: 201, type: application/json, mm: 4}}", ""},
		"fails":     {"[{url: 'https://api.example.org/rain', method: POST, error: no route}]", "{error: no route}", ""},
		"not there": {"[]", "{error: is not in the test}", `fetch POST https://api.example.org/rain was not expected: declare it in the test, as fetch: [{url:`},
		"other":     {"[{url: 'https://api.example.org/sun', method: POST}]", "{error: not what the test expects}", "fetch: want POST https://api.example.org/sun, got POST https://api.example.org/rain"},
		"body":      {"[{url: 'https://api.example.org/rain', method: POST, body: {field: 4}, data: {}}]", "{}", `want the body {"field":4}, got {"field":3}`},
		"missing":   {"[{url: 'https://api.example.org/rain', method: POST, data: {}}, {url: 'https://api.example.org/2'}]", "{}", "fetch https://api.example.org/2 is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), functest.FileName)
			if err := os.WriteFile(path, []byte("tests:\n  - event: {http: POST /f, data: 3}\n    fetch: "+c.fetch+"\n    expect: "+c.expect+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			f, err := functest.Read(path, m)
			if err != nil {
				t.Fatal(err)
			}
			wantFault(t, engine, functest.Subject{Spec: spec, Code: map[string][]byte{"f.js": []byte(fetching)}}, &f.Tests[0], c.fault)
		})
	}
}
