package host_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// changing has another value each time that it is asked.
type changing struct{ asked int }

func (c *changing) Secret(name string) ([]byte, bool, error) {
	c.asked++
	switch name {
	case "unset":
		return nil, false, nil
	case "lost":
		return nil, false, errors.New("cannot be opened")
	}
	return []byte("hunter" + strings.Repeat("2", c.asked)), true, nil
}

func TestSecret(t *testing.T) {
	source := &changing{}
	grant := host.NewGrant("irrigate", function.Permissions{}, function.Limits{}, nil, nil).WithSecrets([]string{"key", "unset", "lost"}, source)
	c := &host.Calls{}
	c.Reset(grant, host.Invocation{})
	for name, want := range map[string]abi.Errno{"key": 0, "unset": abi.NotFound, "lost": abi.Unavailable, "other": abi.Denied, "": abi.Invalid} {
		if _, e := c.Secret([]byte(name)); e != want {
			t.Errorf("%q: %d, want %d", name, e, want)
		}
	}
	first, _ := c.Secret([]byte("key"))
	kept := string(first)
	c.Rewind(nil)
	if again, _ := c.Secret([]byte("key")); string(again) != kept {
		t.Errorf("a rerun hears %q, the first run heard %q", again, kept)
	}
	c.Reset(grant, host.Invocation{})
	if string(first) != strings.Repeat("\x00", len(kept)) {
		t.Errorf("the value stays in memory: %q", first)
	}
	if next, _ := c.Secret([]byte("key")); string(next) == kept {
		t.Error("the next event hears the old value")
	}
}

// TestSecretsAreTakenOutOfLogsAndErrors logs a secret in every way there is by
// mistake.
func TestSecretsAreTakenOutOfLogsAndErrors(t *testing.T) {
	grant := host.NewGrant("irrigate", function.Permissions{}, function.Limits{}, nil, nil).WithSecrets([]string{"key"}, &changing{})
	c := &host.Calls{}
	c.Reset(grant, host.Invocation{})
	if _, e := c.Secret([]byte("key")); e != 0 {
		t.Fatal(e)
	}
	c.LogBytes(function.Info, []byte("key=hunter2."))
	c.LogBytes(function.Info, []byte(strings.Repeat("x", 4092)+"hunter2")) // at the cut
	c.Write(host.Stderr, []byte("trace hunter2\n"))
	c.SetFailure([]byte("wrong hunter2"))
	c.Finish()
	for _, l := range c.Logs() {
		if strings.Contains(l.Text, "hunt") {
			t.Errorf("logged %q", l.Text)
		}
	}
	if got := c.Failure(); got != "wrong [secret key]" {
		t.Errorf("failure %q", got)
	}
	if got := c.Redact("Error: hunter2 and hunter2"); got != "Error: [secret key] and [secret key]" {
		t.Errorf("%q", got)
	}
}
