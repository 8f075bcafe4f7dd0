package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// summarize prints what the devices saw and says whether the loop closed.
func summarize(out io.Writer, f *farm, g *gateway) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	fmt.Fprintf(out, "What the devices saw in %s (%.1f simulated hours):\n", f.ended.Round(time.Second), f.clock().Sub(f.dawn).Hours())
	var faults []error
	var liters float64
	var commands int
	var sent, acknowledged int64
	for _, p := range f.plots {
		p.mu.Lock()
		inside, worst, n := judge(p.history, p.target, f.ended/2)
		field := p.field
		p.mu.Unlock()
		fmt.Fprintf(out, "  %-10s target %2.0f  last half: %3d of %3d readings inside ±%d, worst %+.1f  %6.0f l  commands %d\n",
			field.Name, p.target, inside, n, tolerance, worst, field.Liters, field.Valve.Commands)
		if n == 0 || inside != n {
			faults = append(faults, fmt.Errorf("%s: %d of %d readings of the last half outside its target ± %d points", field.Name, n-inside, n, tolerance))
		}
		liters += field.Liters
		commands += field.Valve.Commands
		for _, d := range []*device{p.probe, p.meter} {
			sent += d.sent.Load()
			acknowledged += d.acknowledged.Load()
		}
	}
	fmt.Fprintf(out, "  %.0f l, %d valve commands, %d readings published, %d acknowledged\n", liters, commands, sent, acknowledged)
	faults = append(faults, printUsage(ctx, out, g))
	if err := errors.Join(faults...); err != nil {
		return fmt.Errorf("the loop did not close:\n%w", err)
	}
	fmt.Fprintln(out, "The loop closed: every field was inside its target for the last half of the run.")
	return nil
}

// judge looks at the readings from the time from on.
func judge(history []reading, target float64, from time.Duration) (inside int, worst float64, n int) {
	for _, r := range history {
		if r.at < from {
			continue
		}
		n++
		off := r.moisture - target
		if math.Abs(off) <= tolerance {
			inside++
		}
		if math.Abs(off) > math.Abs(worst) {
			worst = off
		}
	}
	return inside, worst, n
}

func printUsage(ctx context.Context, out io.Writer, g *gateway) error {
	list, err := g.usage(ctx)
	if err != nil {
		return err
	}
	var errs uint64
	for _, u := range list {
		failed := uint64(0)
		for _, n := range u.Errors {
			failed += n
		}
		errs += failed
		fmt.Fprintf(out, "  usage: %s@%d  %d requests, %d errors, fuel %d, %.3g GB-s, %d cold starts\n",
			u.Function, u.Version, u.Requests, failed, u.Fuel, u.GBSeconds, u.ColdStarts)
	}
	if errs > 0 {
		return fmt.Errorf("%d invocations failed", errs)
	}
	return nil
}
