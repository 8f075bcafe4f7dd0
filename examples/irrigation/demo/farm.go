package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"periph.io/x/conn/v3/physic"

	"github.com/headgate-io/headgate/sensors/sim"
)

// tolerance is how far from its target a field may be, in points.
const tolerance = 5

const (
	stepEvery   = 20 * time.Millisecond
	reportEvery = 100 * time.Millisecond
	drawEvery   = 250 * time.Millisecond
)

// plot is a field with its three devices and what they saw.
type plot struct {
	target float64
	probe  *device
	valve  *device
	meter  *device

	mu       sync.Mutex
	field    sim.Field
	readings int
	history  []reading
}

// reading is one measurement of the probe.
type reading struct {
	at       time.Duration // since the run began
	moisture float64
}

// farm is all plots under one sky.
type farm struct {
	plots   []*plot
	climate sim.Climate
	speed   float64
	began   time.Time
	dawn    time.Time
	ended   time.Duration

	mu  sync.Mutex
	now time.Time // simulated
}

func newFarm(speed float64) *farm {
	f := &farm{
		speed: speed, dawn: time.Date(2026, 6, 21, 6, 0, 0, 0, time.UTC),
		climate: sim.Climate{Seed: 3, MeanTemperature: physic.ZeroCelsius + 24*physic.Kelvin, Swing: 8 * physic.Kelvin, DailyEvapotranspiration: 8, ShowersPerDay: 1},
	}
	f.now = f.dawn
	// Targets are those of examples/irrigation/headgate.yaml. Every field
	// starts outside its own.
	for _, p := range []struct {
		name                       string
		target, moisture, rootZone float64
	}{
		{"north", 35, 22, 60}, {"south", 30, 18, 70}, {"orchard", 30, 24, 90}, {"greenhouse", 40, 25, 50},
	} {
		f.plots = append(f.plots, &plot{
			target: p.target,
			field:  sim.Field{Name: p.name, Moisture: p.moisture, RootDepth: p.rootZone, Area: 200, FlowRate: 20},
		})
	}
	return f
}

// connect gives every device its credentials and its connection.
func (f *farm) connect(ctx context.Context, g *gateway) error {
	for _, p := range f.plots {
		name := p.field.Name
		var err error
		if p.probe, err = connectDevice(ctx, g, "soil-"+name, []string{"farm/" + name + "/moisture"}, nil, nil); err != nil {
			return err
		}
		if p.meter, err = connectDevice(ctx, g, "flow-"+name, []string{"farm/" + name + "/flow"}, nil, nil); err != nil {
			return err
		}
		topic := "farm/" + name + "/valve"
		command := func(payload []byte) { f.command(p, payload) }
		if p.valve, err = connectDevice(ctx, g, "valve-"+name, nil, []string{topic}, command); err != nil {
			return err
		}
	}
	return nil
}

func (f *farm) disconnect() {
	for _, p := range f.plots {
		for _, d := range []*device{p.probe, p.meter, p.valve} {
			if d != nil {
				d.close()
			}
		}
	}
}

// live lets time pass until ctx ends: the soil changes, the probes and meters
// report, draw shows it.
func (f *farm) live(ctx context.Context, draw func(context.Context)) {
	f.began = time.Now()
	step, report, redraw := time.NewTicker(stepEvery), time.NewTicker(reportEvery), time.NewTicker(drawEvery)
	defer step.Stop()
	defer report.Stop()
	defer redraw.Stop()
	last := f.began
	for {
		select {
		case <-ctx.Done():
			f.ended = time.Since(f.began)
			f.settle()
			return
		case t := <-step.C:
			f.advance(time.Duration(float64(t.Sub(last)) * f.speed))
			last = t
		case <-report.C:
			f.report()
		case <-redraw.C:
			draw(ctx)
		}
	}
}

// settle waits a moment for the acknowledgements of the last readings.
func (f *farm) settle() {
	for deadline := time.Now().Add(2 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		owed := int64(0)
		for _, p := range f.plots {
			owed += p.probe.owed() + p.meter.owed()
		}
		if owed == 0 {
			return
		}
	}
}

func (f *farm) advance(d time.Duration) {
	now := f.clock()
	for _, p := range f.plots {
		p.mu.Lock()
		p.field.Advance(now, d, f.climate)
		p.mu.Unlock()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = f.now.Add(d)
}

func (f *farm) clock() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

func (f *farm) report() {
	now := f.clock()
	at := now.Sub(f.dawn).Seconds() + 6*3600
	for _, p := range f.plots {
		p.mu.Lock()
		moisture, liters := p.field.Moisture, p.field.Liters
		p.readings++
		p.history = append(p.history, reading{time.Since(f.began), moisture})
		p.mu.Unlock()
		p.probe.publish(fmt.Sprintf(`{"moisture":%.2f,"at":%.0f}`, moisture, at))
		if p.readings%5 == 0 {
			p.meter.publish(fmt.Sprintf(`{"liters":%.1f,"at":%.0f}`, liters, at))
		}
	}
}
