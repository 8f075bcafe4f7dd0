// Package sim simulates a field well enough to close a control loop on it:
// soil that dries with the weather, valves that wet it, meters that count the
// water. Time is the caller's, so that a day may pass in a minute and a test
// need not wait at all. Nothing in it is random: the same seed gives the same
// days.
package sim

import (
	"math"
	"time"

	"periph.io/x/conn/v3/physic"
)

// Weather is what the sky does to a field at one moment.
type Weather struct {
	// Temperature is that of the air.
	Temperature physic.Temperature
	// Evapotranspiration is the water that leaves soil and plants, in mm/h.
	Evapotranspiration float64
	// Rain is the water that falls, in mm/h.
	Rain float64
}

// Climate makes the weather of every moment.
type Climate struct {
	// Seed chooses when showers fall.
	Seed uint64
	// MeanTemperature is that of a whole day and Swing how far, in kelvin, noon
	// and midnight are from it.
	MeanTemperature, Swing physic.Temperature
	// DailyEvapotranspiration is a clear day's, in mm; 5 to 8 is summer in a
	// warm, dry place (FAO Irrigation and Drainage Paper 56, table 2).
	DailyEvapotranspiration float64
	// ShowersPerDay is how many hours of a day have a shower, on average.
	ShowersPerDay float64
}

// At returns the weather at t, whose clock is local solar time.
func (c Climate) At(t time.Time) Weather {
	hour := float64(t.Hour()) + float64(t.Minute())/60 + float64(t.Second())/3600
	// The sun is a half sine from 6 to 18 h whose integral is 24/π hours.
	sun := max(0, math.Sin((hour-6)/12*math.Pi))
	w := Weather{
		Temperature:        c.MeanTemperature + physic.Temperature(float64(c.Swing)*math.Sin((hour-9)/12*math.Pi)),
		Evapotranspiration: c.DailyEvapotranspiration * (0.08/24 + 0.92*sun*math.Pi/24),
	}
	if mix(c.Seed, uint64(t.Unix()/3600)) < c.ShowersPerDay/24 {
		w.Rain = 3
		w.Evapotranspiration *= 0.3
	}
	return w
}

// mix hashes seed and n to a number in [0, 1) (the finalizer of SplitMix64).
func mix(seed, n uint64) float64 {
	z := seed + n*0x9e3779b97f4a7c15
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return float64((z^z>>31)>>11) / (1 << 53)
}
