//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
	"github.com/headgate-io/headgate/gateway/admin/api"
)

const failing = `functions:
  throws:
    main: throws.js
    triggers: [{mqtt: throws}]
    retry: {attempts: 1}
  spins:
    main: spins.js
    triggers: [{mqtt: spins}]
    limits: {fuel: 3M}
    retry: {attempts: 1}
  traps:
    main: traps.c
    triggers: [{mqtt: traps}]
    retry: {attempts: 1}
`

// What these do hangs on all that an invocation hears: state, time, random and
// the event.
var failingSources = map[string]string{
	"headgate.yaml": failing,
	"throws.js": `export default (event, { state }) => {
  state.set("last", { at: Date.now(), luck: Math.random(), text: event.text() });
  const sum = Array.from({ length: 200 }, (_, i) => Math.sin(i) * Math.random()).reduce((a, b) => a + b);
  throw new Error("sum " + sum + " at " + new Date().toISOString() + " of " + JSON.stringify(event.data));
};
`,
	"spins.js": "export default (event) => { let n = 0; while (true) n += event.data.length * Math.random(); };\n",
	"traps.c": `#include <headgate.h>
HG_HANDLE {
  char in[64];
  volatile int zero = 0;
  return (int)hg_input(in, sizeof in) / zero;
}
`,
}

// TestReplayOnAnotherArchitecture records failures on a gateway of this machine
// and runs them again on arm64 (under qemu): the same trap, error and fuel.
func TestReplayOnAnotherArchitecture(t *testing.T) {
	g, _ := startGateway(t)
	project, files := t.TempDir(), t.TempDir()
	for name, text := range failingSources {
		if err := os.WriteFile(filepath.Join(project, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, g, "deploy", project)
	arm := filepath.Join(files, "headgate-arm64")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", arm, "github.com/headgate-io/headgate/cmd/headgate")
	build.Env = append(os.Environ(), "GOARCH=arm64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, outcome := range map[string]string{"throws": "failed", "spins": "out_of_fuel", "traps": "trapped"} {
		t.Run(name, func(t *testing.T) {
			run(t, g, "recordings", "start", name)
			run(t, g, "pub", name, `{"length": 3,  "of": "è"}`)
			recorded := awaitRecording(t, g, name)
			if recorded.Outcome != outcome || recorded.Fuel == 0 {
				t.Fatalf("recorded %+v", recorded)
			}
			file := filepath.Join(files, name+".recording")
			run(t, g, "recordings", "get", recorded.ID, "-o", file)
			out, err := exec.CommandContext(t.Context(), "qemu-aarch64-static", arm, "replay", file, "--json").CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			var replay struct {
				Same    bool `json:"same"`
				Outcome struct {
					Outcome, Error string
					Fuel           uint64
				} `json:"outcome"`
			}
			if err := json.Unmarshal(out, &replay); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if !replay.Same || replay.Outcome.Outcome != recorded.Outcome || replay.Outcome.Error != recorded.Error || replay.Outcome.Fuel != recorded.Fuel {
				t.Errorf("recorded %s with %d fuel: %s\nreplayed %s", recorded.Outcome, recorded.Fuel, recorded.Error, out)
			}
			t.Logf("%s, %d fuel on both: %s", recorded.Outcome, recorded.Fuel, recorded.Error)
		})
	}
}

func run(t *testing.T, g *rig.Gateway, args ...string) string {
	t.Helper()
	out, err := g.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// awaitRecording returns the newest recording of a function, once there is one.
func awaitRecording(t *testing.T, g *rig.Gateway, name string) api.Recording {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		var list []api.Recording
		if err := json.Unmarshal([]byte(run(t, g, "recordings", "list", name, "--json")), &list); err != nil {
			t.Fatal(err)
		}
		if len(list) > 0 {
			return list[0]
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no recording of %s", name)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
