package bridge

import "testing"

func TestRemap(t *testing.T) {
	r := remaps{{Local: "house", Remote: "zigbee2mqtt"}, {Local: "farm", Remote: "sites/north"}, {Local: "all", Remote: ""}}
	for _, c := range []struct{ local, remote string }{
		{"house", "zigbee2mqtt"},
		{"house/soil/1", "zigbee2mqtt/soil/1"},
		{"farm/3/valve", "sites/north/3/valve"},
		{"all/x", "x"},
		{"all/sites/northern", "sites/northern"},
		{"all/zigbee2mqtts", "zigbee2mqtts"},
		{"all//a", "/a"},
	} {
		if got := r.remote(c.local); got != c.remote {
			t.Errorf("%s goes out as %s, not %s", c.local, got, c.remote)
		}
		if got := r.local(c.remote); got != c.local {
			t.Errorf("%s comes in as %s, not %s", c.remote, got, c.local)
		}
	}
	if got := r.remote("field/1"); got != "field/1" {
		t.Errorf("what no pair fits is called %s", got)
	}
}

// Two gateways that prefix what they get from each other would make names
// longer and longer.
func TestRemapLoops(t *testing.T) {
	r := remaps{{Local: "b", Remote: ""}}
	for remote, want := range map[string]bool{"x": false, "a/b/x": false, "a/b/a/b/x": true, "b/b": true, "bb/b": false} {
		if got := r.loops(remote, r.local(remote)); got != want {
			t.Errorf("%s loops: %v", remote, got)
		}
	}
}
