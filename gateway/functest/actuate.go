package functest

import (
	"fmt"
	"strconv"
	"time"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sandbox/host"
)

// willing grants all that is asked of actuators: which there are, and what they
// may, only a gateway knows.
type willing struct{}

var _ host.Actuators = willing{}

// willingLease is what who asks for no lease gets.
const willingLease = 10 * time.Minute

// Actuate implements host.Actuators.
func (willing) Actuate(_ []function.Actuation, a function.Actuation) (granted, until time.Duration, err error) {
	switch {
	case a.Value == 0:
		return 0, 0, nil
	case a.Lease == 0:
		return willingLease, willingLease, nil
	default:
		return a.Lease, a.Lease, nil
	}
}

func (r *Report) judgeActuations(want []Actuate, got []function.Actuation) {
	var wants, gots []effect
	for _, w := range want {
		x := effect{to: w.Actuator, also: map[string]string{}}
		if w.Value != nil {
			x.data, x.has = actuation(w.Value), true
		}
		if w.Lease != nil {
			x.also["lease"] = w.Lease.String()
		}
		wants = append(wants, x)
	}
	for _, g := range got {
		gots = append(gots, effect{to: g.Actuator, data: actuation(g.Value), has: true, also: map[string]string{"lease": g.Lease.String()}})
	}
	r.judgeList("actuate", wants, gots)
}

// actuation is a value as people write it.
func actuation(v any) string {
	switch v := v.(type) {
	case bool: // YAML's on and off
		if v {
			return "on"
		}
		return "off"
	case float64:
		if v == 0 || v == 1 {
			return actuation(v == 1)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case int:
		return actuation(float64(v))
	}
	return fmt.Sprint(v)
}
