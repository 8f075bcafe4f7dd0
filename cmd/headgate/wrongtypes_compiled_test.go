package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sdk/build"
)

// compiledWrongs are what the types of a compiled language let through. All of
// one language are in one handler, which does what its event's number says.
type compiledWrongs struct {
	main string
	// head and tail go around the cases, each written by one.
	head, one, tail string
	more            map[string]string
	cases           []wrongType
}

var compiledWrongTypes = map[string]compiledWrongs{
	"c": {
		main: "wrong.c",
		head: "#include <headgate.h>\nstatic char big[2000];\nHG_HANDLE {\n  char in[4] = \"\", out[8];\n  hg_input(in, 3);\n  for (int i = 0; i < 1999; i++) big[i] = 'k';\n  hg_kv_set(\"before\", \"1\", 1, 0);\n  int n = 0;\n  for (char *p = in; *p; p++) n = n * 10 + *p - '0';\n  switch (n) {\n",
		one:  "  case %d: return %s;\n", tail: "  }\n  (void)out;\n  return 9;\n}\n",
		cases: []wrongType{
			{`hg_publish("", "x", 1, 0, 0)`, "a topic is 1 to 65535 bytes"},
			{`hg_publish("a/+", "x", 1, 0, 0)`, "without +, # and NUL"},
			{`hg_publish("\xff", "x", 1, 0, 0)`, "of UTF-8"},
			{`hg_publish("a", "x", 1, 3, 0)`, "flags 0x3"},
			{`hg_publish("a", "x", 1, -1, 0)`, "flags 0xffffffff"},
			{`hg_publish("b", "x", 1, 0, 0)`, `topic "b" is not in permissions.publish`},
			{`hg_publish("a", "x", (size_t)-1, 0, 0)`, "publish: pointer"},
			{`hg_kv_get("", out, 8)`, "the name is empty"},
			{`hg_kv_get(big, out, 8)`, "name of 1999 bytes is over 1024"},
			{`hg_kv_get("other:k", out, 8)`, "not a namespace that this function may read"},
			{`hg_kv_set("\xc3", "x", 1, 0)`, "not UTF-8"},
			{`hg_kv_set("k", (void *)-1, 9, 0)`, "kv_set: pointer 4294967295 with length 9 is outside"},
			{`hg_raw_kv_del((void *)0, 0)`, "the name is empty"},
			{`hg_raw_kv_get("k", -1, out, 8)`, "kv_get: pointer"},
			{`hg_enqueue("q", "x", 1, 0)`, "permissions.enqueue allows nothing"},
			{`hg_invoke("", "x", 1)`, "the name is empty"},
			{`hg_secret("nosuch", out, 8)`, "secrets"},
			{`(hg_metric("m", 0.0 / 0.0), 5)`, "metric m: NaN is no number"},
			{`(hg_metric("", 1), 5)`, "metric: the name is empty"},
			{`(hg_output((void *)64, -1), 0)`, "output: pointer 64 with length 4294967295"},
			{`(hg_random((void *)-8, 64), 0)`, "random: pointer"},
		},
	},
	"go": {
		main: "main.go", more: map[string]string{"go.mod": "module wrong\n\ngo 1.24\n"},
		head: "package main\n\nimport (\n\t\"errors\"\n\t\"math\"\n\t\"strconv\"\n\t\"strings\"\n\t\"time\"\n\n\theadgate \"github.com/headgate-io/headgate/sdk/go\"\n)\n\nfunc init() { headgate.Handle(handle) }\nfunc main()  {}\n\nvar big = strings.Repeat(\"k\", 1999)\n\nfunc second[T any](_ T, err error) error { return err }\n\nfunc handle(ctx *headgate.Context) error {\n\t_ = ctx.Set(\"before\", 1)\n\tn, _ := strconv.Atoi(string(ctx.Data()))\n\tswitch n {\n",
		one:  "\tcase %d:\n\t\treturn %s\n", tail: "\t}\n\treturn errors.New(\"none\" + big)\n}\n",
		cases: []wrongType{
			{`ctx.Publish("", "x")`, "a topic is 1 to 65535 bytes"},
			{`ctx.Publish("a/#", "x")`, "without +, # and NUL"},
			{`ctx.Publish("\xff", "x")`, "of UTF-8"},
			{`ctx.Publish("a", "x", headgate.QoS(5))`, "flags 0x3"},
			{`ctx.Publish("a", "x", headgate.Expiry(-time.Second))`, "-1s is no duration"},
			{`ctx.Publish("a", make(chan int))`, "unsupported type: chan int"},
			{`ctx.Publish("a", math.Inf(1))`, "unsupported value"},
			{`ctx.Publish("b", "x")`, `topic "b" is not in permissions.publish`},
			{`second(ctx.Get(""))`, "the name is empty"},
			{`second(ctx.Get(big))`, "name of 1999 bytes is over 1024"},
			{`second(ctx.Get("other:k"))`, "not a namespace that this function may read"},
			{`second(ctx.GetJSON("before", nil))`, "json: Unmarshal(nil)"},
			{`ctx.Set("k\x00", 1)`, "holds a NUL"},
			{`ctx.SetFor("k", 1, -time.Second)`, "-1s is no duration"},
			{`ctx.Enqueue("q", "x", 0)`, "permissions.enqueue allows nothing"},
			{`ctx.Invoke("", nil)`, "the name is empty"},
			{`second(ctx.Secret("nosuch"))`, "secrets"},
			{`func() error { ctx.Metric("m", math.NaN()); return errors.New("no error") }()`, "metric m: NaN is no number"},
			{`second(ctx.Fetch(headgate.Request{URL: "nowhere"}))`, "http_fetch"},
			{`func() error { var p *int; return ctx.Set("k", *p) }()`, "nil pointer"},
		},
	},
	"rust": {
		main: "wrong.rs",
		head: "use headgate::{Context, Event, Json, Publish, Request, Result};\n\nheadgate::handler!(handle);\n\nfn handle(event: &Event, ctx: &Context) -> Result<()> {\n    let big = \"k\".repeat(1999);\n    let _ = (&big, Json::Null, Request::get(\"x\"));\n    ctx.set(\"before\", 1)?;\n    match event.text()?.parse::<i32>()? {\n",
		one:  "        %d => %s,\n", tail: "        _ => Err(\"none\".into()),\n    }\n}\n",
		cases: []wrongType{
			{`ctx.publish("", "x")`, "a topic is 1 to 65535 bytes"},
			{`ctx.publish("a/+", "x")`, "without +, # and NUL"},
			{`ctx.publish_with("a", "x", Publish { qos: 3, ..Publish::default() })`, "flags 0x3"},
			{`ctx.publish("b", "x")`, `topic "b" is not in permissions.publish`},
			{`ctx.get("").map(|_| ())`, "the name is empty"},
			{`ctx.get(&big).map(|_| ())`, "name of 1999 bytes is over 1024"},
			{`ctx.get("other:k").map(|_| ())`, "not a namespace that this function may read"},
			{`ctx.set("k\0", "x")`, "holds a NUL"},
			{`ctx.enqueue("q", "x", Default::default())`, "permissions.enqueue allows nothing"},
			{`ctx.invoke("", "x")`, "the name is empty"},
			{`ctx.secret("nosuch").map(|_| ())`, "secrets"},
			{`{ ctx.metric("m", f64::NAN); Err("no error".into()) }`, "metric m: NaN is no number"},
			{`ctx.fetch(&Request::get("nowhere")).map(|_| ())`, "http_fetch"},
			{`{ let v: Vec<u8> = vec![]; ctx.set("k", v[event.data().len()] as i32) }`, "index out of bounds"},
		},
	},
	"assemblyscript": {
		main: "wrong.ts",
		head: "import { Context, Event, errno } from \"headgate\";\n\nfunction done(ctx: Context, code: i32): void {\n  if (code < 0) ctx.fail(\"code \" + code.toString());\n}\n\nexport function handle(event: Event, ctx: Context): void {\n  const big = \"k\".repeat(1999);\n  ctx.set(\"before\", \"1\");\n  switch (I32.parseInt(event.text)) {\n",
		one:  "    case %d: return done(ctx, %s);\n", tail: "  }\n  ctx.fail(\"none\" + errno.toString() + big);\n}\nfunction metric(ctx: Context): i32 {\n  ctx.metric(\"m\", NaN);\n  return -9;\n}\nfunction read(ctx: Context, key: string): i32 {\n  ctx.get(key);\n  return errno;\n}\nfunction ask(ctx: Context, key: string): i32 {\n  ctx.secret(key);\n  return errno;\n}\nfunction unset(): i32 {\n  const none: string[] = [];\n  return none[event_index].length;\n}\nlet event_index = 3;\n",
		cases: []wrongType{
			{`ctx.publish("", "x")`, "a topic is 1 to 65535 bytes"},
			{`ctx.publish("a/+", "x")`, "without +, # and NUL"},
			{`ctx.publish("a", "x", 3)`, "flags 0x3"},
			{`ctx.publish("b", "x")`, `topic "b" is not in permissions.publish`},
			{`read(ctx, "")`, "the name is empty"},
			{`read(ctx, big)`, "name of 1999 bytes is over 1024"},
			{`read(ctx, "other:k")`, "not a namespace that this function may read"},
			{`ctx.set("k\0", "x")`, "holds a NUL"},
			{`ctx.enqueue("q", "x")`, "permissions.enqueue allows nothing"},
			{`ctx.invoke("")`, "the name is empty"},
			{`ask(ctx, "nosuch")`, "secrets"},
			{`metric(ctx)`, "metric m: NaN is no number"},
			{`unset()`, "out of range"},
		},
	},
}

// TestWrongTypesCompiled: what a compiled handler gives the SDK that makes no
// sense ends its invocation, the function's log says why, nothing of it is done,
// and the gateway goes on.
func TestWrongTypesCompiled(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	g := openTestGateway(t)
	for lang, l := range compiledWrongTypes {
		t.Run(lang, func(t *testing.T) {
			source := l.head
			for i, c := range l.cases {
				source += fmt.Sprintf(l.one, i+1, c.call)
			}
			files := map[string]string{
				"headgate.yaml": "functions:\n  wrong-" + lang + ":\n    main: " + l.main + "\n    permissions: {publish: [a], fetch: [https://example.org]}\n    secrets: [key]\n",
				l.main:          source + l.tail,
			}
			for name, text := range l.more {
				files[name] = text
			}
			dir := writeProject(t, files)
			toolchain.Build(t, build.Request{Dir: dir, Main: l.main}) // skips where there is no compiler
			g.must(t, "deploy", dir)
			for i, c := range l.cases {
				logged := len(g.must(t, "logs", "wrong-"+lang))
				code, _, errs := g.run(t, "invoke", "wrong-"+lang, strconv.Itoa(i+1))
				logs := g.must(t, "logs", "wrong-"+lang)
				if code != exitFailed || !strings.Contains(errs+logs[min(logged, len(logs)):], c.says) {
					t.Errorf("%s\nends with %d:\n%s%s\nwant %q", c.call, code, errs, logs[min(logged, len(logs)):], c.says)
				}
				if keys := g.must(t, "state", "list", "wrong-"+lang); strings.TrimSpace(keys) != "" {
					t.Errorf("%s: what it did before is there: %s", c.call, keys)
				}
			}
		})
	}
}
