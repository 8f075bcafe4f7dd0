package sim

import "time"

// Field is one plot with its soil, its valve and its flow meter. It is not
// safe for concurrent use.
type Field struct {
	// Name is what its topics call it.
	Name string
	// Moisture is the volumetric water content of the root zone, in %.
	Moisture float64
	// RootDepth is the depth of the root zone, in mm: 1 mm of water on
	// 100 mm of soil is one point of moisture.
	RootDepth float64
	// Area is in m²: 1 l on 1 m² is 1 mm.
	Area float64
	// FlowRate is what the open valve lets through, in l/min.
	FlowRate float64
	// Valve is the field's valve.
	Valve Valve
	// Liters is the reading of the flow meter.
	Liters float64
}

// Bounds of volumetric water content: below the first a plant finds nothing,
// above the second water runs off.
const (
	residualMoisture  = 5
	saturatedMoisture = 55
)

// maxStep keeps the integration smooth when much time passes at once.
const maxStep = time.Minute

// Advance lets d pass from t on, under the climate's weather.
func (f *Field) Advance(t time.Time, d time.Duration, c Climate) {
	for d > 0 {
		step := min(d, maxStep)
		f.step(t, step, c.At(t))
		t, d = t.Add(step), d-step
	}
}

func (f *Field) step(t time.Time, d time.Duration, w Weather) {
	hours := d.Hours()
	liters := 0.0
	if f.Valve.Open(t) {
		liters = f.FlowRate * d.Minutes()
	}
	f.Liters += liters
	// Drying slows as the soil runs dry.
	stress := min(1, max(0, (f.Moisture-residualMoisture)/10))
	mm := liters/f.Area + (w.Rain-w.Evapotranspiration*stress)*hours
	f.Moisture = min(saturatedMoisture, max(residualMoisture, f.Moisture+mm*100/f.RootDepth))
}

// Valve is a valve with its own timer: it closes by itself, so that lost
// commands cannot flood a field.
type Valve struct {
	closesAt time.Time
	// Commands counts the commands it took.
	Commands int
}

// OpenFor opens the valve at t for d; a zero d closes it.
func (v *Valve) OpenFor(t time.Time, d time.Duration) {
	v.Commands++
	v.closesAt = t.Add(d)
}

// Open reports whether water flows at t.
func (v *Valve) Open(t time.Time) bool { return t.Before(v.closesAt) }
