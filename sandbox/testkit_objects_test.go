package sandbox_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/toolchain"
)

const objectsTestKit = `
import { readFile } from "node:fs/promises";
import { run } from "../sdk/javascript/testkit.mjs";
const source = await readFile("testdata/js/objects.js", "utf8");
const { default: handler } = await import("data:text/javascript," + encodeURIComponent(source));
const r = await run(handler, { objects: { "camera/in/a.txt": "hello world", "camera/in/b.bin": new Uint8Array([1]) }, denied: ["other/x"] });
const failed = await run((event, { objects }) => { objects.put("b", "k", "v"); throw new Error("no"); }, { objects: { "b/a": "x" } });
console.log(r.error ?? r.output, Object.keys(r.objects).sort().join(","), new TextDecoder().decode(r.objects["thumbs/copy.txt"]), Object.keys(failed.objects).join(","));
`

const objectsTestKitInPython = `
import sys
sys.dont_write_bytecode = True
sys.path[:0] = ["../sdk/python", "testdata/py"]
from testkit import run
import objects
r = run(objects.handle, objects={"camera/in/a.txt": "hello world", "camera/in/b.bin": b"1"}, denied=["other/x"])
def fails(event, ctx):
    ctx.objects.put("b", "k", {"v": 1})
    raise ValueError("no")
failed = run(fails, objects={"b/a": "x"})
print(r.error or r.output, ",".join(sorted(r.objects)), r.objects["thumbs/copy.txt"].decode(), ",".join(failed.objects))
`

// TestObjectsInTestKits holds the hosts in memory to what the sandbox does with
// objects.
func TestObjectsInTestKits(t *testing.T) {
	const want = "hello world|world|11|19|in/a.txt|none|denied camera/in/a.txt,thumbs/copy.txt copy of hello world b/a"
	t.Run("javascript", func(t *testing.T) {
		toolchain.Need(t, "node")
		if got := strings.TrimSpace(string(nodeScript(t, objectsTestKit))); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	})
	t.Run("python", func(t *testing.T) {
		toolchain.Need(t, "python3")
		cmd := exec.CommandContext(t.Context(), "python3", "-c", objectsTestKitInPython)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if got := strings.TrimSpace(string(out)); err != nil || got != want {
			t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
		}
	})
}
