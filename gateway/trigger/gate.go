package trigger

import (
	"errors"
	"math"
	"sync"

	"github.com/headgate-io/headgate/function"
	"github.com/headgate-io/headgate/sensors"
)

// gate is what a sensor trigger asks of values over time: to have moved, to
// have crossed a threshold. It begins with the deployment: a value that is
// beyond a threshold then has crossed it.
type gate struct {
	change       float64
	above, below *float64
	hysteresis   float64
	any          bool

	mu   sync.Mutex // guards seen
	seen map[string]*seen
}

// seen is what a gate remembers of one sensor.
type seen struct {
	value  float64
	beyond bool
}

// maxSeen bounds the sensors of one trigger; a gateway has fewer.
const maxSeen = 1024

func newGate(t *function.Trigger) *gate {
	return &gate{
		change: t.ChangeBy(), above: t.Above, below: t.Below, hysteresis: t.Hysteresis, any: t.Quality == function.QualityAny,
		seen: make(map[string]*seen),
	}
}

var (
	errQuality = errors.New("the reading is not good; quality: any starts for such too")
	errMoved   = errors.New("the value has not moved by change since the trigger last started")
	errBeyond  = errors.New("the value is not beyond the threshold, or has not come back since")
)

// judges says why a reading does not start the function, without remembering it.
func (g *gate) judges(r *sensors.Reading) error {
	if r.Quality != sensors.Good {
		if g.any {
			return nil
		}
		return errQuality
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[r.Sensor]
	switch {
	case g.change > 0 && s != nil && math.Abs(r.Value-s.value) < g.change:
		return errMoved
	case (g.above != nil || g.below != nil) && (!g.beyond(r.Value) || s != nil && s.beyond):
		return errBeyond
	}
	return nil
}

func (g *gate) beyond(v float64) bool {
	return g.above != nil && v > *g.above || g.below != nil && v < *g.below
}

// back reports whether a value has come back by the hysteresis.
func (g *gate) back(v float64) bool {
	return (g.above == nil || v <= *g.above-g.hysteresis) && (g.below == nil || v >= *g.below+g.hysteresis)
}

// remembers takes in that a reading starts the function. Where two readings of
// one sensor meet, one of them does.
func (g *gate) remembers(r *sensors.Reading) bool {
	if g.judges(r) != nil {
		return false
	}
	if r.Quality != sensors.Good {
		return true
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s := g.seen[r.Sensor]
	if s == nil {
		if len(g.seen) >= maxSeen {
			return true
		}
		s = &seen{}
		g.seen[r.Sensor] = s
	}
	s.value, s.beyond = r.Value, g.beyond(r.Value)
	return true
}

// passes remembers a reading that r starts on; true for what is no reading.
func (r *rule) passes(m *Message) bool {
	return r.gate == nil || m.Reading == nil || r.gate.remembers(m.Reading)
}

// Observe has the gates of the triggers for a sensor see a reading, before it
// is matched: that a value has come back counts, whether it starts something or
// not.
func (t *Table) Observe(reading *sensors.Reading) {
	if t.trees[Sensor].Len() == 0 || reading.Quality != sensors.Good {
		return
	}
	for _, r := range t.trees[Sensor].Match(reading.Sensor, nil) {
		if r.gate == nil || !r.means(reading.Sensor) {
			continue
		}
		r.gate.mu.Lock()
		if s := r.gate.seen[reading.Sensor]; s != nil && s.beyond && r.gate.back(reading.Value) {
			s.beyond = false
		}
		r.gate.mu.Unlock()
	}
}
