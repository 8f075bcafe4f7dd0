package main

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
)

// wrongType is a handler that hands the SDK something of the wrong type, on its
// third line.
type wrongType struct{ call, says string }

var wrongTypes = map[string][]wrongType{
	"js": {
		{`ctx.publish(5, "x")`, "publish: the topic is not a string"},
		{`ctx.publish("a", "x", { qos: 3 })`, "publish: qos 3 is not 0, 1 or 2"},
		{`ctx.publish("a", "x", { expiry: "soon" })`, `"soon" is not a duration`},
		{`ctx.publish("a", 5n)`, "BigInt"},
		{`ctx.publish("b", "x")`, `topic "b" is not in permissions.publish`},
		{`ctx.publish("a/+", "x")`, "a/+"},
		{`ctx.state.get(5)`, "state.get: the key is not a string"},
		{`ctx.state.get("")`, "the name is empty"},
		{`ctx.state.set("k")`, "state.set: the value is undefined"},
		{`ctx.state.set("k", 1, { ttl: -1 })`, "ttl: -1 is not a duration"},
		{`ctx.state.get("other:k")`, "not a namespace that this function may read"},
		{`ctx.state.list(7)`, "state.list: the prefix is not a string"},
		{`ctx.enqueue({}, 1)`, "enqueue: the queue is not a string"},
		{`ctx.invoke(7)`, "invoke: the function is not a string"},
		{`ctx.metric("n", "many")`, "metric: the value is not a number"},
		{`ctx.secret(5)`, "secret: the name is not a string"},
		{`ctx.nosuch()`, "not a function"},
		{`const a = {}; a.a = a; ctx.state.set("k", a)`, "circular"},
	},
	"py": {
		{`ctx.publish(5, "x")`, "publish: the topic is not a str"},
		{`ctx.publish("a", "x", qos=3)`, "publish: qos 3 is not 0, 1 or 2"},
		{`ctx.publish("a", "x", expiry="soon")`, "'soon' is not a duration"},
		{`ctx.publish("b", "x")`, `topic "b" is not in permissions.publish`},
		{`ctx.state.get(5)`, "state.get: the key is not a str"},
		{`ctx.state.get("")`, "the name is empty"},
		{`ctx.state.set("k", object())`, "cannot be written as JSON"},
		{`ctx.state.set("k", 1, ttl=-1)`, "-1 is not a duration"},
		{`ctx.state.get("other:k")`, "not a namespace that this function may read"},
		{`ctx.enqueue({}, 1)`, "enqueue: the queue is not a str"},
		{`ctx.invoke(7)`, "invoke: the function is not a str"},
		{`ctx.metric("n", "many")`, "metric: the value is not a number"},
		{`ctx.secret(5)`, "secret: the name is not a str"},
		{`ctx.nosuch()`, "nosuch"},
	},
}

// TestWrongTypes: what a handler gives the SDK that makes no sense ends its
// invocation with words and the author's line, and nothing of it is done.
func TestWrongTypes(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	g := openTestGateway(t)
	for ending, cases := range wrongTypes {
		t.Run(ending, func(t *testing.T) {
			if ending == "py" {
				toolchain.NeedPython(t, micropython.Available())
			}
			for _, c := range cases {
				source := "export default (event, ctx) => {\n  ctx.state.set(\"before\", 1);\n  " + c.call + ";\n};\n"
				if ending == "py" {
					source = "def handle(event, ctx):\n    ctx.state.set(\"before\", 1)\n    " + c.call + "\n"
				}
				g.must(t, "deploy", writeProject(t, map[string]string{
					"headgate.yaml": "functions:\n  wrong:\n    main: wrong." + ending + "\n    permissions: {publish: [a]}\n    secrets: [key]\n", "wrong." + ending: source,
				}))
				code, _, errs := g.run(t, "invoke", "wrong")
				if code != exitFailed || !strings.Contains(errs, c.says) || !strings.Contains(errs, "wrong."+ending) || !strings.Contains(errs, "3") {
					t.Errorf("%s\nends with %d:\n%swant %q and line 3 of wrong.%s", c.call, code, errs, c.says, ending)
				}
				if keys := g.must(t, "state", "list", "wrong"); strings.TrimSpace(keys) != "" {
					t.Errorf("%s: what it did before is there: %s", c.call, keys)
				}
			}
		})
	}
}
