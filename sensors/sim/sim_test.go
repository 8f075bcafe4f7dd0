package sim_test

import (
	"math"
	"testing"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/headgate-io/headgate/sensors/sim"
)

var midnight = time.Date(2026, 6, 21, 0, 0, 0, 0, time.UTC)

var dry = sim.Climate{MeanTemperature: physic.ZeroCelsius + 24*physic.Kelvin, Swing: 8 * physic.Kelvin, DailyEvapotranspiration: 6}

func TestClearDayLosesItsEvapotranspiration(t *testing.T) {
	f := sim.Field{Moisture: 40, RootDepth: 200, Area: 100, FlowRate: 10}
	f.Advance(midnight, 24*time.Hour, dry)
	if got, want := 40-f.Moisture, 3.0; math.Abs(got-want) > 0.05 {
		t.Errorf("lost %.2f points, want %.2f (6 mm from 200 mm of soil)", got, want)
	}
}

func TestOpenValveWetsTheSoilAndIsMetered(t *testing.T) {
	f := sim.Field{Moisture: 20, RootDepth: 200, Area: 100, FlowRate: 10}
	f.Valve.OpenFor(midnight, 30*time.Minute)
	f.Advance(midnight, time.Hour, dry)
	if math.Abs(f.Liters-300) > 1e-6 {
		t.Errorf("metered %.1f l, want 300: 10 l/min until the valve closed itself", f.Liters)
	}
	if got := f.Moisture - 20; math.Abs(got-1.5) > 0.05 {
		t.Errorf("rose by %.2f points, want 1.5", got)
	}
}

func TestMoistureStaysWithinTheSoil(t *testing.T) {
	f := sim.Field{Moisture: 20, RootDepth: 200, Area: 1, FlowRate: 1000}
	f.Valve.OpenFor(midnight, time.Hour)
	f.Advance(midnight, time.Hour, dry)
	if f.Moisture > 55 {
		t.Errorf("%.1f %% is more than soil can hold", f.Moisture)
	}
	f.Advance(midnight, 365*24*time.Hour, dry)
	if f.Moisture < 5 {
		t.Errorf("%.1f %% is drier than dry", f.Moisture)
	}
}

func TestShowersFollowTheSeed(t *testing.T) {
	c := dry
	c.ShowersPerDay, c.Seed = 3, 7
	hours := 0
	for h := range 24 * 100 {
		at := midnight.Add(time.Duration(h) * time.Hour)
		if c.At(at) != c.At(at) {
			t.Fatal("the same moment has two weathers")
		}
		if c.At(at).Rain > 0 {
			hours++
		}
	}
	if hours < 200 || hours > 400 {
		t.Errorf("%d rainy hours in 100 days, want about 300", hours)
	}
}
