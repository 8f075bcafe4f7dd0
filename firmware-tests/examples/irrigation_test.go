//go:build e2e

package examples

import (
	"context"
	"math/rand/v2"
	"testing"
)

func TestIrrigation(t *testing.T) {
	example{
		folder: "irrigation",
		devices: map[string]device{
			"field": {publish: []string{"farm/#"}},
			"barn":  {subscribe: []string{"farm/+/valve", "farm/+/alarm"}},
		},
		check: checkIrrigation,
		without: map[string]string{
			"irrigate": "valve",
			"meter":    "alarm",
		},
	}.run(t)
}

type (
	reading struct {
		Moisture float64 `json:"moisture"`
		At       int     `json:"at"`
	}
	flow struct {
		Liters float64 `json:"liters"`
		At     int     `json:"at"`
	}
)

func checkIrrigation(ctx context.Context, s *site) error {
	barn, err := s.listen(ctx, "barn")
	if err != nil {
		return err
	}
	defer barn.Close()
	commands := 0
	for field, target := range map[string]float64{"north": 35, "greenhouse": 40, "south": 30} {
		readings := weather(target)
		var sent []any
		for _, r := range readings {
			sent = append(sent, r)
		}
		sent = append(sent, `{"moisture":-1,"at":1}`, `{"volts":2}`, "dry") // what a broken probe says
		if err := s.publish(ctx, "field", "farm/"+field+"/moisture", sent...); err != nil {
			return err
		}
		want := valveOf(readings, target)
		commands += len(want)
		if err := s.exactly(ctx, barn, "farm/"+field+"/valve", want); err != nil {
			return err
		}
	}
	s.say("%d commands to valves, as worked out", commands)
	return checkMeter(ctx, s, barn)
}

// weather is a field's soil as it dries and is watered, with noise.
func weather(target float64) (list []reading) {
	random := rand.New(rand.NewPCG(1, uint64(target)))
	moisture, step := target, -0.4
	for n := range 120 {
		if n%30 == 29 {
			step = -step
		}
		moisture += step + random.Float64() - 0.5
		list = append(list, reading{moisture, 1000 + n*300})
	}
	return list
}

// valveOf is what a valve has to be told: open when the soil leaves the band
// downwards, again when half the lease is over, close when it leaves it upwards.
func valveOf(readings []reading, target float64) (commands []any) {
	const band, lease = 1.5, 1800
	open, until := false, 0
	for _, r := range readings {
		dry := r.Moisture < target-band || open && r.Moisture < target+band
		switch {
		case dry && (!open || until-r.At < lease/2):
			open, until = true, r.At+lease
			commands = append(commands, map[string]any{"open": true, "lease": lease})
		case !dry && open:
			open = false
			commands = append(commands, map[string]any{"open": false})
		}
	}
	return commands
}

// checkMeter lets a field use too much on the second of three days.
func checkMeter(ctx context.Context, s *site, barn *listener) error {
	total, first := 100.0, 0.0
	var sent, want []any
	for day := range 3 {
		alarmed := false
		for hour := range 24 {
			if hour == 0 {
				first = total // what the meter shows when a day begins
			} else if total += 500; day == 1 {
				total += 1000
			}
			sent = append(sent, flow{total, day*86400 + hour*3600})
			if used := total - first; used > 20000 && !alarmed {
				alarmed = true
				want = append(want, map[string]any{"used": used, "limit": 20000})
			}
		}
	}
	if err := s.publish(ctx, "field", "farm/south/flow", sent...); err != nil {
		return err
	}
	return s.exactly(ctx, barn, "farm/south/alarm", want)
}
