package ota_test

import (
	"testing"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/testfault"
)

// TestSeededFaults shows that the tests of attacks and power cuts catch what they
// are there for.
func TestSeededFaults(t *testing.T) {
	testfault.Caught(t, map[fault.Fault]string{
		fault.SkipDigest: "TestServersThatLie", fault.SkipRollback: "TestReplayedAndRolledBackMetadata",
		fault.SkipSignature: "TestStolenOnlineKeyRunsNoCode", fault.PartNotSynced: "TestWholeIsOnTheDisk",
	})
}
