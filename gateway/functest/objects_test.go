package functest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/functest"
)

const thumbnail = `export default (event, {objects, params}) => {
  const picture = objects.get(event.data.bucket, event.data.key);
  objects.put("thumbs", params.name, picture.bytes().slice(0, 3), {type: picture.type});
  objects.put("thumbs", "index.json", {last: params.name, size: event.data.size});
  objects.delete("thumbs", "old");
};`

// TestObjects gives a function objects, and compares what it puts.
func TestObjects(t *testing.T) {
	engine := openEngine(t)
	spec := function.Spec{
		Name: "f", Main: "f.js", Triggers: []function.Trigger{{File: "camera/{name}"}},
		Permissions: function.Permissions{Objects: function.ObjectPermissions{Read: []string{"camera"}, Write: []string{"thumbs"}}},
	}
	spec.Limits = spec.Limits.WithDefaults()
	m := &function.Manifest{Functions: map[string]*function.Spec{"f": &spec}}
	const put = "{file: camera/1.png}"
	for name, c := range map[string]struct{ event, objects, expect, fault string }{
		"as expected": {put, "{camera/1.png: {file: picture.png}}", "{objects: {thumbs/1.png: {text: pic, type: image/png}, thumbs/index.json: {data: {size: 7, last: 1.png}}, thumbs/old: null}}", ""},
		"base64":      {put, "{camera/1.png: {base64: cGljdHVyZQ==}}", "{objects: {thumbs/1.png: {text: pic}, thumbs/index.json: {data: {size: 7, last: 1.png}}, thumbs/old: null}}", ""},
		"another":     {put, "{camera/1.png: {text: other}}", "{objects: {thumbs/1.png: {text: pic}, thumbs/index.json: {data: {size: 5, last: 1.png}}, thumbs/old: null}}", `objects: thumbs/1.png is`},
		"too many":    {put, "{camera/1.png: {text: picture}}", "{objects: {thumbs/1.png: {text: pic}}}", "thumbs/index.json is put, which is not expected"},
		"missing":     {put, "{camera/1.png: {text: picture}}", "{objects: {thumbs/2.png: {text: pic}}}", "thumbs/2.png is neither put nor deleted"},
		"any bytes":   {put, "{camera/1.png: {text: picture}}", "{objects: {thumbs/1.png: {type: image/png}, thumbs/index.json: {}, thumbs/old: null}}", ""},
		"its type":    {put, "{camera/1.png: {text: picture}}", "{objects: {thumbs/1.png: {type: image/jpeg}, thumbs/index.json: {}, thumbs/old: null}}", "is of type image/png, want image/jpeg"},
		"a deletion":  {"{file: camera/1.png, change: deleted}", "{}", "{matched: false}", ""},
		"no such":     {put, "{camera/1.png: {file: none.png}}", "{}", "tests[0].objects.camera/1.png"},
		"two forms":   {put, "{camera/1.png: {file: picture.png, text: x}}", "{}", "one of them"},
		"no key":      {"{file: camera}", "{}", "{}", "does not begin"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, functest.FileName)
			for file, text := range map[string]string{
				path: "tests:\n  - event: " + c.event + "\n    objects: " + c.objects + "\n    expect: " + c.expect + "\n", filepath.Join(dir, "picture.png"): "picture",
			} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			f, err := functest.Read(path, m)
			if err != nil {
				if c.fault == "" || !strings.Contains(err.Error(), c.fault) && !strings.Contains(err.Error(), "none.png") && !strings.Contains(err.Error(), "key is empty") {
					t.Errorf("%v, want %q", err, c.fault)
				}
				return
			}
			wantFault(t, engine, functest.Subject{Spec: spec, Code: map[string][]byte{"f.js": []byte(thumbnail)}}, &f.Tests[0], c.fault)
		})
	}
}
