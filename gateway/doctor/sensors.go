package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/headgate-io/headgate/sensors"
	"github.com/headgate-io/headgate/sensors/sample"
)

// hangs is how long a bus may be busy with one reading.
const hangs = 15 * time.Second

// Sensors looks at the latest readings, and at buses that hang.
func Sensors(read func() []sensors.Reading, busy func() map[string]sample.Work) Probe {
	return Probe{"sensors", func(context.Context) Check {
		all := read()
		if len(all) == 0 {
			return ok("none is configured")
		}
		for bus, w := range busy() {
			if w.For > hangs {
				return fail("power the bus's devices off and on, or take them off one by one: one of them holds the bus", "bus %s has not answered for %v, while it read %s", bus, w.For.Round(time.Second), w.Sensor)
			}
		}
		var bad, silent []string
		for _, r := range all {
			switch r.Quality {
			case sensors.Bad, sensors.Stale:
				bad = append(bad, fmt.Sprintf("%s (%s): %s", r.Sensor, r.Quality, r.Fault))
			case sensors.Unread:
				silent = append(silent, r.Sensor)
			case sensors.Good:
			}
		}
		switch {
		case len(bad) > 0:
			return fail("look at the wiring and the power; 'headgate sensor scan' shows who answers, 'headgate sensor list' how each does", "%d of %d fail: %s", len(bad), len(all), strings.Join(bad, "; "))
		case len(silent) > 0:
			return warn("a device that sends by itself may be asleep: look at its topic with 'headgate sub'", "nothing has been heard yet of %s", strings.Join(silent, ", "))
		}
		return ok("%d, all good", len(all))
	}}
}
