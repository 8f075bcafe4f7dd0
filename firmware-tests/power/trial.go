package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sort"
	"time"
)

// result is what a trial found.
type result struct {
	calls, syncs, writes int
	acknowledged         int
	uploads              int // acknowledged
	images               int
	byLoss               map[string]int
	violations           []string
	took                 time.Duration
}

// trial records one run and cuts its power many times.
func trial(ctx context.Context, p plan) (*result, error) {
	began := time.Now()
	dir, err := os.MkdirTemp("", "headgate-power-")
	if err != nil {
		return nil, err
	}
	r, err := cut(ctx, p, dir)
	if r != nil {
		r.took = time.Since(began)
	}
	return r, errors.Join(err, os.RemoveAll(dir))
}

func cut(ctx context.Context, p plan, dir string) (*result, error) {
	rec, err := record(ctx, p, dir)
	if err != nil {
		return nil, err
	}
	r := &result{calls: len(rec.calls), byLoss: map[string]int{}}
	random := rand.New(rand.NewPCG(p.seed, 2))
	points := moments(p.images, len(rec.calls), random)
	led := newLedger(rec)
	next := 0
	for at := range rec.calls {
		c := &rec.calls[at]
		rec.before.apply(at, c)
		if err := led.take(c); err != nil {
			return nil, err
		}
		r.count(c)
		for ; next < len(points) && points[next] == at; next++ {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			l := &losses[next%len(losses)]
			if err := r.image(ctx, rec.before, random, l, led, filepath.Join(dir, "image")); err != nil {
				return nil, fmt.Errorf("cut after call %d (%s): %w", at, l.name, err)
			}
		}
	}
	if err := rec.before.same(filepath.Join(dir, "state")); err != nil {
		return nil, err
	}
	r.acknowledged = led.count()
	r.uploads = len(led.objects)
	if r.acknowledged == 0 || r.uploads == 0 {
		return nil, errors.New("the trace shows no acknowledgement of events, or none of uploads: it does not show the gateway's work")
	}
	return r, nil
}

// moments are the places in the trace to cut at: n of them at random, or with 0
// every one.
func moments(n, calls int, random *rand.Rand) []int {
	points := make([]int, cmp.Or(n, calls))
	for i := range points {
		if points[i] = i; n > 0 {
			points[i] = random.IntN(calls)
		}
	}
	sort.Ints(points)
	return points
}

func (r *result) count(c *call) {
	switch c.kind {
	case opSync:
		r.syncs++
	case opWrite:
		r.writes++
	}
}

// image makes one disk and compares.
func (r *result) image(ctx context.Context, d *disk, random *rand.Rand, l *loss, led *ledger, dir string) error {
	if err := d.after(random, l, dir); err != nil {
		return err
	}
	r.images++
	r.byLoss[l.name]++
	found, err := compare(ctx, dir, led)
	if err != nil {
		found = err.Error()
	}
	if found != "" {
		r.violations = append(r.violations, l.name+": "+found)
	}
	return os.RemoveAll(dir)
}

func (r *result) print() {
	fmt.Printf("%-34s %8d\n", "calls in the trace", r.calls)
	fmt.Printf("%-34s %8d\n", "  writes", r.writes)
	fmt.Printf("%-34s %8d\n", "  syncs", r.syncs)
	fmt.Printf("%-34s %8d\n", "acknowledged events", r.acknowledged)
	fmt.Printf("%-34s %8d\n", "acknowledged uploads", r.uploads)
	fmt.Printf("%-34s %8d\n", "power cuts", r.images)
	for i := range losses {
		fmt.Printf("%-34s %8d\n", "  "+losses[i].name, r.byLoss[losses[i].name])
	}
	fmt.Printf("%-34s %8d\n", "violations", len(r.violations))
	fmt.Printf("%-34s %8s\n", "time", r.took.Round(time.Second))
	for _, v := range r.violations {
		fmt.Println("  VIOLATION:", v)
	}
}
