package rollout_test

import (
	"testing"

	"github.com/headgate-io/headgate/internal/fault"
	"github.com/headgate-io/headgate/internal/testfault"
)

// TestSeededFaults shows that the model and the world catch what they
// are there for.
func TestSeededFaults(t *testing.T) {
	testfault.Caught(t, map[fault.Fault]string{
		fault.GateIgnored: "TestRolloutModel", fault.StepUnlocked: "TestRollout", fault.RevisionStands: "TestRollout",
	}, "-rapid.nofailfile")
}
