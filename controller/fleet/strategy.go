package fleet

import (
	"fmt"
	"slices"

	"github.com/headgate-io/headgate/controller/api"
)

// Complete fills in what a strategy leaves out, and refuses what makes no sense.
func Complete(n api.NewStrategy) (api.Strategy, error) {
	s := api.Strategy{
		Waves: n.Waves, Soak: or(n.Soak, 600), Deadline: or(n.Deadline, 86400), Silent: or(n.Silent, 3600),
		Gate: api.Gate{
			Sample: or(n.Gate.Sample, 20), Unhealthy: or(n.Gate.Unhealthy, 10), Errors: or(n.Gate.Errors, 5), Crashes: or(n.Gate.Crashes, 1),
			Slower: or(n.Gate.Slower, 3), Faults: or(n.Gate.Faults, 0),
		},
	}
	if len(s.Waves) == 0 {
		s.Waves = []float64{1, 10, 50}
	}
	before := 0.0
	for _, w := range s.Waves {
		if !(w > before && w <= 100) {
			return s, fmt.Errorf("strategy.waves: %v: each is more per cent than the one before, and 100 at most, as 1, 10, 50", s.Waves)
		}
		before = w
	}
	if before < 100 {
		s.Waves = append(slices.Clone(s.Waves), 100)
	}
	return s, nil
}

func or[T any](v *T, otherwise T) T {
	if v == nil {
		return otherwise
	}
	return *v
}
