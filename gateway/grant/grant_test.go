package grant_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
)

func TestCheckNamesTheEntry(t *testing.T) {
	s := &function.Spec{Name: "f", Permissions: function.Permissions{Publish: []string{"a/+", "b/#/c", "$SYS/x"}}}
	err := grant.Check(s)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{`permissions.publish[1]: invalid topic filter "b/#/c"`, `permissions.publish[2]: "$SYS/x"`} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%v\ndoes not say %s", err, want)
		}
	}
	if strings.Contains(err.Error(), "[0]") {
		t.Errorf("a/+ was refused: %v", err)
	}
}

func TestCheckOnFailureTopic(t *testing.T) {
	s := &function.Spec{Name: "f", OnFailure: function.OnFailure{Topic: "alerts/f"}, Permissions: function.Permissions{Publish: []string{"a/+"}}}
	if err := grant.Check(s); err == nil || !strings.Contains(err.Error(), `on_failure.topic: topic "alerts/f" is not in permissions.publish`) {
		t.Errorf("a topic without permission: %v", err)
	}
	s.Permissions.Publish = []string{"alerts/#"}
	if err := grant.Check(s); err != nil {
		t.Error(err)
	}
}
