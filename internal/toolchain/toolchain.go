// Package toolchain says what a test does where a compiler or an engine is not
// installed: it is skipped, unless HEADGATE_REQUIRE_TOOLCHAINS demands that
// everything is there, as continuous integration does.
package toolchain

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/headgate-io/headgate/sdk/build"
)

// Required is the variable that makes a missing toolchain a failure.
const Required = "HEADGATE_REQUIRE_TOOLCHAINS"

// Skip skips the test for a reason, or fails it where everything is demanded.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv(Required) != "" {
		t.Fatal(reason)
	}
	t.Skipf("%s; set %s=1 to make this a failure", reason, Required)
}

// Need wants a command.
func Need(t testing.TB, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		Skip(t, command+" is not installed")
	}
}

// NeedPython wants the Python engine; available says whether it is there.
func NeedPython(t testing.TB, available bool) {
	t.Helper()
	if !available {
		Skip(t, "the Python engine is not there: make engines")
	}
}

// TinyGo is the variable that names the folder to which "make tinygo" has built
// the compiler. It takes minutes, so nobody demands it where this is not set.
const TinyGo = "HEADGATE_TINYGO"

// HasTinyGo reports whether NeedTinyGo finds the compiler.
func HasTinyGo() bool {
	_, err := exec.LookPath("tinygo")
	return err == nil || os.Getenv(TinyGo) != ""
}

// NeedTinyGo wants TinyGo, in that folder or on the path.
func NeedTinyGo(t testing.TB) {
	t.Helper()
	if !HasTinyGo() {
		t.Skip("tinygo is not installed; make tinygo builds it, " + TinyGo + " says where it is")
	}
	if dir := os.Getenv(TinyGo); dir != "" {
		t.Setenv("PATH", filepath.Join(dir, "bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
}

// Build builds a function. The AssemblyScript compiler of the SDK is at hand.
func Build(t testing.TB, r build.Request) *build.Artifact {
	t.Helper()
	t.Setenv("PATH", os.Getenv("PATH")+string(filepath.ListSeparator)+AssemblyScript(t))
	a, err := kept(t.Context(), t, r)
	if missing := (*build.MissingError)(nil); errors.As(err, &missing) {
		Skip(t, missing.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// AssemblyScript is the folder that "make toolchains" installs the compiler to.
func AssemblyScript(t testing.TB) string {
	t.Helper()
	return filepath.Join(Root(t), "sdk", "assemblyscript", "node_modules", ".bin")
}

// Root is the top folder of the repository.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "sandbox", "abi")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("the test does not run in the repository")
		}
		dir = filepath.Dir(dir)
	}
}
