//go:build seededfaults

package conversation

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/headgate-io/headgate/internal/fault"
)

// TestSeededFaults runs the conversations with broken brokers: they must fail.
func TestSeededFaults(t *testing.T) {
	for _, f := range []fault.Fault{fault.NoDuplicateCheck, fault.ForgetMessages} {
		t.Run(string(f), func(t *testing.T) {
			cmd := exec.CommandContext(context.Background(), os.Args[0], "-test.failfast", "-test.run", "^(TestConversations|TestRandomConversations)$")
			cmd.Env = append(os.Environ(), "HEADGATE_FAULT="+string(f))
			out, err := cmd.CombinedOutput()
			if err == nil {
				t.Fatal("nobody noticed")
			}
			t.Logf("caught:\n%.600s", out)
		})
	}
}
