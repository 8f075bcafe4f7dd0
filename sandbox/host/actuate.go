package host

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/abi"
)

// Actuators answers what a function asks of actuators.
type Actuators interface {
	// Actuate answers a, which is asked for after earlier by the same invocation:
	// for how long it is granted and until when. It moves nothing. Its error is
	// an UnknownActuator where there is none of that name.
	Actuate(earlier []function.Actuation, a function.Actuation) (granted, until time.Duration, err error)
}

// UnknownActuator is the error about an actuator that the gateway has not.
type UnknownActuator string

// Error names it.
func (u UnknownActuator) Error() string { return "the gateway has no actuator " + string(u) }

// HeardActuation is one answer of Actuators.
type HeardActuation struct {
	Actuator string
	Granted  time.Duration
	Errno    abi.Errno
	Reason   string
}

// maxHeardActuations bounds the answers that are kept.
const maxHeardActuations = 256

// Actuate answers actuate: the milliseconds that are granted, 0 for off.
func (c *Calls) Actuate(name, value []byte, lease time.Duration) (int32, abi.Errno) {
	granted, e := c.actuate(string(name), string(value), lease)
	return int32(min(granted.Milliseconds(), math.MaxInt32)), e
}

func (c *Calls) actuate(name, value string, lease time.Duration) (time.Duration, abi.Errno) {
	if e := c.checkName("actuate", []byte(name)); e != 0 {
		return 0, e
	}
	if !function.AnyMatches(c.grant.perms.Actuators, name) {
		allowed := "nothing"
		if len(c.grant.perms.Actuators) > 0 {
			allowed = strings.Join(c.grant.perms.Actuators, ", ")
		}
		return 0, c.refuse(abi.Denied, "actuate %s: permissions.actuators allows %s", name, allowed)
	}
	v, ok := actuatorValue(value)
	if !ok {
		return 0, c.refuse(abi.Invalid, "actuate %s: %q is not on, off, a fraction such as 0.4, or 40%%", name, cut([]byte(value), 64))
	}
	if c.in.Actuators == nil {
		return 0, c.refuse(abi.Unsupported, "actuate %s: there are no actuators here", name)
	}
	if e := c.charge("actuate", len(name)); e != 0 {
		return 0, e
	}
	a := function.Actuation{Actuator: name, Value: v, Lease: lease}
	granted, until, err := c.in.Actuators.Actuate(c.effects.Actuations, a)
	if err != nil {
		e := abi.Unavailable
		var unknown UnknownActuator
		if errors.As(err, &unknown) {
			e = abi.NotFound
		}
		c.heardActuation(HeardActuation{Actuator: name, Errno: e, Reason: err.Error()})
		return 0, c.refuse(e, "actuate %s: %v", name, err)
	}
	c.heardActuation(HeardActuation{Actuator: name, Granted: granted})
	a.Granted, a.Until = granted, until
	c.effects.Actuations = append(c.effects.Actuations, a)
	return granted, 0
}

func (c *Calls) heardActuation(h HeardActuation) {
	if c.in.Recorded && len(c.journal.actuations) < maxHeardActuations {
		c.journal.actuations = append(c.journal.actuations, h)
	}
}

// actuatorValue reads on, off, a fraction or a percentage; with or without the
// quotes of JSON.
func actuatorValue(text string) (float64, bool) {
	text = strings.TrimSpace(text)
	if n := len(text); n >= 2 && text[0] == '"' && text[n-1] == '"' {
		text = text[1 : n-1]
	}
	switch strings.ToLower(text) {
	case "on", "true", "open":
		return 1, true
	case "off", "false", "closed":
		return 0, true
	}
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if percent {
		v /= 100
	}
	return v, err == nil && v >= 0 && v <= 1
}
