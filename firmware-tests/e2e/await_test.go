//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// awaitText returns when a program has printed the text.
func awaitText(ctx context.Context, t *testing.T, out *rig.Output, text string) {
	t.Helper()
	for !strings.Contains(out.String(), text) {
		select {
		case <-ctx.Done():
			t.Fatalf("waited for %q, got\n%s", text, out.String())
		case <-time.After(10 * time.Millisecond):
		}
	}
}
