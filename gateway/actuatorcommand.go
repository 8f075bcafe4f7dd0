package gateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/mqtt/broker"
	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/actuate"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

// errNoFeedback is about a sensor that has not said anything yet.
var errNoFeedback = errors.New("there is no reading that can be relied on")

// feedback implements actuate.Feedback over the newest readings.
func (a *actuators) feedback(sensor string) (float64, time.Duration, error) {
	r, ok := a.g.sensing.board.Latest(sensor)
	switch {
	case !ok:
		return 0, 0, fmt.Errorf("there is no sensor %s", sensor)
	case !r.Valid || r.Quality != sensors.Good:
		if r.Fault != "" {
			return 0, 0, fmt.Errorf("%w: %s", errNoFeedback, r.Fault)
		}
		return 0, 0, errNoFeedback
	}
	return r.Value, guard.SinceBoot() - r.Age, nil
}

// expect converts what is expected to the sensor's unit.
func (a *actuators) expect(c *config.Expect) (*actuate.Expect, error) {
	info, ok := a.g.sensing.board.Info(c.Sensor)
	if !ok {
		return nil, fmt.Errorf("there is no sensor %s: add it to sensors", c.Sensor)
	}
	if info.Interval > c.Within.Std() {
		return nil, fmt.Errorf("sensor %s is read every %v: within has to be longer than that", c.Sensor, info.Interval)
	}
	e := &actuate.Expect{Sensor: c.Sensor, Within: c.Within.Std(), ReportOnly: c.Otherwise == config.OtherwiseReport}
	for _, b := range []struct {
		from *sensors.Quantity
		to   **float64
	}{{c.Above, &e.Above}, {c.Below, &e.Below}} {
		if b.from == nil {
			continue
		}
		q, err := b.from.In(info.Unit)
		if err != nil {
			return nil, err
		}
		*b.to = &q.Value
	}
	return e, nil
}

// actuatorPrefix is what the topics of actuators begin with.
const actuatorPrefix = "actuators/"

// seen takes what passes the broker: commands, and what devices say.
func (a *actuators) seen(m *broker.Message, from sender) {
	if len(a.g.cfg.Actuators) == 0 {
		return
	}
	if strings.HasPrefix(m.Topic, actuatorPrefix) {
		a.command(m, from)
	}
	if len(a.states) > 0 {
		a.heard(m)
	}
}

// command follows a message on a topic of commands, actuators/NAME/set.
func (a *actuators) command(m *broker.Message, from sender) {
	name, ok := strings.CutSuffix(m.Topic[len(actuatorPrefix):], "/set")
	if !ok {
		return
	}
	if _, there := a.g.cfg.Actuators[name]; !there {
		if a.astray.Allow() {
			a.log.Warn("command for an actuator that is not there", "actuator", fmt.Sprintf("%.64q", name), "client", from.client)
		}
		return
	}
	cmd, err := parseCommand(m.Payload)
	if err != nil {
		a.controller.Refuse(actuate.Event{Kind: actuate.Refused, Actuator: name, Who: "mqtt:" + from.client, Reason: err.Error(), Retained: m.Retain || from.stored})
		return
	}
	cmd.Actuator, cmd.Who, cmd.Retained = name, "mqtt:"+from.client, m.Retain || from.stored
	cmd.Source = sourceOf(from)
	_, _ = a.controller.Start(cmd, nil) // a refusal is told as an event
}

// sourceOf is whose commands are numbered together: a client's, or a user's
// where the broker made the client's id, which then is a new one every time.
func sourceOf(from sender) string {
	if strings.HasPrefix(from.client[strings.LastIndexByte(from.client, '/')+1:], broker.AssignedPrefix) {
		return from.user
	}
	return from.user + "/" + from.client
}

// wireCommand is a command as JSON.
type wireCommand struct {
	Value   any               `json:"value"`
	Lease   function.Duration `json:"lease"`
	ID      string            `json:"id"`
	Expires time.Time         `json:"expires"`
	Seq     uint64            `json:"seq"`
}

// parseCommand reads on, off, open, close, a fraction, or a wireCommand.
func parseCommand(payload []byte) (*actuate.Command, error) {
	text := strings.TrimSpace(string(payload))
	if !strings.HasPrefix(text, "{") {
		v, err := parseValue(text)
		return &actuate.Command{Value: v}, err
	}
	var w wireCommand
	d := json.NewDecoder(bytes.NewReader(payload))
	d.DisallowUnknownFields() // "leese" would be the default lease
	err := d.Decode(&w)
	if err == nil && d.More() {
		err = errors.New("something follows the command")
	}
	if err != nil {
		return nil, fmt.Errorf("the command is not understood: %w", plainly(err))
	}
	v, err := parseValue(fmt.Sprint(w.Value))
	if err != nil {
		return nil, err
	}
	if w.Lease < 0 {
		return nil, fmt.Errorf("a lease of %v", w.Lease)
	}
	return &actuate.Command{Value: v, Lease: w.Lease.Std(), EventID: w.ID, Expires: w.Expires, Seq: w.Seq}, nil
}

// plainly says of a JSON error what a sender can do about it.
func plainly(err error) error {
	var kind *json.UnmarshalTypeError
	switch field, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); {
	case unknown:
		return fmt.Errorf("there is no field %s, only value, lease, seq, expires and id", field)
	case errors.As(err, &kind) && kind.Field == "lease":
		return fmt.Errorf("lease is a %s: write a duration as text, such as \"10m\"", kind.Value)
	case errors.As(err, &kind):
		return fmt.Errorf("%s cannot be a %s", kind.Field, kind.Value)
	}
	return err
}

func parseValue(text string) (float64, error) {
	switch strings.ToLower(text) {
	case "on", "open", "true":
		return 1, nil
	case "off", "close", "closed", "false":
		return 0, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= 0 && v <= 1) { // NaN is none of them
		return 0, fmt.Errorf("%.64q is not understood: send on, off, a fraction, or {\"value\": \"on\", \"lease\": \"10m\"}", text)
	}
	return v, nil
}
