package sandbox_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

// TestJavaScriptFiles: a function of several files, in folders, with data.
func TestJavaScriptFiles(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	u := loadFiles(t, e, "src/main.js", map[string][]byte{
		"src/main.js":      []byte("import crops from \"./crops.json\";\nimport { name } from './lib/names.js';\nexport default (event) => {\n  if (event.text() === 'fail') name(null);\n  return name(crops);\n};\n"),
		"src/crops.json":   []byte(`{"names": ["rye"], "__proto__": 1}`),
		"src/lib/names.js": []byte("import { first } from \"../../shared.mjs\";\nimport crops from \"../crops.json\";\nexport const name = (c) => first(c.names) + crops.names.length;\n"),
		"shared.mjs":       []byte("export const first = (list) => list[0];\n"),
	}, testOptions{})
	if r := u.invoke(host.Invocation{}); string(r.Output) != "rye1" {
		t.Errorf("%s %s %q", r.Outcome, r.Error, r.Output)
	}
	if r := u.invoke(host.Invocation{Input: []byte("fail")}); !strings.Contains(r.Error, "src/lib/names.js:3") {
		t.Errorf("%s %s", r.Outcome, r.Error)
	}
}

// TestJavaScriptFilesRefused shows what is refused at deploy.
func TestJavaScriptFilesRefused(t *testing.T) {
	e := testEngine(t, sandbox.Config{})
	for says, files := range map[string]map[string]string{
		`f.js imports "lib.js", which is not among the function's files`: {"f.js": `import "./lib.js"; export default () => 1`},
		`f.js imports "lodash", which is not among`:                      {"f.js": `import x from "lodash"; export default () => 1`},
		"imports form a cycle: f.js → a.js → b.js → a.js":                {"f.js": `import "./a.js"; export default () => 1`, "a.js": `import "./b.js"`, "b.js": `import "./a.js"`},
		"d.json:2: not JSON": {"f.js": `import d from "./d.json"; export default () => d`, "d.json": "{\n  a: 1}"},
		"SyntaxError: unexpected token in expression: ';' at lib.js:2": {"f.js": `import "./lib.js"; export default () => 1`, "lib.js": "const x = 1;\nconst y = ;\n"},
	} {
		code := sandbox.Code{Name: "f", Main: "f.js", Files: map[string][]byte{}}
		for name, text := range files {
			code.Files[name] = []byte(text)
		}
		m, err := e.Compile(t.Context(), code, function.Limits{}, sandbox.Setup{})
		if err == nil {
			_ = m.Close(t.Context())
		}
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
}
