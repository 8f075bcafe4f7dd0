package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/headgate-io/headgate/controller/command"
	"github.com/headgate-io/headgate/gateway/admin/client"
	"github.com/headgate-io/headgate/internal/slow"
	"github.com/headgate-io/headgate/internal/testca"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox/engine/micropython"
	"github.com/headgate-io/headgate/sdk/build"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

func TestMain(m *testing.M) {
	if guard.Is(os.Args[1:]) { // the gateways of scripts start it
		os.Exit(guard.Main(os.Args[1:], os.Stderr))
	}
	testscript.Main(cached{m}, map[string]func(){"headgate": main, "headgate-controller": controllerMain})
}

// controllerMain is the program headgate-controller.
func controllerMain() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := command.Execute(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// cached are tests that share what they compile.
type cached struct{ *testing.M }

// Run runs them.
func (m cached) Run() int { return testcache.Run(m.M) }

// TestScripts runs the command line as people do. Scripts start gateways of
// their own, on loopback, with their state below the script's folder.
func TestScripts(t *testing.T) {
	slow.UnderRace(t, slow.WholeGateways)
	cache := testcache.Dir(t) // of what gateways compile; tools have theirs in it
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("HOME", e.WorkDir)
			e.Setenv("HEADGATE_HOME", filepath.Join(e.WorkDir, "author"))
			e.Setenv("HEADGATE_STATE_DIR", filepath.Join(e.WorkDir, "state"))
			e.Setenv("HEADGATE_HOST", "unix://"+filepath.Join(e.WorkDir, "state", "admin.sock"))
			e.Setenv("XDG_CACHE_HOME", filepath.Join(cache, "user"))
			if err := testcache.Link(e.Getenv("HEADGATE_STATE_DIR")); err != nil {
				return err
			}
			// The Go command, for functions written in Go.
			for _, name := range []string{"GOCACHE", "GOMODCACHE", "GOPATH", "GOPROXY", "GOFLAGS"} {
				e.Setenv(name, os.Getenv(name))
			}
			return nil
		},
		// [python] is true where the Python engine is built in, [rust] where
		// Rust has its WebAssembly target.
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "python":
				return micropython.Available(), nil
			case "rust":
				return build.HasRust(t.Context()), nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ready": ready, "eventually": eventually, "status": status, "issue": issue, "remember": remember, "hangup": hangup},
	})
}

// ready waits until the script's gateway is.
func ready(ts *testscript.TestScript, _ bool, _ []string) {
	c, err := client.New(ts.Getenv("HEADGATE_HOST"), "")
	ts.Check(err)
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	ts.Check(c.WaitReady(ctx))
}

// issue makes a certificate authority, ca.crt, and certificates that it signed,
// with their keys, in the script's folder.
func issue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: issue name…")
	}
	ca, dir := testca.New(scriptTB{ts: ts}), ts.Getenv("WORK")
	ca.WriteCA(filepath.Join(dir, "ca.crt"))
	for _, name := range args {
		ca.Write(dir, name, ca.Issue(name))
	}
}

// scriptTB ends a script where a helper would end a test.
type scriptTB struct {
	testing.TB
	ts *testscript.TestScript
}

func (s scriptTB) Helper()           {}
func (s scriptTB) Fatal(args ...any) { s.ts.Fatalf("%v", fmt.Sprint(args...)) }

// hangup sends SIGHUP to what the script runs in the background.
func hangup(ts *testscript.TestScript, _ bool, _ []string) {
	for _, c := range ts.BackgroundCmds() {
		ts.Check(c.Process.Signal(syscall.SIGHUP))
	}
}

// remember sets a variable to the word after a label in the last output, without
// JSON's quotes.
func remember(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: remember VARIABLE [label]")
	}
	if len(args) == 1 { // all of it
		ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile("stdout")))
		return
	}
	for line := range strings.Lines(ts.ReadFile("stdout")) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == args[1] {
			ts.Setenv(args[0], strings.Trim(words[1], `",`))
			return
		}
	}
	ts.Fatalf("no line starts with %s", args[1])
}

// status runs a command that must end with an exit code.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status code headgate args…")
	}
	var exit *exec.ExitError
	got := 0
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
}

// eventually runs a command again and again until its output has a text. It
// asks less often the longer it takes: what it waits for needs the processor too.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 {
		ts.Fatalf("usage: eventually text headgate args…")
	}
	var stdout string
	pause := 20 * time.Millisecond
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(pause) {
		pause = min(2*pause, 500*time.Millisecond)
		if ts.Exec(args[1], args[2:]...) == nil {
			if stdout = ts.ReadFile("stdout"); strings.Contains(stdout, args[0]) {
				return
			}
		}
	}
	ts.Fatalf("%v never printed %q; at last\n%s", args[1:], args[0], stdout)
}
