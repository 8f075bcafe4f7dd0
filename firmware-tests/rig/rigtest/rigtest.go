// Package rigtest runs a gateway within a Go test.
package rigtest

import (
	"testing"

	"github.com/headgate-io/headgate/firmware-tests/rig"
)

// Start starts g until the test ends, and shows its log where that failed.
func Start(t testing.TB, g *rig.Gateway) {
	t.Helper()
	if err := g.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the gateway's log:\n%s", g.Log())
		}
	})
}

// FreeAddress is a loopback address that nobody listens on now.
func FreeAddress(t testing.TB) string {
	t.Helper()
	address, err := rig.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}
