package sandbox

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox/engine"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sandbox/host"
	"github.com/headgate-io/headgate/sandbox/instrument"
	"github.com/headgate-io/headgate/sdk/build"
)

// recordedEvent is what matters here of a case in tests.yaml.
type recordedEvent struct {
	Function string
	Event    map[string]any
	State    map[string]any
}

// TestExamplesRewrittenAgree runs the recorded events of every example on its
// module as it was built, and as it was rewritten: what a function answers and
// asks for, its memory and its globals must be the same. Examples in JavaScript
// and Python hold the engines to it.
func TestExamplesRewrittenAgree(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	manifests, err := filepath.Glob("../examples/*/headgate.yaml")
	if err != nil || len(manifests) < 7 {
		t.Fatalf("%d examples, %v", len(manifests), err)
	}
	e, err := New(t.Context(), Config{CacheDir: testcache.Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	for _, path := range manifests {
		dir := filepath.Dir(path)
		m, err := function.ReadManifest(path)
		if err != nil {
			t.Fatal(err)
		}
		events := recordedEvents(t, dir, m)
		for name, spec := range m.Functions {
			t.Run(filepath.Base(dir)+"/"+name, func(t *testing.T) { compareFunction(t, e, dir, spec, events[name]) })
		}
	}
}

func recordedEvents(t *testing.T, dir string, m *function.Manifest) map[string][]recordedEvent {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "tests.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Tests []recordedEvent }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	events := map[string][]recordedEvent{}
	for _, r := range file.Tests {
		for name := range m.Functions {
			if r.Function == name || r.Function == "" {
				events[name] = append(events[name], r)
			}
		}
	}
	return events
}

func compareFunction(t *testing.T, e *Engine, dir string, spec *function.Spec, events []recordedEvent) {
	t.Helper()
	if spec.Language() == "python" {
		toolchain.NeedPython(t, micropython.Available())
	}
	if spec.Language() == function.CompilerTinyGo {
		toolchain.NeedTinyGo(t)
	}
	a := toolchain.Build(t, build.Request{Dir: dir, Main: spec.Main, Compiler: spec.Compiler, Command: spec.Build})
	config, err := spec.ConfigJSON()
	if err != nil {
		t.Fatal(err)
	}
	code := Code{Name: spec.Name, Main: a.Main, Files: a.Files, Export: spec.Export}
	rewritten, err := e.Compile(t.Context(), code, spec.Limits, Setup{Config: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rewritten.Close(context.Background()) })
	original := asBuilt(t, e, rewritten, code)
	if len(events) == 0 {
		events = []recordedEvent{{Event: map[string]any{"text": ""}}}
	}
	for i, r := range events {
		want, got := runOnce(t, original, spec, r, config), runOnce(t, rewritten, spec, r, config)
		if reflect.DeepEqual(want, got) {
			continue
		}
		w, g := reflect.ValueOf(want), reflect.ValueOf(got)
		for f := range w.NumField() {
			if !reflect.DeepEqual(w.Field(f).Interface(), g.Field(f).Interface()) {
				t.Errorf("event %d, %v: %s\nof the original  %v\nof the rewritten %v", i, r.Event, w.Type().Field(f).Name, w.Field(f), g.Field(f))
			}
		}
	}
}

// shown is all that an invocation shows.
type shown struct {
	Outcome, Error, Output, Effects, Logs, Attributes string
	Memory                                            [sha256.Size]byte
	Globals                                           []uint64
}

// runOnce runs an event in a new instance.
func runOnce(t *testing.T, m *Module, spec *function.Spec, r recordedEvent, config map[string][]byte) shown {
	t.Helper()
	in := bootSame(t, m)
	defer in.close()
	state := mapOf{}
	for k, v := range r.State {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		state[spec.Name+":"+k] = raw
	}
	var calls host.Calls
	calls.Reset(host.NewGrant(spec.Name, spec.Permissions, spec.Limits, config, everyTopic{}), host.Invocation{
		Input: inputOf(t, r.Event), Meta: metaOf(spec, r.Event), State: state,
		Now: theSameTime, Random: rand.NewChaCha8([32]byte{1}),
	})
	result, _ := in.run(t.Context(), &calls)
	effects, err := json.Marshal(calls.Effects())
	if err != nil {
		t.Fatal(err)
	}
	s := shown{
		Outcome: result.Outcome.String(), Error: result.Error, Output: string(result.Output), Effects: string(effects),
		Attributes: fmt.Sprint(calls.OutputMeta()), Globals: in.values(),
	}
	for _, l := range calls.Logs() {
		s.Logs += l.Level.String() + " " + l.Text + "\n"
	}
	memory, _ := in.linear.Read(0, in.linear.Size())
	// An engine may have been rewritten to start with less memory.
	s.Memory = sha256.Sum256(bytes.TrimRight(memory, "\x00"))
	return s
}

// bootSame makes an instance that draws what others of the same kind draw.
func bootSame(t *testing.T, m *Module) *instance {
	t.Helper()
	var base *image
	if m.script != nil {
		base = m.script.engine.base
	}
	in, err := m.instantiate(t.Context(), base)
	if err != nil {
		t.Fatal(err)
	}
	in.img = nil
	in.initialiseSame(t, in.runInit)
	return in
}

// initialiseSame initialises an instance with the time and the random that all
// others have.
func (in *instance) initialiseSame(t *testing.T, run func() error) {
	t.Helper()
	var calls host.Calls
	calls.Reset(in.module.grant, host.Invocation{Now: theSameTime, Random: rand.NewChaCha8([32]byte{2})})
	in.begin(t.Context(), &calls, in.module.engine.initFuel, time.Now().Add(initTimeout))
	if err := run(); err != nil {
		in.close()
		t.Fatal(err)
	}
	if in.kernel != nil {
		in.kernel.Reset()
	}
}

// startSame gives a script its engine anew, started with the same as all others.
func startSame(t *testing.T, m *Module, kind *scriptKind, program engine.Program) {
	t.Helper()
	s := &scriptEngine{compiled: m.code}
	m.script = &script{kind: kind, engine: s, program: program}
	in, err := m.instantiate(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer in.close()
	in.initialiseSame(t, func() error {
		if err := in.runSteps(instrument.StartExport, "_initialize"); err != nil {
			return err
		}
		return in.scriptFault(kind.start(&in.ctx, in.mod, func(g engine.Guest) { in.script = g }))
	})
	s.started = in.script.State()
	if s.base, err = newImage(m.engine, in.mem, in.values()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.base.close)
}

func theSameTime() time.Time { return time.Unix(1_700_000_000, 0) }

// asBuilt is the same function on its module as it was before: it gets the
// globals that the gateway wants to find, which its code does not know of.
func asBuilt(t *testing.T, e *Engine, rewritten *Module, code Code) *Module {
	t.Helper()
	source := code.Files[code.Main]
	kind, pages := (*scriptKind)(nil), uint32(0)
	if rewritten.script != nil {
		kind = rewritten.script.kind
		pages = kind.options.MemoryPages
		var err error
		if source, err = kind.wasm(); err != nil {
			t.Fatal(err)
		}
	}
	c := *rewritten.code
	var err error
	if c.code, err = e.runtime.CompileModule(t.Context(), expose(source, c.report.Globals, pages)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.code.Close(context.Background()) })
	m := &Module{engine: e, name: rewritten.name, limits: rewritten.limits, setup: rewritten.setup, grant: rewritten.grant, code: &c}
	if kind != nil {
		startSame(t, m, kind, rewritten.script.program)
		startSame(t, rewritten, kind, rewritten.script.program)
	}
	return m
}

// expose exports a module's mutable globals under names, and adds those that
// the gateway sets. It starts with as many pages as the rewritten one, 0 leaves
// that alone.
func expose(wasm []byte, names []string, pages uint32) []byte {
	out := slices.Clone(wasm[:8])
	section := func(id byte, count uint64, body []byte) {
		body = append(binary.AppendUvarint(nil, count), body...)
		out = append(binary.AppendUvarint(append(out, id), uint64(len(body))), body...)
	}
	var exports []byte
	added := uint64(0)
	export := func(name string, index uint64) {
		exports = binary.AppendUvarint(append(append(binary.AppendUvarint(exports, uint64(len(name))), name...), 3), index)
		added++
	}
	globals := false
	for rest := wasm[8:]; len(rest) > 0; {
		id := rest[0]
		size, n := binary.Uvarint(rest[1:])
		body := rest[1+n : 1+n+int(size)]
		rest = rest[1+n+int(size):]
		if !globals && id >= 6 && id != 12 && id != 13 {
			globals = true
			count, content := uint64(0), []byte(nil)
			if id == 6 {
				var n int
				count, n = binary.Uvarint(body)
				content = body[n:]
				for i, at := range mutableGlobals(content) {
					export(names[i], at)
				}
			}
			section(6, count+4, append(slices.Clone(content), 0x7e, 1, 0x42, 0, 0x0b, 0x7e, 1, 0x42, 0, 0x0b, 0x7f, 1, 0x41, 0, 0x0b, 0x7f, 1, 0x41, 0, 0x0b))
			export(instrument.LowExport, count+3)
			export(instrument.FuelExport, count)
			export(instrument.FloorExport, count+1)
			export(instrument.StackExport, count+2)
			if id == 6 {
				continue
			}
		}
		if id == 5 && pages > 0 {
			_, n := binary.Uvarint(body[2:]) // one memory: its flags, its least
			section(5, 1, append(binary.AppendUvarint([]byte{body[1]}, uint64(pages)), body[2+n:]...))
			continue
		}
		if id == 7 {
			count, n := binary.Uvarint(body)
			section(7, count+added, append(slices.Clone(body[n:]), exports...))
			continue
		}
		out = append(binary.AppendUvarint(append(out, id), uint64(len(body))), body...)
	}
	return out
}

// mutableGlobals are the indices of those in a global section.
func mutableGlobals(content []byte) (list []uint64) {
	for i := uint64(0); len(content) > 0; i++ {
		if content[1] == 1 {
			list = append(list, i)
		}
		content = content[2:]
		for content[0] != 0x0b {
			n := 1
			switch content[0] {
			case 0x43:
				n = 5
			case 0x44:
				n = 9
			case 0xfd:
				n = 18
			default: // an index or an integer
				for content[n]&0x80 != 0 {
					n++
				}
				n++
			}
			content = content[n:]
		}
		content = content[1:]
	}
	return list
}

func inputOf(t *testing.T, event map[string]any) []byte {
	t.Helper()
	if text, ok := event["text"].(string); ok {
		return []byte(text)
	}
	if event["data"] == nil {
		return nil
	}
	raw, err := json.Marshal(event["data"])
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

type metaMapOf map[string]string

func (m metaMapOf) Lookup(key string) (string, bool) {
	v, ok := m[key]
	return v, ok
}

// metaOf has the attributes that a function may ask for: its captures are
// found by comparing levels.
func metaOf(spec *function.Spec, event map[string]any) metaMapOf {
	subject := ""
	for _, kind := range []string{"topic", "http", "queue", "state"} {
		if s, ok := event[kind].(string); ok {
			subject = s
		}
	}
	meta, params := metaMapOf{"id": "1", "source": "/test", "subject": subject, "attempt": "1"}, map[string]string{}
	if method, path, ok := strings.Cut(subject, " "); ok {
		path, query, _ := strings.Cut(path, "?")
		meta["httpmethod"], meta["httpquery"], meta["subject"], meta["httpheaders"] = method, query, path, "{}"
		subject = path
	}
	for i := range spec.Triggers {
		t := &spec.Triggers[i]
		_, route, _ := strings.Cut(t.HTTP, " ")
		for _, pattern := range []string{t.MQTT, route, t.Queue, t.State} {
			levels := strings.Split(subject, "/")
			for i, level := range strings.Split(pattern, "/") {
				if strings.HasPrefix(level, "{") && i < len(levels) {
					name := strings.Trim(level, "{}.")
					params[name], meta["params."+name] = levels[i], levels[i]
				}
			}
		}
	}
	raw, _ := json.Marshal(params) // texts alone
	meta["params"] = string(raw)
	return meta
}

type everyTopic struct{}

func (everyTopic) MayPublish(string) error { return nil }

// mapOf is a state that nobody else writes.
type mapOf map[string][]byte

func (m mapOf) Get(ns, key string) ([]byte, bool, error) {
	v, ok := m[ns+":"+key]
	return v, ok, nil
}

func (m mapOf) List(ns, prefix, after string, limit int) (keys []string, more bool, err error) {
	for k := range m {
		if rest, ok := strings.CutPrefix(k, ns+":"); ok && strings.HasPrefix(rest, prefix) && rest > after {
			keys = append(keys, rest)
		}
	}
	slices.Sort(keys)
	return keys[:min(limit, len(keys))], len(keys) > limit, nil
}
