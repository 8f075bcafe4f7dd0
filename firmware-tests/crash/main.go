// Command crash shows that the gateway loses nothing that it acknowledged and
// does nothing twice, however often and wherever it is killed.
//
// It starts the binary, lets eight publishers send numbered QoS 1 and QoS 2
// events to two functions on the same topics (one of which fails now and
// then), while two subscribers with durable sessions are mostly away. It kills
// the gateway with SIGKILL at a random moment, or lets it end itself between
// two steps of an event's way, starts it again, and looks. This process is the
// observer: its ledger of what was sent, acknowledged and received is its own,
// and survives every kill.
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

	"github.com/headgate-io/headgate/internal/fault"
)

// seeds are the faults that must be caught.
var seeds = []fault.Fault{fault.AckBeforeCommit, fault.NoFsync, fault.NoDuplicateCheck, fault.SkipRestore, fault.ForgetMessages}

func main() {
	var p plan
	flag.StringVar(&p.binary, "headgate", "bin/headgate", "the gateway's binary")
	flag.StringVar(&p.seeded, "seeded", "", "the binary built with the tag seededfaults; empty skips its rounds, and the proof")
	flag.IntVar(&p.rounds, "rounds", 50, "how often to kill")
	flag.Uint64Var(&p.seed, "seed", uint64(time.Now().UnixNano()), "of the moments of death")
	flag.BoolVar(&p.keep, "keep", false, "keep the state folder of a failed run")
	prove := flag.Bool("prove", true, "run with every seeded fault too")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, p, *prove && p.seeded != "")
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "crash:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan, prove bool) error {
	fmt.Printf("crash: %d kills, seed %d\n", p.rounds, p.seed)
	r, err := trial(ctx, p)
	if err != nil {
		return err
	}
	r.print()
	if len(r.violations) > 0 {
		return fmt.Errorf("%d violations", len(r.violations))
	}
	if !prove {
		return nil
	}
	return proof(ctx, p)
}

// proof runs with every seeded fault until it is caught.
func proof(ctx context.Context, p plan) error {
	var missed error
	p.binary, p.keep = p.seeded, false
	for _, p.fault = range seeds {
		p.rounds = 40
		if p.fault == fault.ForgetMessages {
			p.rounds = 10 // it shows at the end only, and then at once
		}
		r, err := trial(ctx, p)
		if err != nil {
			return fmt.Errorf("with fault %s: %w", p.fault, err)
		}
		if len(r.violations) == 0 {
			fmt.Printf("seeded fault %-20s NOT caught in %d kills\n", p.fault, r.total())
			missed = errors.Join(missed, fmt.Errorf("seeded fault %s was not caught: the harness is blind to it", p.fault))
			continue
		}
		fmt.Printf("seeded fault %-20s caught after %2d kills: %s\n", p.fault, r.total(), r.violations[0])
	}
	return missed
}

// trial is one series of kills.
func trial(ctx context.Context, p plan) (*result, error) {
	dir, err := os.MkdirTemp("", "headgate-crash-")
	if err != nil {
		return nil, err
	}
	h := &harness{plan: p, dir: dir, random: rand.New(rand.NewPCG(p.seed, 1)), result: &result{kills: map[fault.Step]int{}}}
	err = h.run(ctx)
	if p.keep && (err != nil || len(h.result.violations) > 0) {
		fmt.Println("state kept in", dir)
		return h.result, err
	}
	return h.result, errors.Join(err, os.RemoveAll(dir))
}
