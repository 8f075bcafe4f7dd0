// Package testfault shows that tests catch what they are there for: it runs each
// again in a process with a fault built in, and wants it to fail.
package testfault

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/headgate-io/headgate/internal/fault"
)

// patience ends a test that never ends by itself.
const patience = 5 * time.Minute

// Caught wants each fault to be caught by the test of this binary that is named
// with it. Without a fault that test must pass. The flags go to the test binary.
func Caught(t *testing.T, by map[fault.Fault]string, flags ...string) {
	t.Helper()
	if !fault.Seeded {
		t.Skip("needs -tags seededfaults")
	}
	clean := map[string]func() (string, error){}
	for _, test := range by {
		clean[test] = sync.OnceValues(func() (string, error) { return run(t, test, "", flags) })
	}
	for f, test := range by {
		t.Run(string(f), func(t *testing.T) {
			if out, err := clean[test](); err != nil {
				t.Fatalf("%s fails without a fault:\n%s", test, out)
			}
			out, err := run(t, test, f, flags)
			if err == nil || !strings.Contains(out, "--- FAIL: "+test) {
				t.Fatalf("%s does not catch the fault:\n%s", test, out)
			}
			t.Logf("caught by %s", test)
		})
	}
}

// run runs one test of this binary, with a fault or without.
func run(t *testing.T, test string, f fault.Fault, flags []string) (string, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], append([]string{"-test.run=^" + test + "$"}, flags...)...)
	cmd.Env = append(os.Environ(), "HEADGATE_FAULT="+string(f))
	out, err := cmd.CombinedOutput()
	return string(out), err
}
