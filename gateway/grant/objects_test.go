package grant_test

import (
	"strings"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/grant"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// TestObjects asks for objects by the entries of a manifest.
func TestObjects(t *testing.T) {
	spec := &function.Spec{Name: "f", Permissions: function.Permissions{Objects: function.ObjectPermissions{
		Read: []string{"camera", "logs/+/today", "maps/north/#"}, Write: []string{"thumbs/+"},
	}}}
	g, err := grant.New(spec)
	if err != nil {
		t.Fatal(err)
	}
	var c host.Calls
	c.Reset(g, host.Invocation{})
	c.Reset(g, host.Invocation{State: none{}})
	for _, k := range []struct {
		name  string
		read  abi.Errno
		write abi.Errno
	}{
		{"camera/a/b", abi.NotFound, abi.Denied},
		{"logs/a/today", abi.NotFound, abi.Denied},
		{"logs/a/b/today", abi.Denied, abi.Denied},
		{"thumbs/a", abi.Denied, 0},
		{"thumbs/a/b", abi.Denied, abi.Denied},
		{"camera2/a", abi.Denied, abi.Denied},
	} {
		if _, e := c.BlobStat([]byte(k.name)); e != k.read {
			t.Errorf("read %s: %v, want %v", k.name, e, k.read)
		}
		if e := c.BlobDelete([]byte(k.name)); e != k.write {
			t.Errorf("write %s: %v, want %v", k.name, e, k.write)
		}
	}
	for prefix, want := range map[string]abi.Errno{"camera": 0, "camera/x": 0, "maps/north/": 0, "maps/north/a": 0, "maps/": abi.Denied, "logs/a": abi.Denied, "thumbs/": abi.Denied} {
		if _, e := c.BlobList([]byte(prefix), 0); e != want {
			t.Errorf("list %s: %v, want %v", prefix, e, want)
		}
	}
	bad := &function.Spec{Name: "f", Permissions: function.Permissions{Objects: function.ObjectPermissions{Read: []string{"camera/#/x"}}}}
	if err := grant.Check(bad); err == nil || !strings.Contains(err.Error(), "permissions.objects.read[0]") {
		t.Errorf("%v", err)
	}
}

type none struct{}

func (none) Get(string, string) ([]byte, bool, error)                 { return nil, false, nil }
func (none) List(string, string, string, int) ([]string, bool, error) { return nil, false, nil }
