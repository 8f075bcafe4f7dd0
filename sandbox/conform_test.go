package sandbox_test

import (
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/host"
)

type metaMap map[string]string

func (m metaMap) Lookup(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

type notSecret struct{}

func (notSecret) MayPublish(topic string) error {
	if strings.HasPrefix(topic, "secret/") {
		return errors.New("no")
	}
	return nil
}

// secretMap has what was set.
type secretMap map[string]string

func (m secretMap) Secret(name string) ([]byte, bool, error) {
	v, ok := m[name]
	return []byte(v), ok, nil
}

// listState lists as the gateway's store does.
type listState struct{ mapState }

func (s listState) List(ns, prefix, after string, limit int) ([]string, bool, error) {
	var keys []string
	for k := range s.mapState {
		if rest, ok := strings.CutPrefix(k, ns+":"); ok && strings.HasPrefix(rest, prefix) && rest > after {
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	return keys[:min(limit, len(keys))], len(keys) > limit, nil
}

// conformance is what the conform guest of every language must ask for.
const conformance = `{"Writes":[` +
	`{"Namespace":"test","Key":"runs","Value":"NDI=","Delete":false,"TTL":0},` +
	`{"Namespace":"test","Key":"soil-1","Value":"MQ==","Delete":false,"TTL":60000000000},` +
	`{"Namespace":"test","Key":"old","Value":null,"Delete":true,"TTL":0}],` +
	`"Publishes":[{"Topic":"farm/3/valve","Payload":"b3Blbg==","QoS":1,"Retain":true,"Expiry":90000000000}],` +
	`"Enqueues":[{"Queue":"jobs","Payload":"eyJhIjoxfQ==","Delay":5000000000}],` +
	`"Invokes":[{"Function":"other","Payload":"aGk="}]}`

// TestConformance runs the same function in every language through the real
// border and wants the same effects.
func TestConformance(t *testing.T) {
	slow.UnderRace(t, slow.LargeGuests)
	e := testEngine(t, sandbox.Config{})
	guests := map[string]func(t *testing.T) (string, []byte){
		"go":     func(t *testing.T) (string, []byte) { return "f.wasm", goGuest(t, "go/conform") },
		"tinygo": func(t *testing.T) (string, []byte) { return "f.wasm", tinyGoGuest(t, "go/conform") },
		"c":      func(t *testing.T) (string, []byte) { return "f.wasm", cGuest(t, "c/conform.c") },
		"javascript": func(t *testing.T) (string, []byte) {
			source, err := os.ReadFile("testdata/js/conform.js")
			if err != nil {
				t.Fatal(err)
			}
			return "conform.js", source
		},
		"assemblyscript": func(t *testing.T) (string, []byte) { return "f.wasm", assemblyScriptGuest(t, "conform.ts") },
		"rust":           func(t *testing.T) (string, []byte) { return "f.wasm", rustGuest(t, "conform.rs") },
		"python":         func(t *testing.T) (string, []byte) { return "conform.py", pythonGuest(t, "conform.py") },
	}
	for name, guest := range guests {
		t.Run(name, func(t *testing.T) {
			main, source := guest(t)
			perms := function.Permissions{Enqueue: []string{"jobs"}, Invoke: []string{"other"}}
			config := map[string][]byte{"target": []byte("32"), "mode": []byte(`"on"`)}
			u := load(t, e, main, source, testOptions{perms: perms, config: config})
			u.grant = host.NewGrant("test", perms, function.Limits{}, config, notSecret{}).
				WithSecrets([]string{"k", "unset"}, secretMap{"k": "s3cret"})
			r := u.invoke(host.Invocation{
				Input: []byte(`{"value": -27.5e1}`),
				Meta:  metaMap{"params.field": "3", "params": `{"field":"3"}`},
				State: listState{mapState{"test:runs": "41", "test:old": "x", "test:keep": "y"}},
			})
			if r.Outcome != function.OK {
				t.Fatalf("%s: %s %v", r.Outcome, r.Error, u.calls.Logs())
			}
			got, err := json.Marshal(u.calls.Effects())
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != conformance {
				t.Errorf("effects\n%s\nwant\n%s", got, conformance)
			}
			if string(r.Output) != "keep runs soil-1 " {
				t.Errorf("output %q", r.Output)
			}
			if m := u.calls.Metrics(); len(m) != 1 || m[0] != (host.Metric{Name: "moisture", Value: 27.5}) {
				t.Errorf("metrics %v", m)
			}
			if !slices.ContainsFunc(u.calls.Logs(), func(l function.LogLine) bool { return l.Text == "conform" && l.Level == function.Info }) {
				t.Errorf("logs %v", u.calls.Logs())
			}
			if m := u.calls.OutputMeta(); name != "javascript" && name != "python" && (len(m) != 1 || m[0] != (host.Attribute{Key: "kind", Value: "test"})) {
				t.Errorf("output attributes %v", m)
			}
		})
	}
}
