package host

import (
	"errors"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Sensors answers sensor_read. It may be asked by any goroutine.
type Sensors interface {
	// Sensor returns the latest reading of a sensor as JSON, which the caller
	// may keep; found is false where there is no such sensor. An error that is
	// an *Abort ends the invocation, another says that nothing can be known now.
	Sensor(name string) (reading []byte, found bool, err error)
}

// MaxSensorReads is how many sensors one invocation may read.
const MaxSensorReads = 256

// HeardSensor is the answer to sensor_read: what is known of a sensor, empty
// where there is none of that name.
type HeardSensor struct {
	Name    string
	Reading []byte
}

// Sensor answers sensor_read. An invocation hears of one sensor always the
// same, and so does its rerun: a decision is made on one state of the field.
func (c *Calls) Sensor(name []byte) ([]byte, abi.Errno) {
	if e := c.checkName("sensor_read", name); e != 0 {
		return nil, e
	}
	if !function.AnyMatches(c.grant.perms.Sensors, string(name)) {
		return nil, c.refuse(abi.Denied, "sensor_read %s: permissions.sensors does not allow it: add it there", name)
	}
	for i := range c.journal.sensors {
		if s := &c.journal.sensors[i]; s.Name == string(name) {
			return c.sensorAnswer(s)
		}
	}
	switch {
	case c.grant.sensors == nil:
		return nil, c.refuse(abi.Unavailable, "sensor_read %s: there are no sensors here", name)
	case len(c.journal.sensors) == MaxSensorReads:
		return nil, c.refuse(abi.Limit, "sensor_read: one invocation may read %d sensors", MaxSensorReads)
	}
	reading, found, err := c.grant.sensors.Sensor(string(name))
	if err != nil {
		var abort *Abort
		if errors.As(err, &abort) {
			c.fail(abort.Outcome, "%s", abort.Reason)
		}
		return nil, c.refuse(abi.Unavailable, "sensor_read %s: %v", name, err)
	}
	if !found {
		reading = nil
	}
	c.journal.sensors = append(c.journal.sensors, HeardSensor{string(name), reading})
	return c.sensorAnswer(&c.journal.sensors[len(c.journal.sensors)-1])
}

func (c *Calls) sensorAnswer(s *HeardSensor) ([]byte, abi.Errno) {
	if len(s.Reading) == 0 {
		return nil, c.refuse(abi.NotFound, "sensor_read %s: there is no sensor of that name", s.Name)
	}
	return s.Reading, 0
}

// WithSensors returns a grant whose sensor_read is answered by s.
func (g *Grant) WithSensors(s Sensors) *Grant {
	with := *g
	with.sensors = s
	return &with
}
