package sandbox_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sandbox/host"
)

// needPython skips where the Python engine was not there when the test was
// built and nobody demands it.
func needPython(t testing.TB) {
	t.Helper()
	toolchain.NeedPython(t, micropython.Available())
}

func pythonGuest(t testing.TB, file string) []byte {
	t.Helper()
	needPython(t)
	source, err := os.ReadFile(filepath.Join("testdata/py", file))
	if err != nil {
		t.Fatal(err)
	}
	return source
}

// httpEvent is the meta of a request.
func httpEvent(method, path, query, contentType string) metaMap {
	return metaMap{
		"id": "r1", "function": "hello", "version": "3", "subject": path, "httpmethod": method, "httpquery": query, "httpremote": "192.0.2.9",
		"httpheaders": `{"x-key":"k","user-agent":"curl"}`, "datacontenttype": contentType, "remaining_ms": "250", "time": "2026-05-01T08:00:00Z",
	}
}

// answer writes an output with its attributes.
func answer(u *unit, r function.Result) string {
	text := string(r.Output)
	for _, a := range u.calls.OutputMeta() {
		text += "|" + a.Key + "=" + a.Value
	}
	return text
}

// TestPythonForms runs handlers as they are known elsewhere.
func TestPythonForms(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	cases := []struct {
		name, source string
		meta         metaMap
		input, want  string
	}{
		{
			"google hello", "import json\ndef hello_world(request):\n    name = request.args.get('name', 'World')\n    return json.dumps({'message': f'Hello, {name}!'})\n",
			httpEvent("GET", "/hello", "name=Ada+L%C3%B6velace", ""), "", `{"message": "Hello, Ada Lövelace!"}`,
		},
		{
			"google hello without a name", "import json\ndef hello_world(request):\n    name = request.args.get('name', 'World')\n    return json.dumps({'message': f'Hello, {name}!'})\n",
			nil, "", `{"message": "Hello, World!"}`,
		},
		{
			"functions framework", "import functions_framework\nfrom flask import escape\n@functions_framework.http\ndef hello(request):\n  j = request.get_json(silent=True)\n  return f\"Hello {escape(j['name'])}!\"\ndef other(x): pass\n",
			httpEvent("POST", "/", "", "application/json"), `{"name":"<b>"}`, "Hello &lt;b&gt;!",
		},
		{
			"request", "def f(request):\n  return {'m': request.method, 'p': request.path, 'k': request.headers.get('X-Key'), 'd': len(request.data), 'j': request.get_json(silent=True), 'r': request.remote_addr, 'n': request.args.get('n', 1, int)}\n",
			httpEvent("PUT", "/a/b", "n=2", "text/plain"), "\xff\x00", `{"d":2,"j":null,"k":"k","m":"PUT","n":2,"p":"/a/b","r":"192.0.2.9"}|datacontenttype=application/json`,
		},
		{"status and headers", "def f(request):\n  return {'a': 1}, 201, {'X-Id': '7', 'Content-Type': 'application/vnd.a+json'}\n", httpEvent("POST", "/", "", ""), "", `{"a":1}|status=201|datacontenttype=application/vnd.a+json|header.x-id=7`},
		{"body and status", "def f(request):\n  return b'\\x00\\x01', 404\n", httpEvent("POST", "/", "", ""), "", "\x00\x01|status=404"},
		{"not json", "def f(request):\n  return request.get_json()['a']\n", httpEvent("POST", "/", "", "application/json"), "{", "the body is not JSON\n|status=400"},
		{
			"flask", "from flask import jsonify, abort, make_response, request\ndef _x(): abort(403, 'no')\ndef f(r):\n  if request.method == 'GET': _x()\n  resp = make_response(jsonify(a=1), 202)\n  resp.headers['X-A'] = 'b'\n  return resp\n",
			httpEvent("POST", "/", "", ""), "", `{"a":1}|status=202|header.x-a=b|datacontenttype=application/json`,
		},
		{
			"lambda", "import json\ndef handler(event, context):\n  return {'got': event['n'], 'f': context.function_name, 'id': context.aws_request_id, 'ms': context.get_remaining_time_in_millis() > 0}\n",
			metaMap{"id": "7", "function": "hello", "remaining_ms": "250"},
			`{"n":27.5}`, `{"`,
		},
		{
			"lambda with http", "import json\ndef lambda_handler(event, context):\n  return {'statusCode': 201, 'headers': {'X-Q': event['queryStringParameters']['q']}, 'body': json.dumps({'m': event['requestContext']['http']['method'], 'b': event['body']})}\n",
			httpEvent("POST", "/", "q=1%202", ""), "hi", `{"b": "hi", "m": "POST"}|status=201|header.x-q=1 2`,
		},
		{"two arguments", "def water(event, ctx):\n  return ctx.params['field'] + event['id']\n", metaMap{"id": "7", "params": `{"field":"3"}`}, "", "37"},
		{"no argument", "def tick():\n  return 'tick'\n", nil, "", "tick"},
		{"annotations and defaults", "def _helper(): pass\ndef handle(event: dict, ctx: 'Context', *, unit=('a', \"b)\")) -> str:\n  return unit[1]\n", nil, "", "b)"},
		{"async", "async def _get(): return 4\nasync def handle(event, ctx):\n  return await _get() + 1\n", nil, "", "5|datacontenttype=application/json"},
		{"cloud event", "import functions_framework\n@functions_framework.cloud_event\ndef on(cloud_event):\n  return cloud_event['type'] + str(cloud_event.data['x'])\n", metaMap{"type": "t"}, `{"x":1}`, "t1"},
		{"bytes are no json", "def handle(event): return event.data + b'!'\n", nil, "\xff\xfe", "\xff\xfe!"},
		{"environment", "import os\nNAME = os.environ.get('MODE', 'none')\ndef handle(event, ctx): return os.path.join(NAME, os.getenv('x', 'y'))\n", nil, "", "on/y"},
		{"logging", "import logging\nlogger = logging.getLogger()\nlogger.setLevel(logging.INFO)\ndef handle(event, ctx):\n  logger.info('moist %d', 3)\n  print('plain', 4)\n  return 'ok'\n", nil, "", "ok"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			u := load(t, e, "f.py", []byte(c.source), testOptions{config: map[string][]byte{"MODE": []byte(`"on"`)}})
			r := u.invoke(host.Invocation{Input: []byte(c.input), Meta: c.meta})
			if got := answer(u, r); r.Outcome != function.OK || !strings.HasPrefix(sorted(got), sorted(c.want)) {
				t.Errorf("%s %s %q, want %q %v", r.Outcome, r.Error, got, c.want, u.calls.Logs())
			}
			if c.name == "logging" && len(u.calls.Logs()) != 2 {
				t.Errorf("logs %v", u.calls.Logs())
			}
		})
	}
}

// sorted writes a JSON object with its keys in order; other text stays.
func sorted(text string) string {
	body, rest, _ := strings.Cut(text, "|")
	var v map[string]any
	if json.Unmarshal([]byte(body), &v) != nil {
		return text
	}
	b, err := json.Marshal(v)
	if err != nil || rest == "" {
		return string(b)
	}
	return string(b) + "|" + rest
}

// TestPythonErrors names the author's file and line, and leaves the next
// event untouched.
func TestPythonErrors(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	source := `
import lib

def _inner(x):
    return lib.half(x)

def handle(event, ctx):
    d = event.data
    try:
        {}["no"]
    except KeyError:
        pass
    if d == 1: raise ValueError("line\nbreak")
    if d == 2: return _inner("a")
    if d == 3: return {1, 2}
    if d == 4: ctx.publish("a", object())
    if d == 5: ctx.state.set(5, 1)
    if d == 6: ctx.publish("a", 1, expiry="soon")
    if d == 7: import sys; sys.exit(3)
    if d == 8: return handle(event, ctx)
    return "fine"
`
	files := map[string][]byte{"f.py": []byte(source), "lib.py": []byte("def half(x):\n  return x / 2\n")}
	u := loadFiles(t, e, "f.py", files, testOptions{})
	for input, want := range map[string]string{
		"1": "ValueError: line\nbreak at handle (f.py:13)",
		"2": "TypeError: unsupported types for __truediv__: 'str', 'int' at half (lib.py:2) < _inner (f.py:5) < handle (f.py:14)",
		"3": "TypeError: cannot be written as JSON: {", "4": "TypeError: cannot be written as JSON",
		"5": "TypeError: state.set: the key is not a str at handle (f.py:17)",
		"6": "TypeError: expiry: 'soon' is not a duration: give seconds or '20m' at handle (f.py:18)",
		"7": "SystemExit: 3", "8": "RuntimeError: maximum recursion depth exceeded at handle (f.py:8) < handle (f.py:20) < handle (f.py:20)",
	} {
		r := u.invoke(host.Invocation{Input: []byte(input)})
		if r.Outcome != function.Failed || !strings.HasPrefix(r.Error, want) {
			t.Errorf("%s: %s %q, want %q", input, r.Outcome, r.Error, want)
		}
		if r := u.invoke(host.Invocation{Input: []byte("0")}); r.Outcome != function.OK || string(r.Output) != "fine" || r.ColdStart && input != "8" {
			t.Fatalf("after %s: %+v", input, r)
		}
	}
}

// TestPythonRefused shows what is refused at deploy, and where.
func TestPythonRefused(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	e.SetInitFuel(startFuel)
	for _, c := range []struct {
		name, main, source, says string
		limits                   function.Limits
	}{
		{"syntax", "f.py", "x = 1\ndef handle(event, ctx):\n  return (\n", "SyntaxError: invalid syntax at f.py:4", function.Limits{}},
		{"indentation", "f.py", "def handle(event, ctx):\n    x = 1\n  y = 2\n", "IndentationError: unindent doesn't match any outer indent level at f.py:2", function.Limits{}},
		{"import time", "f.py", "import json\nx = json.nothing\n", "AttributeError: module 'json' has no attribute 'nothing' at f.py:2", function.Limits{}},
		{"no such module", "f.py", "import numpy\ndef handle(e, c): pass\n", "ImportError: no module named 'numpy' at f.py:1", function.Limits{}},
		{"no handler", "f.py", "x = 1\ndef _hidden(): pass\n", "f.py defines no handler: write def handle(event, ctx)", function.Limits{}},
		{"two handlers", "f.py", "def handle(e, c): pass\ndef handler(e, c): pass\n", "f.py defines handle and handler: keep one of them", function.Limits{}},
		{"several functions", "f.py", "def water(r): pass\ndef dig(r): pass\n", "f.py defines dig, water: call the handler handle, or begin the names of the others with _", function.Limits{}},
		{"imported functions do not count", "f.py", "from json import dumps\ndef handle(e): return dumps(1)\ndef two(): pass\n", "", function.Limits{}},
		{"too many arguments", "f.py", "def handle(a, b, c): pass\n", "f.py: handle wants 3 arguments", function.Limits{}},
		{"state at the top level", "f.py", "import headgate\nheadgate.context.state.get('a')\ndef handle(e): pass\n", "kv_get cannot be called in headgate_init", function.Limits{}},
		{"endless", "f.py", "while True: pass\n", "out of fuel", function.Limits{}},
		{"a module's name", "sys.py", "def handle(e): pass\n", "Python has a module called sys of its own: rename the file", function.Limits{}},
		{"a dot", "a.b.py", "def handle(e): pass\n", "a dot in its name", function.Limits{}},
		{"memory", "f.py", "def handle(e): pass\n", "Python needs 768KiB of memory, limits.memory allows 256KiB", function.Limits{Memory: 256 << 10}},
		{"memory at the top level", "f.py", "x = [0] * 1000000\ndef handle(e): pass\n", "memory allocation failed", function.Limits{Memory: 1 << 20}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := e.Compile(t.Context(), sandbox.Code{Name: "f", Main: c.main, Files: map[string][]byte{c.main: []byte(c.source)}}, c.limits, sandbox.Setup{})
			if err == nil {
				_ = m.Close(t.Context())
			}
			if c.says == "" && err == nil {
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

// TestPythonFiles: a function of several files, in folders, with data.
func TestPythonFiles(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	u := loadFiles(t, e, "src/main.py", map[string][]byte{
		"src/main.py":          []byte("import json\nfrom farm import crops, units\nfrom farm.units import litres\nwith open('crops.json') as f: DATA = json.load(f)\ndef handle(event, ctx):\n  with open('src/crops.json', 'rb') as f: n = len(f.read(4)) + f.tell()\n  try:\n    open('out.txt', 'w')\n  except OSError as e: code = e.errno\n  return '%s %s %d %d' % (crops.name(DATA), litres(2), n, code)\n"),
		"src/farm/__init__.py": nil,
		"src/farm/crops.py":    []byte("def name(d): return d['names'][0]\n"),
		"src/farm/units.py":    []byte("from . import crops\ndef litres(x): return str(x) + ' l'\n"),
		"src/crops.json":       []byte(`{"names": ["rye"]}`),
	}, testOptions{})
	if r := u.invoke(host.Invocation{}); string(r.Output) != "rye 2 l 8 69" {
		t.Errorf("%s %s %q", r.Outcome, r.Error, r.Output)
	}
}

// TestPythonHostile runs attacks; the function itself is as good as new after
// each.
func TestPythonHostile(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	source := []byte(`
import time, random
def _rec(n): return [_rec(n + 1)]
def handle(event, ctx):
    what = event.text()
    if what == "loop":
        while True: pass
    if what == "caught":
        while True:
            try: raise ValueError("x")
            except ValueError: pass
    if what == "bomb":
        a = []
        while True: a.append(bytearray(100000))
    if what == "swallowed":
        while True:
            try: bytearray(1 << 30)
            except MemoryError: pass
    if what == "deep": _rec(0)
    if what == "sort": [3, 2, 1].sort(key=lambda x: _rec(x))
    if what == "output": return "x" * 300000
    if what == "logs":
        line = "x" * 1000
        while True: print(line)
    if what == "sleep": time.sleep(100)
    if what == "publish":
        while True: ctx.publish("a/b", "x" * 1000)
    if what == "pointer":
        import uctypes, _host
        _host.output(-8, 64)
    if what == "write":
        import uctypes
        uctypes.bytearray_at(0, 400000)[:] = bytes(400000)
    return "fine"
`)
	limits := function.Limits{Fuel: 1 << 50, Timeout: function.Duration(60 * time.Millisecond), Memory: 4 << 20, Output: 65536}
	for what, want := range map[string]function.Outcome{
		"loop": function.TimedOut, "caught": function.TimedOut, "bomb": function.OutOfMemory, "swallowed": function.TimedOut,
		"deep": function.Failed, "sort": function.Failed, "output": function.Failed, "logs": function.TimedOut, "sleep": function.TimedOut,
		"publish": function.Failed, "pointer": function.Trapped, "write": anyFailure,
	} {
		t.Run(what, func(t *testing.T) {
			l := limits
			if want != function.TimedOut && want != anyFailure {
				l.Timeout = function.Duration(30 * time.Second)
			}
			u := load(t, e, "f.py", source, testOptions{limits: l})
			r := u.invoke(host.Invocation{Input: []byte(what)})
			if want != anyFailure && r.Outcome != want || r.Outcome == function.OK {
				t.Errorf("%s %.300s", r.Outcome, r.Error)
			}
			if len(r.Error) > 8<<10 {
				t.Errorf("the error has %d bytes", len(r.Error))
			}
			if r := u.invoke(host.Invocation{}); r.Outcome != function.OK || string(r.Output) != "fine" {
				t.Errorf("after it: %+v", r)
			}
		})
	}
}

// TestPythonRandomIsFresh: events draw different numbers, from every source
// there is, and a rerun of the same event the same.
func TestPythonRandomIsFresh(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	for name, source := range map[string]string{
		"random":  "import random\ndef handle(event): return str(random.random()) + str(random.randint(0, 1 << 30))\n",
		"late":    "def handle(event):\n  import random\n  return str(random.getrandbits(30))\n",
		"sample":  "from random import shuffle, sample\ndef handle(event):\n  x = list(range(60))\n  shuffle(x)\n  return str(x) + str(sample(x, 9))\n",
		"uuid":    "import uuid\ndef handle(event): return str(uuid.uuid4())\n",
		"urandom": "import os\ndef handle(event): return os.urandom(8)\n",
	} {
		u := load(t, e, "f.py", []byte(source), testOptions{})
		seen := map[string]bool{}
		for range 50 {
			r := u.invoke(host.Invocation{})
			if r.Outcome != function.OK || seen[string(r.Output)] {
				t.Fatalf("%s: %s %s %q again", name, r.Outcome, r.Error, r.Output)
			}
			first := string(r.Output)
			seen[first] = true
			u.calls.Rewind(nil)
			if r := u.pool.Invoke(t.Context(), &u.calls); string(r.Output) != first {
				t.Fatalf("%s: a rerun drew %q, not %q", name, r.Output, first)
			}
		}
	}
}

// TestPythonGrowsAndIsReplaced: a handler that needs more than the heap at the
// start gets it, up to limits.memory.
func TestPythonGrowsAndIsReplaced(t *testing.T) {
	slow.Emulated(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{})
	u := load(t, e, "f.py", []byte("def handle(event):\n  a = [bytearray(5000) for _ in range(400)]\n  return str(len(a))\n"), testOptions{limits: function.Limits{Memory: 4 << 20}})
	for range 3 {
		if r := u.invoke(host.Invocation{}); string(r.Output) != "400" {
			t.Fatalf("%+v", r)
		}
	}
}

// anyFailure stands for whichever outcome it is, as long as it is a failure.
const anyFailure = function.Outcome(255)

// TestPythonInterpreted runs Python where wazero has no compiler, exceptions
// included.
func TestPythonInterpreted(t *testing.T) {
	slow.Both(t, slow.LargeGuests)
	needPython(t)
	e := testEngine(t, sandbox.Config{Interpreter: true})
	u := load(t, e, "f.py", []byte("def handle(event):\n  try:\n    event.data['x']\n  except KeyError:\n    return str(event.data['n'] + 1)\n"), testOptions{})
	for range 3 {
		if r := u.invoke(host.Invocation{Input: []byte(`{"n": 41}`)}); r.Outcome != function.OK || string(r.Output) != "42" {
			t.Fatalf("%s %s %q", r.Outcome, r.Error, r.Output)
		}
	}
}
