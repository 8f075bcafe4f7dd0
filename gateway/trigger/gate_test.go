package trigger_test

import (
	"testing"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/gateway/trigger"
	"github.com/headgate-io/headgate/sensors"
)

// TestSensorGates feeds readings to triggers that remember.
func TestSensorGates(t *testing.T) {
	num := func(v float64) *float64 { return &v }
	for name, c := range map[string]struct {
		tr     function.Trigger
		values []float64
		starts string // x where it starts
	}{
		"every":      {function.Trigger{Sensor: "soil-*"}, []float64{1, 1, 1}, "xxx"},
		"change":     {function.Trigger{Sensor: "*", Change: "2"}, []float64{10, 11, 12, 13, 10.5, 9, 10, 9}, "x.x..x.."},
		"below":      {function.Trigger{Sensor: "soil-1", Below: num(20), Hysteresis: 5}, []float64{30, 19, 18, 22, 19, 25, 19, 26, 20, 19.9}, ".x....x..x"},
		"above":      {function.Trigger{Sensor: "soil-1", Above: num(20)}, []float64{30, 31, 20, 21}, "x..x"},
		"both":       {function.Trigger{Sensor: "soil-1", Above: num(30), Below: num(10), Hysteresis: 2}, []float64{20, 31, 29, 28, 31, 9, 11, 12, 9}, ".x..x...x"},
		"with when":  {function.Trigger{Sensor: "soil-1", Below: num(20), When: "data.seq > 2"}, []float64{10, 10, 10, 10}, "..x."},
		"other name": {function.Trigger{Sensor: "air-*"}, []float64{1}, "."},
	} {
		t.Run(name, func(t *testing.T) {
			table := trigger.NewTable()
			if err := table.Set(trigger.Function{Name: "f", Version: 1, Triggers: []function.Trigger{c.tr}}); err != nil {
				t.Fatal(err)
			}
			got := ""
			for i, v := range c.values {
				r := &sensors.Reading{Sensor: "soil-1", Value: v, Valid: true, Quality: sensors.Good, Sequence: uint64(i + 1)}
				table.Observe(r)
				data, err := r.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				m := trigger.Message{Kind: trigger.Sensor, Topic: "soil-1", Payload: data, Reading: r}
				mark := "."
				explained := table.Explain(&m)[0].Starts
				if len(table.Match(&m, nil)) > 0 {
					mark = "x"
				}
				if got += mark; explained != (mark == "x") {
					t.Errorf("value %d: explain says %v", i, explained)
				}
			}
			if got != c.starts {
				t.Errorf("%s, want %s", got, c.starts)
			}
			bad := &sensors.Reading{Sensor: "soil-1", Value: 1, Valid: true, Quality: sensors.Bad}
			if table.Match(&trigger.Message{Kind: trigger.Sensor, Topic: "soil-1", Payload: []byte("{}"), Reading: bad}, nil) != nil {
				t.Error("a bad reading starts it")
			}
		})
	}
}
