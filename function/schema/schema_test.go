package schema_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/invopop/jsonschema"
	validator "github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/function/schema"
)

var update = flag.Bool("update", false, "write the schema anew")

const modulePath = "github.com/headgate-io/headgate/function/schema"

// scalars are the types that a manifest writes as text with a unit, or as a
// number.
var scalars = map[reflect.Type]jsonschema.Schema{
	reflect.TypeFor[function.ByteSize](): {Pattern: `^[0-9.]+ ?(KiB|MiB|GiB|kB|KB|MB|GB|B)?$`, Examples: []any{"64KiB", "4MiB"}},
	reflect.TypeFor[function.Count]():    {Pattern: `^[0-9.]+ ?[kMG]?$`, Examples: []any{"50M", 1000}},
	reflect.TypeFor[function.Duration](): {Pattern: `^([0-9.]+(ns|us|µs|ms|s|m|h))+$`, Examples: []any{"200ms", "1h30m"}},
	reflect.TypeFor[function.Rate]():     {Pattern: `^[0-9.]+ ?/ ?[smh]$`, Examples: []any{"100/s", "6/m"}},
}

func generate(t *testing.T) []byte {
	t.Helper()
	r := jsonschema.Reflector{
		FieldNameTag: "yaml", ExpandedStruct: true, RequiredFromJSONSchemaTags: true,
		Mapper: func(of reflect.Type) *jsonschema.Schema {
			s, ok := scalars[of]
			switch {
			case of == reflect.TypeFor[function.ThenKey]():
				return &jsonschema.Schema{Type: "string", Enum: []any{function.ThenSkip, function.ThenBlock}}
			case !ok:
				return nil
			case of == reflect.TypeFor[function.ByteSize](), of == reflect.TypeFor[function.Count]():
				s.AnyOf = []*jsonschema.Schema{{Type: "string"}, {Type: "number", Minimum: "0"}}
			default:
				s.Type = "string"
			}
			return &s
		},
	}
	if err := r.AddGoComments(modulePath, ".."); err != nil {
		t.Fatal(err)
	}
	s := r.Reflect(&function.Manifest{})
	s.ID = schema.ID
	s.Required = []string{"functions"}
	trigger := s.Definitions["Trigger"]
	for _, kind := range kinds() {
		trigger.OneOf = append(trigger.OneOf, &jsonschema.Schema{Required: []string{kind}})
	}
	enum(t, trigger, "missed", "skip", "once", "all")
	enum(t, trigger, "qos", 0, 1, 2)
	var lifecycles []any
	for _, l := range function.Lifecycles() {
		lifecycles = append(lifecycles, l)
	}
	enum(t, trigger, "lifecycle", lifecycles...)
	s.Definitions["Spec"].Required = []string{"main"}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

// kinds are the fields of a trigger that say its kind.
func kinds() (names []string) {
	of := reflect.TypeFor[function.Trigger]()
	for i := range of.NumField() {
		var t function.Trigger
		switch f := reflect.ValueOf(&t).Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString("x")
		case reflect.Pointer:
			f.Set(reflect.New(f.Type().Elem()))
		}
		if name := of.Field(i).Tag.Get("yaml"); string(t.Kind()) == name {
			names = append(names, name)
		}
	}
	return names
}

func enum(t *testing.T, s *jsonschema.Schema, name string, values ...any) {
	t.Helper()
	p, ok := s.Properties.Get(name)
	if !ok {
		t.Fatalf("there is no property %s", name)
	}
	p.Enum = values
}

// TestSchemaIsUpToDate wants the schema to be that of the types.
func TestSchemaIsUpToDate(t *testing.T) {
	b := generate(t)
	if *update {
		if err := os.WriteFile("headgate.json", b, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if schema.Manifest() != string(b) {
		t.Error("headgate.json is not that of the types: run go test ./function/schema -update")
	}
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	doc, err := validator.UnmarshalJSON(strings.NewReader(schema.Manifest()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource(schema.ID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(schema.ID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func check(t *testing.T, s *validator.Schema, text []byte) error {
	t.Helper()
	b, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := validator.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

// TestSchemaTakesTheExamples: what the tools take, the schema takes.
func TestSchemaTakesTheExamples(t *testing.T) {
	s := compiled(t)
	manifests, err := filepath.Glob("../../examples/*/headgate.yaml")
	if err != nil || len(manifests) < 3 {
		t.Fatalf("%d manifests, %v", len(manifests), err)
	}
	for _, m := range manifests {
		text, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(t, s, text); err != nil {
			t.Errorf("%s: %v", m, err)
		}
	}
}

// TestSchemaRefuses: what is wrong for a schema to see, it sees, and so do the
// tools.
func TestSchemaRefuses(t *testing.T) {
	s := compiled(t)
	good := "functions: {f: {main: f.js, triggers: [{mqtt: a/b, qos: 1}], limits: {memory: 4MiB, timeout: 200ms, rate: 6/m}, retry: {then_key: block}}}"
	for name, broken := range map[string]string{
		"a key that is not there":   strings.Replace(good, "main:", "mian:", 1),
		"an option of a trigger":    strings.Replace(good, "qos:", "qoss:", 1),
		"a QoS of 3":                strings.Replace(good, "qos: 1", "qos: 3", 1),
		"a size without a unit":     strings.Replace(good, "4MiB", "four", 1),
		"a duration without one":    strings.Replace(good, "200ms", "200", 1),
		"a rate without a period":   strings.Replace(good, "6/m", "6", 1),
		"a word that is not one":    strings.Replace(good, "block", "blocks", 1),
		"a trigger of two kinds":    strings.Replace(good, "mqtt: a/b", "mqtt: a/b, queue: q", 1),
		"a trigger of no kind":      strings.Replace(good, "mqtt: a/b, ", "", 1),
		"a list in place of a text": strings.Replace(good, "main: f.js", "main: [f.js]", 1),
		"an event that is not one":  strings.Replace(good, "mqtt: a/b, qos: 1", "lifecycle: device.lost", 1),
		"nothing":                   "{}",
	} {
		if check(t, s, []byte(broken)) == nil {
			t.Errorf("%s: the schema takes %s", name, broken)
		}
		if _, err := function.ParseManifest("headgate.yaml", []byte(broken)); err == nil {
			t.Errorf("%s: the tools take %s", name, broken)
		}
	}
	if err := check(t, s, []byte(good)); err != nil {
		t.Errorf("%s: %v", good, err)
	}
	if _, err := function.ParseManifest("headgate.yaml", []byte(good)); err != nil {
		t.Errorf("%s: %v", good, err)
	}
}
