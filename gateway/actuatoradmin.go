package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/headgate-io/headgate/gateway/admin"
	"github.com/headgate-io/headgate/gateway/admin/api"
	"github.com/headgate-io/headgate/gateway/config"
	"github.com/headgate-io/headgate/gateway/doctor"
	"github.com/headgate-io/headgate/sensors/actuate"
	"github.com/headgate-io/headgate/sensors/actuate/guard"
)

var _ admin.Actuators = (*actuators)(nil)

// Actuators implements admin.Actuators.
func (a *actuators) Actuators() []api.Actuator {
	out := []api.Actuator{}
	for _, s := range a.controller.Status() {
		c := a.g.cfg.Actuators[s.Name]
		out = append(out, api.Actuator{
			Name: s.Name, Wired: wired(&c), State: string(s.State), Value: s.Value, Left: s.Left, Since: s.Since, Who: s.Who,
			Used: s.UsedToday, MaxPerDay: c.MaxPerDay.Std(), MaxOn: c.MaxOn.Std(), Fault: s.Fault, Feedback: s.Feedback, Reported: s.Reported,
		})
	}
	return out
}

// wired says what an actuator hangs on.
func wired(c *config.Actuator) string {
	switch {
	case c.GPIO != "" && c.Close != "":
		return "gpio " + c.GPIO + ", " + c.Close
	case c.GPIO != "":
		return "gpio " + c.GPIO
	case c.PWM != "":
		return "pwm " + c.PWM
	case c.MQTT != nil:
		return "mqtt " + c.MQTT.Set
	default:
		return "simulated " + c.Simulated
	}
}

// Actuate implements admin.Actuators.
func (a *actuators) Actuate(ctx context.Context, who, name string, c api.ActuatorCommand) (api.ActuatorGrant, error) {
	until, err := a.controller.Do(ctx, &actuate.Command{Who: who, Actuator: name, Value: c.Value, Lease: c.Lease})
	var r *actuate.Refusal
	switch {
	case errors.As(err, &r) && r.Code == actuate.CodeUnknown:
		return api.ActuatorGrant{}, admin.Missing(err)
	case errors.As(err, &r):
		return api.ActuatorGrant{}, admin.Refusal(err)
	case err != nil:
		return api.ActuatorGrant{}, err
	}
	g := api.ActuatorGrant{Actuator: name, Value: c.Value}
	if until > 0 {
		g.Granted = until - guard.SinceBoot()
		g.Until = a.g.now().Add(g.Granted).UTC()
	}
	return g, nil
}

// Records implements admin.Actuators.
func (a *actuators) Records(name string, n int) ([]api.ActuatorRecord, error) {
	out := []api.ActuatorRecord{}
	err := a.ledger.Read(func(r *actuate.Record) bool {
		if name != "" && r.Actuator != name || actuate.IsProbe(r) {
			return true
		}
		out = append(out, api.ActuatorRecord{
			Seq: r.Seq, Time: r.Wall, Trust: r.Trust, Actuator: r.Actuator, Happens: string(r.Kind), Value: r.Value, Who: r.Who,
			EventID: r.Event, Reason: r.Reason, Lease: time.Duration(max(0, r.Until-r.At)) * time.Millisecond,
		})
		return true
	})
	return out[max(0, len(out)-n):], err
}

// examined is what doctor has to know.
func (a *actuators) examined() doctor.Actuators {
	d := doctor.Actuators{Local: a.guard != nil}
	d.Ledger = a.controller.LedgerFault()
	d.LedgerLost = a.ledger.Lost()
	if a.guard != nil {
		s := a.guard.Stats()
		d.GuardReady, d.GuardFault, d.GuardHung = s.Ready, a.guard.Fault(), s.Hung
	}
	for _, s := range a.controller.Status() {
		c := a.g.cfg.Actuators[s.Name].WithDefaults()
		d.All = append(d.All, doctor.Actuator{
			Name: s.Name, Fault: s.Fault, Unknown: s.State == actuate.Unknown, Latching: c.Kind == config.KindLatching,
			NoTimer: c.MQTT != nil && !c.Stops(),
		})
	}
	return d
}
