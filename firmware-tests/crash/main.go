// Command crash shows that the gateway loses nothing that it acknowledged and
// runs nothing twice, however often it is killed.
//
// It starts the binary, lets eight publishers send numbered QoS 1 and QoS 2
// events to two functions on the same topics (one of which fails now and
// then), kills the gateway with SIGKILL at a random moment, starts it again,
// and looks. This process is the observer: its ledger of what was sent and
// what was acknowledged is its own, and survives every kill.
//
// Then it proves itself: with each seeded fault built into the binary, the
// same rounds must find a violation.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// seeds are the faults that must be caught, and what each breaks.
var seeds = []string{"ack-before-commit", "no-fsync", "no-duplicate-check", "skip-restore"}

func main() {
	headgate := flag.String("headgate", "bin/headgate", "the gateway's binary")
	seeded := flag.String("seeded", "", "the binary built with the tag seededfaults; empty skips the proof")
	rounds := flag.Int("rounds", 50, "how often to kill")
	seed := flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments of death")
	keep := flag.Bool("keep", false, "keep the state folder of a failed run")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *headgate, *seeded, *rounds, *seed, *keep)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, headgate, seeded string, rounds int, seed uint64, keep bool) error {
	fmt.Printf("crash: %d rounds, seed %d\n", rounds, seed)
	t, err := trial(ctx, headgate, "", rounds, seed, keep)
	if err != nil {
		return err
	}
	t.print()
	if len(t.violations) > 0 {
		return fmt.Errorf("%d violations", len(t.violations))
	}
	if seeded == "" {
		return nil
	}
	return prove(ctx, seeded, max(rounds, 30), seed)
}

// prove runs with every seeded fault until it is caught.
func prove(ctx context.Context, seeded string, rounds int, seed uint64) error {
	var missed error
	for _, fault := range seeds {
		t, err := trial(ctx, seeded, fault, rounds, seed, false)
		if err != nil {
			return fmt.Errorf("with fault %s: %w", fault, err)
		}
		if len(t.violations) == 0 {
			fmt.Printf("seeded fault %-20s NOT caught in %d kills\n", fault, t.kills)
			missed = errors.Join(missed, fmt.Errorf("seeded fault %s was not caught: the harness is blind to it", fault))
			continue
		}
		fmt.Printf("seeded fault %-20s caught after %2d kills: %s\n", fault, t.kills, t.violations[0])
	}
	return missed
}

// trial is one series of kills.
func trial(ctx context.Context, binary, fault string, rounds int, seed uint64, keep bool) (*result, error) {
	dir, err := os.MkdirTemp("", "headgate-crash-")
	if err != nil {
		return nil, err
	}
	h := &harness{binary: binary, fault: fault, dir: dir, random: rand.New(rand.NewPCG(seed, 1)), result: &result{}}
	err = h.run(ctx, rounds)
	if keep && (err != nil || len(h.result.violations) > 0) {
		fmt.Println("state kept in", dir)
		return h.result, err
	}
	return h.result, errors.Join(err, os.RemoveAll(dir))
}

// result is what a trial found.
type result struct {
	kills        int
	sent         int
	acknowledged int
	redelivered  int
	events       int // distinct, at the end
	violations   []string
	took         time.Duration
}

func (r *result) print() {
	fmt.Printf("%-34s %8d\n", "kills (SIGKILL at a random moment)", r.kills)
	fmt.Printf("%-34s %8d\n", "distinct events", r.events)
	fmt.Printf("%-34s %8d\n", "PUBLISH packets sent", r.sent)
	fmt.Printf("%-34s %8d\n", "of them redeliveries (DUP)", r.redelivered)
	fmt.Printf("%-34s %8d\n", "acknowledged", r.acknowledged)
	fmt.Printf("%-34s %8d\n", "violations", len(r.violations))
	fmt.Printf("%-34s %8s\n", "time", r.took.Round(time.Second))
	for _, v := range r.violations {
		fmt.Println("  VIOLATION:", v)
	}
}
