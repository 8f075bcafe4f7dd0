package host_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
	"github.com/headgate-io/headgate/sandbox/host"
)

// moving is a sensor whose value is another each time.
type moving struct{ asked int }

func (m *moving) Sensor(name string) ([]byte, bool, error) {
	m.asked++
	switch name {
	case "none":
		return nil, false, nil
	case "broken":
		return nil, false, errors.New("the board is on fire")
	}
	return fmt.Appendf(nil, `{"value":%d}`, m.asked), true, nil
}

// TestSensorIsJournalled has an invocation and its rerun hear the same of a
// sensor, and the next invocation something new.
func TestSensorIsJournalled(t *testing.T) {
	m := &moving{}
	g := host.NewGrant("f", function.Permissions{Sensors: []string{"soil-*", "none", "broken"}}, function.Limits{}, nil, nil).WithSensors(m)
	var c host.Calls
	c.Reset(g, host.Invocation{})
	hear := func() string {
		v, e := c.Sensor([]byte("soil-1"))
		return fmt.Sprintf("%s %d", v, e)
	}
	for range 2 {
		if got := hear(); got != `{"value":1} 0` {
			t.Error(got)
		}
		if _, e := c.Sensor([]byte("none")); e != abi.NotFound {
			t.Error(e)
		}
		if _, e := c.Sensor([]byte("air")); e != abi.Denied {
			t.Error(e)
		}
		c.Rewind(nil)
	}
	if m.asked != 2 {
		t.Errorf("asked %d times, want 2", m.asked)
	}
	if _, e := c.Sensor([]byte("broken")); e != abi.Unavailable || c.Reason() != "sensor_read broken: the board is on fire" {
		t.Error(e, c.Reason())
	}
	if _, e := c.Sensor(nil); e != abi.Invalid {
		t.Error(e)
	}
	c.Reset(g, host.Invocation{})
	if got := hear(); got != `{"value":4} 0` {
		t.Error(got)
	}
}
