package functest_test

import (
	"context"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/gateway/functest"
	"github.com/headgate-io/headgate/internal/testcache"
	"github.com/headgate-io/headgate/sandbox"
)

func openEngine(t *testing.T) *sandbox.Engine {
	t.Helper()
	engine, err := sandbox.New(t.Context(), sandbox.Config{CacheDir: testcache.Dir(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// wantFault runs a case, which must have a fault with that text; none where it
// is empty.
func wantFault(t *testing.T, engine *sandbox.Engine, s functest.Subject, c *functest.Case, fault string) {
	t.Helper()
	r, err := functest.Run(t.Context(), engine, s, c)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(r.Faults, "; "); fault == "" && got != "" || !strings.Contains(got, fault) {
		t.Errorf("faults %q, want %q", got, fault)
	}
}
