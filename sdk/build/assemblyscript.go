package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/headgate-io/headgate/sdk"
)

const installAssemblyScript = "install the AssemblyScript compiler in the project (npm install --save-dev assemblyscript; npm is in Debian's package npm)"

// findAssemblyScript finds the compiler in the project, or a folder above, or on
// the path.
func findAssemblyScript(dir string) (string, error) {
	for at := dir; ; at = filepath.Dir(at) {
		asc := filepath.Join(at, "node_modules", ".bin", "asc")
		if _, err := os.Stat(asc); err == nil {
			return asc, nil
		}
		if at == filepath.Dir(at) {
			break
		}
	}
	asc, err := exec.LookPath("asc")
	if err != nil {
		return "", &MissingError{Tool: "asc", Install: installAssemblyScript}
	}
	return asc, nil
}

// assemblyScriptEntry exports what the ABI wants around the author's handle.
const assemblyScriptEntry = `import { handle } from "./src/%s";
import { Event, Context, result } from "headgate";
const event = new Event(), context = new Context();
export function headgate_abi_v1(): void {}
export function headgate_handle(): i32 {
  handle(event, context);
  return result();
}
`

// assemblyScriptCommand builds one AssemblyScript file, with what it imports.
// There is no garbage collection: every event starts from the clean state.
func assemblyScriptCommand(_ context.Context, path, tmp, out string, _ bool) (command, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return command{}, err
	}
	asc, err := findAssemblyScript(filepath.Dir(abs))
	if err != nil {
		return command{}, err
	}
	name := strings.TrimSuffix(filepath.Base(abs), filepath.Ext(abs))
	err = errors.Join(
		sdk.WriteAssemblyScript(filepath.Join(tmp, "lib", "headgate")),
		os.Symlink(filepath.Dir(abs), filepath.Join(tmp, "src")),
		os.WriteFile(filepath.Join(tmp, "entry.ts"), fmt.Appendf(nil, assemblyScriptEntry, name), 0o644),
	)
	return command{
		dir: tmp,
		args: []string{
			asc, "entry.ts", "--lib", "lib", "--runtime", "stub", "--optimizeLevel", "3", "--shrinkLevel", "1", "--noAssert",
			"--initialMemory", "2", "--use", "abort=~lib/headgate/index/aborted", "--outFile", out,
		},
		install: installAssemblyScript,
	}, err
}
