package build_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/internal/toolchain"
	"github.com/headgate-io/headgate/sdk"
	"github.com/headgate-io/headgate/sdk/build"
)

// skipWithout skips a test whose tool is not installed, where nobody demands it.
func skipWithout(t *testing.T, err error) {
	t.Helper()
	if missing := (*build.MissingError)(nil); errors.As(err, &missing) {
		toolchain.Skip(t, missing.Error())
	}
}

const rustSource = `use headgate::{Context, Event, Result};
mod part;
headgate::handler!(handle);
fn handle(_: &Event, _: &Context) -> Result<i64> { Ok(part::N) }
`

func TestRust(t *testing.T) {
	dir := write(t, map[string]string{"f.rs": rustSource, "part.rs": "pub const N: i64 = 1;\n", "bad.rs": "fn f() { 1 + }\n"})
	a, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "f.rs"})
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	if a.Main != "f.wasm" || a.Log != "" || !strings.HasPrefix(string(a.Files[a.Main]), "\x00asm") {
		t.Errorf("%s: %s", a.Main, a.Log)
	}
	if _, err := build.Build(t.Context(), build.Request{Dir: dir, Main: "bad.rs"}); err == nil || !strings.Contains(err.Error(), "bad.rs:1:14") {
		t.Errorf("a fault in the source: %v", err)
	}
}

// TestRustTestKit runs the unit tests of the example natively.
func TestRustTestKit(t *testing.T) {
	_, err := build.Build(t.Context(), build.Request{Dir: "../../examples/nightly", Main: "collect.rs"})
	skipWithout(t, err)
	if err != nil {
		t.Fatal(err)
	}
	tmp := t.TempDir()
	if err := sdk.WriteRustCrate(tmp); err != nil {
		t.Fatal(err)
	}
	library := filepath.Join(tmp, "libheadgate.rlib")
	test := filepath.Join(tmp, "collect")
	for _, args := range [][]string{
		{"rustc", "--edition", "2021", "--crate-type", "rlib", "--crate-name", "headgate", "-o", library, filepath.Join(tmp, "lib.rs")},
		{"rustc", "--edition", "2021", "--test", "--extern", "headgate=" + library, "-o", test, "../../examples/nightly/collect.rs"},
		{test},
	} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
}
